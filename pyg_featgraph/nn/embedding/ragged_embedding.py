r"""Tables of vectors in which every field has dimensions of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding.base import NodeEmbedding, is_large
from pyg_featgraph.nn.kernels import lookup


class RaggedEmbedding(NodeEmbedding):
    r"""Node vectors in which every field has dimensions of its own, as in
    Eqs. 16 to 18 of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_
    paper.

    A field with :math:`d_i` dimensions owns vectors of that length; only the
    vectors of a batch are filled up with zeros, so that they fit each other.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int): The size :math:`d` of each filled-up vector.
        dims (list of list of int): For each field which of the :math:`d`
            dimensions it has; there may be none.
        std (float, optional): The standard deviation of the initial tables.
            (default: :obj:`0.1`)
        sparse (bool, optional): Whether gradients hold only the vectors that
            a batch has touched. (default: if a table is large)
        members (int, optional): The number of members of the model, see
            :class:`~pyg_featgraph.nn.NodeEmbedding`. (default: :obj:`1`)

    Shapes:
        - **input:** slot ids :math:`(B, S)` and values :math:`(B, S)`; see
          :obj:`embed_nodes` for nodes
        - **output:** vectors :math:`(B, n, d)`
    """

    kept_0: Tensor
    shift: Tensor
    member: Tensor
    place: Tensor
    column: Tensor
    upper: Tensor
    slot_field: Tensor

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int,
        dims: Sequence[Sequence[int]],
        std: float = 0.1,
        sparse: bool | None = None,
        members: int = 1,
    ) -> None:
        super().__init__(info, embedding_dim, members)
        if len(dims) != info.num_fields:
            raise ValueError(
                f"'dims' needs one entry for each of {info.num_fields} fields "
                f'(got {len(dims)})'
            )
        self._dims = [sorted(set(kept)) for kept in dims]
        for name, kept in zip(info.names, self.dims, strict=True):
            if kept and not 0 <= kept[0] <= kept[-1] < embedding_dim:
                raise ValueError(
                    f"The dimensions of '{name}' must lie in 0 to "
                    f'{embedding_dim - 1} (got {kept})'
                )
        self.std = std
        self._sparse = sparse
        self._make_tables(info)
        self.reset_parameters()

    def _make_tables(self, info: FieldInfo) -> None:
        self.info = info
        # Fields with equally many dimensions share a table:
        sizes = sorted({len(kept) for kept in self.dims} - {0})
        self.groups = [
            [i for i, kept in enumerate(self.dims) if len(kept) == size]
            for size in sizes
        ]
        self.tables: Any = torch.nn.ModuleList()
        for size, group in zip(sizes, self.groups, strict=True):
            num_ids = sum(info.sizes[i] for i in group)
            chosen = self._sparse
            if chosen is None:
                chosen = is_large(num_ids, size)
            self.tables.append(torch.nn.Embedding(num_ids, size, sparse=chosen))
        # What is subtracted from the ids of a field in its table, the group
        # of each field, and its place in it:
        shift = torch.zeros(info.num_fields, dtype=torch.long)
        member = torch.full((info.num_fields,), -1)
        place = torch.zeros(info.num_fields, dtype=torch.long)
        for g, group in enumerate(self.groups):
            first = (0, *accumulate(info.sizes[i] for i in group))
            for k, i in enumerate(group):
                shift[i] = info.offsets[i] - first[k]
                member[i], place[i] = g, k
            positions = torch.tensor([self.dims[i] for i in group])
            slots = torch.isin(info.slot_field, torch.tensor(group))
            self._add_buffer(f'kept_{g}', positions)
            self._add_buffer(f'slots_{g}', slots.nonzero().squeeze(1))
        self._add_buffer('shift', shift)
        self._add_buffer('member', member)
        self._add_buffer('place', place)
        self._add_buffer('slot_field', info.slot_field)
        # Where each field stands behind all groups; fields without dimensions
        # come last:
        sequence = [i for group in self.groups for i in group]
        sequence += [i for i, kept in enumerate(self.dims) if not kept]
        self._add_buffer('column', torch.tensor(sequence).argsort())
        self._add_buffer('upper', torch.tensor(info.offsets[1:]).long())

    def _add_buffer(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for table in self.tables:
            torch.nn.init.normal_(table.weight, std=self.std)

    def by_table(self, values: Tensor) -> list[tuple[Parameter, Tensor]]:
        parts = values.split(self.info.sizes)
        return [
            (table.weight, torch.cat([parts[i] for i in group]))
            for table, group in zip(self.tables, self.groups, strict=True)
        ]

    @torch.no_grad()
    def grow(self, info: FieldInfo, sources: Sequence[Tensor]) -> None:
        rows = {
            i: self._weight(i)[source.to(self.member.device)]
            for i, source in enumerate(sources)
            if self.dims[i]
        }
        self._make_tables(info)
        if rows:
            self.to(next(iter(rows.values())))
        for i, weight in rows.items():
            self._weight(i).copy_(weight)

    @property
    def dims(self) -> list[list[int]]:
        return self._dims

    def table(self, field: int) -> Tensor:
        size = (self.info.sizes[field], self.embedding_dim)
        if not self.dims[field]:
            dtype = next((x.dtype for x in self.parameters()), None)
            return torch.zeros(size, dtype=dtype, device=self.member.device)
        weight = self._weight(field)
        out = weight.new_zeros(size)
        out[:, self.dims[field]] = weight
        return out

    def _weight(self, field: int) -> Tensor:
        start = self.info.offsets[field] - int(self.shift[field])
        weight: Tensor = self.tables[int(self.member[field])].weight
        return weight[start : start + self.info.sizes[field]]

    def forward(self, slot_index: Tensor, slot_value: Tensor) -> Tensor:
        size, d, value = slot_index.size(0), self.embedding_dim, slot_value
        local = slot_index - self.shift[self.slot_field]
        if len(self.tables) == 1 and self.info.has_single_slots:
            # Looking up any id for fields without dimensions, times zero, is
            # faster than putting the others in their places:
            used = self.member >= 0
            x = _look_up(self.tables[0], local * used, value * used)
            kept = self.kept_0[self.place]
            return self._fill(x, kept.expand(size, -1, -1))
        outs = []
        for g, table in enumerate(self.tables):
            slots = self.get_buffer(f'slots_{g}')
            kept = self.get_buffer(f'kept_{g}')
            x = _look_up(table, local[:, slots], value[:, slots])
            if slots.numel() > kept.size(0):
                place = self.place[self.slot_field[slots]]
                out = x.new_zeros(size, kept.size(0), x.size(2))
                x = out.index_add(1, place, x)
            outs.append(self._fill(x, kept.expand(size, -1, -1)))
        num_filled = sum(len(group) for group in self.groups)
        rest = self.info.num_fields - num_filled
        outs.append(value.new_zeros(size, rest, d))
        return torch.cat(outs, dim=1).index_select(1, self.column)

    def embed_nodes(self, node_index: Tensor, node_value: Tensor) -> Tensor:
        index, value = node_index, node_value
        if index.dim() == 1:
            index, value = index.unsqueeze(1), value.unsqueeze(1)
        field = torch.bucketize(
            index[:, 0].contiguous(), self.upper, right=True
        )
        out = value.new_zeros(index.size(0), self.embedding_dim)
        for g, table in enumerate(self.tables):
            kept = self.get_buffer(f'kept_{g}')
            nodes = (self.member[field] == g).nonzero().squeeze(1)
            own = field[nodes]
            # Unused slots hold the first id of all, and zero:
            local = (index[nodes] - self.shift[own].unsqueeze(1)).clamp(min=0)
            x = _look_up(table, local, value[nodes]).sum(dim=1)
            x = self._fill(x, kept[self.place[own]])
            out = out.to(x.dtype).index_copy(0, nodes, x)
        return out

    def _fill(self, x: Tensor, kept: Tensor) -> Tensor:
        if x.size(-1) == self.embedding_dim:
            return x
        out = x.new_zeros(*x.size()[:-1], self.embedding_dim)
        return out.scatter(-1, kept, x)

    def __repr__(self) -> str:
        sizes = [len(kept) for kept in self.dims]
        return (
            f'{self.__class__.__name__}({self.info.num_embeddings}, '
            f'{self.embedding_dim}, dims={sizes})'
        )


def _look_up(table: torch.nn.Embedding, index: Tensor, value: Tensor) -> Tensor:
    return lookup(table.weight, index, value, table.sparse)

r"""One table of vectors for all fields."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding.base import NodeEmbedding, is_large
from pyg_featgraph.nn.kernels import lookup
from pyg_featgraph.process_memory import in_large_pages


class FieldEmbedding(NodeEmbedding):
    r"""The node vectors of field graphs.

    All fields share one table in which each owns a block of vectors. That of
    a node is the sum over its slots of value times vector,

    .. math::
        \mathbf{e}_i = \sum_{s \in \mathcal{S}_i} v_s \, \mathbf{T}_{t_s},

    which is a lookup for a category, a scaled vector for a number and a mean
    for multi-valued fields.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int): The size :math:`d` of each vector.
        std (float, optional): The standard deviation of the initial table.
            (default: :obj:`0.1`)
        sparse (bool, optional): Whether gradients hold only the vectors that
            a batch has touched; they need an optimizer such as
            :class:`~pyg_featgraph.optim.RowWiseAdagrad`. (default: if the table
            :func:`~pyg_featgraph.nn.embedding.is_large`)
        members (int, optional): The number of members of the model, see
            :class:`~pyg_featgraph.nn.NodeEmbedding`. (default: :obj:`1`)

    Shapes:
        - **input:** slot ids :math:`(B, S)` and values :math:`(B, S)`; see
          :obj:`embed_nodes` for nodes
        - **output:** vectors :math:`(B, n, d)`
    """

    slot_field: Tensor

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int,
        std: float = 0.1,
        sparse: bool | None = None,
        members: int = 1,
    ) -> None:
        super().__init__(info, embedding_dim, members)
        self.std = std
        self._sparse = sparse
        weight = torch.empty(info.num_embeddings, embedding_dim)
        self.weight = Parameter(in_large_pages(weight))
        self.register_buffer('slot_field', info.slot_field, persistent=False)
        self.reset_parameters()

    @property
    def sparse(self) -> bool:
        r"""Whether gradients hold only the vectors that a batch has touched."""
        if self._sparse is None:
            return is_large(self.info.num_embeddings, self.embedding_dim)
        return self._sparse

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.normal_(self.weight, std=self.std)

    def forward(self, slot_index: Tensor, slot_value: Tensor) -> Tensor:
        x = self._look_up(slot_index, slot_value)
        if self.info.has_single_slots:
            return x
        out = x.new_zeros(x.size(0), self.info.num_fields, x.size(2))
        return out.index_add(1, self.slot_field, x)

    def embed_nodes(self, node_index: Tensor, node_value: Tensor) -> Tensor:
        x = self._look_up(node_index, node_value)
        return x if node_index.dim() == 1 else x.sum(dim=1)

    def _look_up(self, index: Tensor, value: Tensor) -> Tensor:
        return lookup(self.weight, index, value, self.sparse)

    def by_table(self, values: Tensor) -> list[tuple[Parameter, Tensor]]:
        return [(self.weight, values)]

    @torch.no_grad()
    def grow(self, info: FieldInfo, sources: Sequence[Tensor]) -> None:
        self.weight = Parameter(
            self._rows(self.weight, sources), self.weight.requires_grad
        )
        self.info = info

    def _rows(self, x: Tensor, sources: Sequence[Tensor]) -> Tensor:
        rows = [
            first + source
            for first, source in zip(self.info.offsets, sources, strict=True)
        ]
        index = torch.cat(rows).to(x.device)
        out = in_large_pages(x.new_empty(len(index), x.size(1)))
        return torch.index_select(x, 0, index, out=out)

    @property
    def dims(self) -> list[list[int]]:
        return [[*range(self.embedding_dim)] for _ in self.info.names]

    def table(self, field: int) -> Tensor:
        return self._weight(field)

    def _weight(self, field: int) -> Tensor:
        return self._of_field(self.weight, field)

    def _of_field(self, x: Tensor, field: int) -> Tensor:
        start = self.info.offsets[field]
        return x[start : start + self.info.sizes[field]]

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.info.num_embeddings}, '
            f'{self.embedding_dim}, num_fields={self.info.num_fields})'
        )

r"""Graphs of table rows, one by one and as batches cut from columns."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from pyg_featgraph.data.info import FieldInfo


class FieldGraph(Data):
    r"""The graph of one table row: one node for each field.

    The node data are :obj:`field` (which column), :obj:`node_index` (the ids
    of vectors) and :obj:`node_value` (what scales them). The latter two have
    shape :math:`(n)`, or :math:`(n, L)` if a field of the table owns several
    slots; unused slots have value zero.
    """

    # Ids of vectors are no numbers of nodes, whatever their names make PyG
    # believe: they are neither incremented nor joined along the last dimension
    # when graphs are collated.
    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == 'node_index':
            return 0
        return super().__inc__(key, value, *args, **kwargs)

    def __cat_dim__(
        self, key: str, value: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if key == 'node_index':
            return 0
        return super().__cat_dim__(key, value, *args, **kwargs)


class FieldBatch(Batch):
    r"""A batch of table rows as one disconnected PyG graph.

    The rows are held as columns, :obj:`slot_index` and :obj:`slot_value` of
    shape :math:`(B, S)` and, if some fields are left out, the boolean
    :obj:`mask` of those that are there. That is all that the dense layout
    reads. What a PyG layer reads is derived from it on first use:
    :obj:`field`, :obj:`node_index`, :obj:`node_value`, :obj:`batch` (all of
    length :math:`N`), :obj:`ptr` and :obj:`edge_index`, the complete graph of
    every row without self loops and sorted by target (see
    :meth:`complete_edges` for the one with self loops). Batches of equal size
    share one edge list.

    Use :meth:`from_rows` to create a batch.
    """

    @classmethod
    def from_rows(
        cls,
        slot_index: Tensor,
        slot_value: Tensor,
        info: FieldInfo,
        y: Tensor | None = None,
        drop_absent: bool = False,
        sample_weight: Tensor | None = None,
    ) -> FieldBatch:
        r"""Creates a batch from the columns of encoded rows.

        Args:
            slot_index (torch.Tensor): The ids, with shape :math:`(B, S)`.
            slot_value (torch.Tensor): The values, with shape :math:`(B, S)`.
            info (FieldInfo): The layout of the fields.
            y (torch.Tensor, optional): The labels, with shape :math:`(B)`.
                (default: :obj:`None`)
            drop_absent (bool, optional): If set to :obj:`True`, a missing
                field is no node, and false in the mask.
                (default: :obj:`False`)
            sample_weight (torch.Tensor, optional): How much each row counts,
                with shape :math:`(B)`. (default: :obj:`None`)
        """
        out: FieldBatch = type.__call__(_of_field_graphs(cast(Any, cls)))
        # Plain attributes rather than entries of the store, since they
        # describe the batch and are no graph data:
        out.__dict__['info'] = info
        out.__dict__['_num_graphs'] = slot_index.size(0)
        out.slot_index = slot_index
        out.slot_value = slot_value
        if y is not None:
            out.y = y
        if sample_weight is not None:
            out.sample_weight = sample_weight
        if drop_absent:
            out['mask'] = info.present(slot_index)
        return out

    @property
    def mask(self) -> Tensor | None:
        r"""Which fields are nodes, with shape :math:`(B, n)`, or :obj:`None`
        if all are.
        """
        mask: Tensor | None = self._store.get('mask')
        return mask

    @property
    def num_nodes(self) -> int:
        if self.mask is None:
            return int(self._num_graphs * self.info.num_fields)
        return self.batch.numel()

    @property
    def field(self) -> Tensor:
        return self._lazy('field')

    @property
    def node_index(self) -> Tensor:
        return self._lazy('node_index')

    @property
    def node_value(self) -> Tensor:
        return self._lazy('node_value')

    @property
    def batch(self) -> Tensor:
        return self._lazy('batch')

    @property
    def ptr(self) -> Tensor:
        return self._lazy('ptr')

    @property
    def edge_index(self) -> Tensor:
        return self._lazy('edge_index')

    def complete_edges(self, self_loops: bool = False) -> Tensor:
        r"""All pairs of nodes of the same row, sorted by target node.

        Args:
            self_loops (bool, optional): Whether a node is paired with
                itself. (default: :obj:`False`)

        Returns:
            torch.Tensor: The edges, with shape :math:`(2, |\mathcal{E}|)`.
            Do not change it in place: equal batches share it.
        """
        if self.mask is None:
            return _complete_edges(
                self._num_graphs,
                self.info.num_fields,
                self_loops,
                self.slot_index.device,
            )
        pair = self.mask.unsqueeze(2) & self.mask.unsqueeze(1)
        if not self_loops:
            pair.diagonal(dim1=1, dim2=2).zero_()
        node = self.mask.flatten().cumsum(0).view_as(self.mask) - 1
        row, target, source = pair.nonzero().unbind(1)
        return torch.stack([node[row, source], node[row, target]])

    def get_example(self, idx: int) -> FieldGraph:
        r"""The graph of one row."""
        size = self._num_graphs
        idx = int(idx)
        if not -size <= idx < size:
            raise IndexError(f'Row {idx} of a batch of {size} rows')
        idx %= size
        keep = slice(int(self.ptr[idx]), int(self.ptr[idx + 1]))
        n = keep.stop - keep.start
        out = FieldGraph(
            edge_index=_complete_edges(1, n, False, self.slot_index.device),
            field=self.field[keep],
            node_index=self.node_index[keep],
            node_value=self.node_value[keep],
            num_nodes=n,
        )
        for name in ('y', 'sample_weight'):
            if name in self._store:
                out[name] = self[name][idx : idx + 1]
        return out

    def _lazy(self, key: str) -> Tensor:
        if key not in self._store:
            self._store[key] = getattr(self, f'_make_{key}')()
        value: Tensor = self._store[key]
        return value

    def _per_node(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1) if self.mask is None else x[self.mask]

    def _make_field(self) -> Tensor:
        field = torch.arange(
            self.info.num_fields, device=self.slot_index.device
        )
        return self._per_node(field.expand(self._num_graphs, -1))

    def _make_batch(self) -> Tensor:
        row = torch.arange(self._num_graphs, device=self.slot_index.device)
        return self._per_node(row.unsqueeze(1).expand(-1, self.info.num_fields))

    def _make_ptr(self) -> Tensor:
        n = self.info.num_fields
        if self.mask is None:
            return torch.arange(
                0, n * self._num_graphs + 1, n, device=self.slot_index.device
            )
        return torch.nn.functional.pad(self.mask.sum(1).cumsum(0), (1, 0))

    def _make_node_index(self) -> Tensor:
        return self._per_node(self._pad_slots(self.slot_index))

    def _make_node_value(self) -> Tensor:
        return self._per_node(self._pad_slots(self.slot_value))

    def _make_edge_index(self) -> Tensor:
        return self.complete_edges()

    def _pad_slots(self, x: Tensor) -> Tensor:
        if self.info.has_single_slots:
            return x
        slot_field = self.info.slot_field.to(x.device)
        first = torch.tensor(self.info.first_slots, device=x.device)
        slot = torch.arange(x.size(1), device=x.device) - first[slot_field]
        out = x.new_zeros(x.size(0), self.info.num_fields, max(self.info.slots))
        out[:, slot_field, slot] = x
        return out


# PyG makes the class again and reads its signature for each batch, which takes
# a tenth of the time of loading one:
@lru_cache
def _of_field_graphs(cls: type[FieldBatch]) -> type[FieldBatch]:
    return type(cls(_base_cls=FieldGraph))


# An edge list of 4,096 rows with 39 fields takes 100 MB, so only the sizes of
# a training batch, its last partial batch and an evaluation batch are kept:
@lru_cache(maxsize=4)
def _complete_edges(
    num_graphs: int, num_nodes: int, self_loops: bool, device: torch.device
) -> Tensor:
    target, source = torch.meshgrid(
        torch.arange(num_nodes, device=device),
        torch.arange(num_nodes, device=device),
        indexing='ij',
    )
    edges = torch.stack([source.flatten(), target.flatten()])
    if not self_loops:
        edges = edges[:, edges[0] != edges[1]]
    offset = torch.arange(num_graphs, device=device) * num_nodes
    return (edges.unsqueeze(1) + offset.view(-1, 1)).flatten(1)

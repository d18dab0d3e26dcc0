r"""The base class of operators from fields to sets of them."""

from __future__ import annotations

import typing

from torch import Tensor
from torch_geometric.nn import MessagePassing

from pyg_featgraph.nn.layout import is_dense


class HyperedgeConv(MessagePassing):
    r"""Base class of operators whose targets are hyperedges: sets of the
    fields of a row, of which each row has the same number :math:`Q`.

    As in :class:`torch_geometric.nn.conv.HypergraphConv`, a graph is given by
    its incidence, :obj:`hyperedge_index[0]` being nodes and
    :obj:`hyperedge_index[1]` hyperedges; hyperedge :math:`b Q + q` is number
    :math:`q` of row :math:`b`.

    Args:
        num_hyperedges (int): The number :math:`Q` of hyperedges of a row.
        aggr (str): How what the members send is joined.
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Raises:
        ValueError: If :obj:`kwargs` ask for another aggregation, flow or node
            dimension.
    """

    # What the attributes of a module can be hides its type otherwise:
    propagate: typing.Any

    def __init__(
        self, num_hyperedges: int, aggr: str, /, **kwargs: typing.Any
    ) -> None:
        for name, wanted in (
            ('flow', 'source_to_target'),
            ('aggr', aggr),
            ('node_dim', 0),
        ):
            if kwargs.pop(name, wanted) != wanted:
                raise ValueError(
                    f'{self.__class__.__name__} passes messages from nodes to '
                    f'hyperedges: {name!r} must be {wanted!r}'
                )
        super().__init__(aggr=aggr, node_dim=0, **kwargs)
        # Masks of explainers are those of edges between nodes:
        self.explain = False
        self.num_hyperedges = num_hyperedges

    def _batch_size(
        self,
        x: Tensor,
        hyperedge_index: Tensor | None,
        num_edges: int | None,
        mask: Tensor | None,
    ) -> int | None:
        # The number of rows of a graph; none for the dense layout.
        if is_dense(x, hyperedge_index, mask):
            return None
        assert hyperedge_index is not None
        if num_edges is None:
            target = hyperedge_index[1]
            num_edges = int(target.max()) + 1 if target.numel() else 0
            return -(-num_edges // self.num_hyperedges)
        if num_edges % self.num_hyperedges != 0:
            raise ValueError(
                f"'num_edges' must be a multiple of {self.num_hyperedges}, "
                f'the hyperedges of a row (got {num_edges})'
            )
        return num_edges // self.num_hyperedges

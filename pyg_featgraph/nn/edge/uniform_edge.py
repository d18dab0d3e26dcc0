r"""Edges that are all alike."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.layout import Pair


class UniformEdge(FieldEdge, name='uniform'):
    r"""A weight of one for every edge, which is to say no learned edges.

    Args:
        self_loops (bool, optional): If set to :obj:`False`, no node is its
            own neighbour. (default: :obj:`True`)

    Shapes:
        As :class:`FieldEdge`.
    """

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        n = x[0].size(1)
        if pairs is None:
            return x[0].new_ones(n, n)
        return (pairs[0] if pairs.size(0) == 1 else pairs).to(x[0].dtype)

    def graph(
        self,
        x: Pair,
        edge_index: Tensor,
        field: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        return x[0].new_ones(edge_index.size(1))

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(self_loops={self.self_loops})'

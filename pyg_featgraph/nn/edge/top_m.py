r"""The best edges of every node."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch_geometric.utils import cumsum, degree, scatter

from pyg_featgraph.nn.config import Rule, at_least, one_of
from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.kernels.top_m import slack, top_m
from pyg_featgraph.nn.layout import Pair, pairs_of


class TopM(FieldEdge):
    r"""Keeps the :obj:`m` best incoming edges of every node, from the
    `"GraphFM: Graph Factorization Machines for Feature Interaction Modeling"
    <https://arxiv.org/abs/2105.11866>`_ paper (Eq. 8).

    .. math::
        w^{\prime}_{ij} = w_{ij} \, \mathbb{1}[j \in \mathcal{N}_i], \qquad
        \mathcal{N}_i = \underset{j}{\mathrm{arg\,top}\text{-}m} \; w_{ij}

    The choice is a constant for the gradient, which reaches the edges that
    are kept. Of equal weights the lowest source wins, which is the lowest
    field of a row. An edge of weight zero is none and never kept.

    Args:
        edge (FieldEdge): The module whose edges are chosen from.
        m (int): The number of edges to keep; a node with fewer keeps all.
        ties (str, optional): :obj:`"lowest"` keeps exactly :obj:`m` edges,
            :obj:`"all"` every edge that is not below the :obj:`m`-th best, as
            the code released with GraphFM does. (default: :obj:`"lowest"`)
        binary (bool, optional): If set to :obj:`True`, the edges that are kept
            have weight one, so that :obj:`edge` chooses but does not scale,
            and has no gradient. (default: :obj:`False`)

    Shapes:
        As :class:`FieldEdge`, without heads.
    """

    rules: ClassVar[dict[str, Rule]] = {
        'm': at_least(1),
        'ties': one_of('lowest', 'all'),
    }

    def __init__(
        self,
        edge: FieldEdge,
        m: int,
        ties: str = 'lowest',
        binary: bool = False,
    ) -> None:
        super().__init__(edge.self_loops)
        self.edge = edge
        self.m = m
        self.ties = ties
        self.binary = binary

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Tensor | None = None,
        field: Tensor | Pair | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        # What is called is the module, not its methods, so that its hooks run:
        weight = self.edge(x, edge_index, field, mask)
        target = x if isinstance(x, Tensor) else x[1]
        if edge_index is not None:
            return self._graph(weight, edge_index, target.size(0))
        return self._dense(weight, mask)

    def _dense(self, weight: Tensor, mask: Tensor | None) -> Tensor:
        self._check(weight, 3)
        if mask is not None:
            # Which is the best depends on those that are there:
            pairs = pairs_of(mask, mask.size(1), True, weight)
            assert pairs is not None
            weight = weight * pairs
        if self.m < weight.size(-1):
            weight = top_m(weight, self.m, self.ties == 'all')
        return (weight != 0).to(weight.dtype) if self.binary else weight

    def _graph(self, weight: Tensor, edge_index: Tensor, size: int) -> Tensor:
        self._check(weight, 1)
        is_edge = weight != 0
        score = weight.detach().masked_fill(~is_edge, -torch.inf)
        keep = self._rank(score, edge_index, size) < self.m
        cut = scatter(
            score.masked_fill(~keep, torch.inf),
            edge_index[1],
            dim_size=size,
            reduce='min',
        )[edge_index[1]]
        if self.ties == 'all':
            keep = score >= cut - slack(cut)
        else:
            equal = (score - cut).abs() <= slack(cut)
            score = torch.where(equal, cut, score)
            keep = self._rank(score, edge_index, size) < self.m
        keep = keep & is_edge
        return keep.to(weight.dtype) if self.binary else weight * keep

    def _rank(self, score: Tensor, edge_index: Tensor, size: int) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        # Sorted by target, then falling score, then source:
        perm = source.argsort(stable=True)
        perm = perm[score[perm].argsort(descending=True, stable=True)]
        perm = perm[target[perm].argsort(stable=True)]
        start = cumsum(degree(target, size, dtype=torch.long))[target[perm]]
        rank = torch.arange(perm.numel(), device=perm.device) - start
        return torch.empty_like(rank).scatter(0, perm, rank)

    def _check(self, weight: Tensor, max_dim: int) -> None:
        if weight.dim() > max_dim:
            raise ValueError(
                f'The weights of {self.edge} have heads, of which the best '
                f'edges are not defined (got shape {list(weight.size())})'
            )

    def resized(self, in_channels: int) -> Self:
        config: dict[str, Any] = {
            **self.config,
            'edge': self.edge.resized(in_channels),
        }
        return type(self)(**config)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.edge}, m={self.m}, '
            f"ties='{self.ties}')"
        )

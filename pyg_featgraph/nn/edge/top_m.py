from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import cumsum, degree, scatter

from pyg_featgraph.nn.kernels import top_m_mask


class TopM(torch.nn.Module):
    r"""Keeps the :obj:`m` best incoming edges of every node.

    .. math::
        \mathcal{N}_i = \underset{j}{\mathrm{arg\,top}\text{-}m} \; p_{ij}

    The choice is a constant for the gradient, which reaches the scores only
    through their later use. Of equal scores the lowest source wins, which is
    the lowest field of a row.

    Args:
        m (int): The number of edges to keep; a node with fewer keeps all.
        ties (str, optional): :obj:`"lowest"` keeps exactly :obj:`m` edges,
            :obj:`"all"` every edge that is not below the :obj:`m`-th best, as
            the code released with GraphFM does. (default: :obj:`"lowest"`)

    Shapes:
        - **input:** scores :math:`(|\mathcal{E}|)` with edge indices
          :math:`(2, |\mathcal{E}|)`, or :math:`(B, n, n)` with one row of
          scores per target node
        - **output:** a boolean mask of the same shape as the scores
    """

    def __init__(self, m: int, ties: str = 'lowest') -> None:
        super().__init__()
        if m < 1:
            raise ValueError(f"'m' must be positive (got {m})")
        if ties not in ('lowest', 'all'):
            raise ValueError(f"'ties' must be 'lowest' or 'all' (got '{ties}')")
        self.m = m
        self.ties = ties

    def forward(
        self,
        score: Tensor,
        edge_index: Tensor | None = None,
        num_nodes: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Marks the edges to keep.

        Args:
            score (torch.Tensor): The scores.
            edge_index (torch.Tensor, optional): The edges of the scores. If
                :obj:`None`, :obj:`score` holds all pairs of each row.
                (default: :obj:`None`)
            num_nodes (int, optional): The number of nodes, with
                :obj:`edge_index` only. (default: :obj:`None`)
            mask (torch.Tensor, optional): Which pairs may be kept at all,
                with shape :math:`(n, n)`, without :obj:`edge_index` only.
                (default: :obj:`None`)
        """
        if edge_index is not None:
            return self._select(score.detach(), edge_index, num_nodes)
        if mask is None:
            return top_m_mask(score, self.m, self.ties == 'all')
        score = score.masked_fill(~mask, -torch.inf)
        return top_m_mask(score, self.m, self.ties == 'all') & mask

    def _select(
        self, score: Tensor, edge_index: Tensor, num_nodes: int | None
    ) -> Tensor:
        source, target = edge_index
        # Sorted by target, then falling score, then source:
        perm = source.argsort(stable=True)
        perm = perm[score[perm].argsort(descending=True, stable=True)]
        perm = perm[target[perm].argsort(stable=True)]
        count = degree(target, num_nodes, dtype=torch.long)
        start = cumsum(count)[target[perm]]
        rank = torch.arange(perm.numel(), device=perm.device) - start
        keep = torch.empty_like(score, dtype=torch.bool)
        keep[perm] = rank < self.m
        if self.ties == 'all' and keep.any():
            cut = scatter(
                score[keep],
                target[keep],
                dim_size=count.numel(),
                reduce='min',
            )
            keep = score >= cut[target]
        return keep

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(m={self.m}, ties='{self.ties}')"

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.nn.inits import glorot

from pyg_featgraph.nn.edge.soft_threshold import SoftThreshold


class SubsetEdge(torch.nn.Module):
    r"""The edges from fields to subsets of them, from the `"FeatNet: Feature
    Interaction Pruning Networks for CTR Prediction"` paper (Eqs. 2 to 4).

    .. math::
        \mathbf{p}_i = \mathrm{ReLU} \big( \mathbf{W}_2 \, \sigma(\mathbf{W}_1
        \mathbf{x}_i) \big), \qquad p^{\prime}_{is} = S_g(p_{is}, \tau_{is})

    Both matrices are shared by all fields, while each pair of a field and a
    subset has a threshold (:class:`~pyg_featgraph.nn.SoftThreshold`). A weight
    of zero means that the field is no member of the subset in this row.

    There is no bias, and :math:`\sigma` is positive: a subset whose row of
    :math:`\mathbf{W}_2` is negative has no members at all, and no gradient to
    change that. So :math:`\mathbf{W}_2` is positive at first; a typical weight
    is a half, which a threshold can exceed.

    Args:
        in_channels (int): Size of each node vector.
        num_fields (int): The number :math:`n` of fields.
        num_subsets (int): The number :math:`S` of subsets.
        rank (int, optional): The number of rows of :math:`\mathbf{W}_1`.
            (default: :obj:`4`)
        threshold_init (float, optional): The initial :math:`\tau`.
            (default: :obj:`-7`)

    Shapes:
        - **input:** node vectors :math:`(|\mathcal{V}|, F_{in})` with the
          field of each node :math:`(|\mathcal{V}|)`, or
          :math:`(B, n, F_{in})`
        - **output:** :math:`(|\mathcal{V}|, S)` or :math:`(B, n, S)`
    """

    def __init__(
        self,
        in_channels: int,
        num_fields: int,
        num_subsets: int,
        rank: int = 4,
        threshold_init: float = -7.0,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.num_fields = num_fields
        self.num_subsets = num_subsets
        self.rank = rank
        self.lin1 = torch.nn.Linear(in_channels, rank, bias=False)
        self.lin2 = torch.nn.Linear(rank, num_subsets, bias=False)
        self.threshold = SoftThreshold(
            num_fields, num_subsets, init=threshold_init
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        glorot(self.lin1.weight)
        # The sigmoid is about a half, so that weights are a half on average:
        torch.nn.init.uniform_(self.lin2.weight, 0, 2 / self.rank)
        self.threshold.reset_parameters()

    def forward(self, x: Tensor, field: Tensor | None = None) -> Tensor:
        r"""Weighs the edges from each node to all subsets.

        Args:
            x (torch.Tensor): The node vectors.
            field (torch.Tensor, optional): The field of each node; not needed
                for rows, whose nodes are in field order.
                (default: :obj:`None`)
        """
        if (x.dim() == 3) != (field is None):
            raise ValueError(
                "Node vectors of shape [num_nodes, channels] need 'field', "
                'rows [num_rows, num_fields, channels] have none '
                f'(got shape {list(x.size())})'
            )
        p = self.lin2(self.lin1(x).sigmoid()).relu()
        return self.threshold(p, field)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'num_fields={self.num_fields}, num_subsets={self.num_subsets}, '
            f'rank={self.rank})'
        )

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot, zeros

from pyg_featgraph.nn.kernels import pair_score


class HadamardScore(torch.nn.Module):
    r"""How beneficial the interaction of two nodes is, from the `"GraphFM:
    Graph Factorization Machines for Feature Interaction Modeling"
    <https://arxiv.org/abs/2105.11866>`_ paper (Eqs. 6 and 7).

    .. math::
        p_{ij} = \mathrm{sigmoid}\left(\mathbf{w}_2^{\top} \mathrm{ReLU}\left(
        \mathbf{W}_1 (\mathbf{x}_i \odot \mathbf{x}_j) + \mathbf{b}_1 \right)
        + b_2 \right)

    The score is symmetric in :math:`i` and :math:`j`.

    Args:
        in_channels (int): Size of each node vector.
        hidden_channels (int, optional): Size of the hidden layer.
            (default: :obj:`16`)

    Shapes:
        - **input:** node vectors :math:`(|\mathcal{V}|, F_{in})` with edge
          indices :math:`(2, |\mathcal{E}|)`, or :math:`(B, n, F_{in})`
        - **output:** :math:`(|\mathcal{E}|)`, or :math:`(B, n, n)`
    """

    def __init__(self, in_channels: int, hidden_channels: int = 16) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.weight = Parameter(torch.empty(hidden_channels, in_channels))
        self.bias = Parameter(torch.empty(hidden_channels))
        self.att = Parameter(torch.empty(hidden_channels))
        self.att_bias = Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        glorot(self.weight)
        zeros(self.bias)
        glorot(self.att.view(1, -1))
        zeros(self.att_bias)

    def forward(self, x: Tensor, edge_index: Tensor | None = None) -> Tensor:
        r"""Scores the given edges, or all pairs of nodes of each row.

        Args:
            x (torch.Tensor): The node vectors.
            edge_index (torch.Tensor, optional): The edges. If :obj:`None`,
                :obj:`x` holds rows of equal size. (default: :obj:`None`)
        """
        if edge_index is not None:
            return self.score_products(x[edge_index[0]] * x[edge_index[1]])
        score = pair_score(x, self.weight, self.bias, self.att)
        return (score + self.att_bias).sigmoid()

    def score_products(self, v: Tensor) -> Tensor:
        r"""Scores pairs by the products :math:`\mathbf{x}_i \odot
        \mathbf{x}_j` of their vectors, with shape :math:`(*, F_{in})`.
        """
        hidden = F.linear(v, self.weight, self.bias).relu()
        return (hidden @ self.att + self.att_bias).sigmoid()

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.hidden_channels})'
        )

r"""The benefit of interactions as GraphFM scores it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot, zeros

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.kernels import pair_score
from pyg_featgraph.nn.layout import Pair
from pyg_featgraph.nn.lazy import LazyModule


class HadamardScore(FieldEdge, LazyModule, name='hadamard'):
    r"""How beneficial the interaction of two nodes is, from the `"GraphFM:
    Graph Factorization Machines for Feature Interaction Modeling"
    <https://arxiv.org/abs/2105.11866>`_ paper (Eq. 7).

    .. math::
        p_{ij} = \mathrm{sigmoid}\left(\mathbf{w}_2^{\top} \mathrm{ReLU}\left(
        \mathbf{W}_1 (\mathbf{x}_i \odot \mathbf{x}_j) + \mathbf{b}_1 \right)
        + b_2 \right)

    The score is symmetric in :math:`i` and :math:`j`.

    Args:
        in_channels (int): Size of each node vector, or :obj:`-1` to take it
            from the first input.
        hidden_channels (int, optional): Size of the hidden layer.
            (default: :obj:`16`)
        self_loops (bool, optional): If set to :obj:`False`, no node is its
            own neighbour. (default: :obj:`True`)

    Shapes:
        As :class:`FieldEdge`.
    """

    bias: Tensor
    weight: Tensor
    att: Tensor
    att_bias: Tensor

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 16,
        self_loops: bool = True,
    ) -> None:
        super().__init__(self_loops)
        self.in_channels = in_channels
        self.hidden_channels = hidden_channels
        self.add_parameter('weight', hidden_channels, -1)
        self.bias = Parameter(torch.empty(hidden_channels))
        self.att = Parameter(torch.empty(hidden_channels))
        self.att_bias = Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if not self.is_lazy:
            glorot(self.weight)
        zeros(self.bias)
        glorot(self.att.view(1, -1))
        zeros(self.att_bias)

    def score(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        hidden = F.linear(x_i * x_j, self.weight, self.bias).relu()
        return (hidden @ self.att + self.att_bias).sigmoid()

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        if x[0] is not x[1]:
            return super().dense(x, pairs)
        score = pair_score(
            x[0], self.weight, self.bias, self.att, self.att_bias
        )
        return score if pairs is None else score * pairs

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.hidden_channels})'
        )

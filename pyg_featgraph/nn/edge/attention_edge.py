r"""Attention between fields as Fi-GNN has it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn.inits import glorot

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.kernels import sum_softmax
from pyg_featgraph.nn.layout import Pair, edge_softmax
from pyg_featgraph.nn.lazy import LazyModule


class AttentionEdge(FieldEdge, LazyModule, name='attention'):
    r"""The attentional edge weights of the `"Fi-GNN: Modeling Feature
    Interactions via Graph Neural Networks for CTR Prediction"
    <https://arxiv.org/abs/1910.05552>`_ paper (Eq. 3).

    .. math::
        A_{ij} = \underset{j \neq i}{\mathrm{softmax}} \; \mathrm{LeakyReLU}
        \big( \mathbf{a}_t^{\top} \mathbf{x}_i + \mathbf{a}_s^{\top}
        \mathbf{x}_j \big), \qquad A_{ii} = 0,

    where node :math:`i` receives and node :math:`j` sends, so that the
    incoming weights of every node sum to one, as in the authors' code. A node
    without any other receives nothing.

    Args:
        in_channels (int): Size of each node vector, or :obj:`-1` to take it
            from the first input.
        negative_slope (float, optional): LeakyReLU angle of the negative
            slope. (default: :obj:`0.01`)
        self_loops (bool, optional): If set to :obj:`True`, a node is one of
            its own neighbours. (default: :obj:`False`)

    Shapes:
        As :class:`FieldEdge`.
    """

    att_source: Tensor
    att_target: Tensor

    def __init__(
        self,
        in_channels: int,
        negative_slope: float = 0.01,
        self_loops: bool = False,
    ) -> None:
        super().__init__(self_loops)
        self.in_channels = in_channels
        self.negative_slope = negative_slope
        self.add_parameter('att_source', -1)
        self.add_parameter('att_target', -1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if not self.is_lazy:
            glorot(self.att_source.view(1, -1))
            glorot(self.att_target.view(1, -1))

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        source, target = x[0] @ self.att_source, x[1] @ self.att_target
        return sum_softmax(target, source, pairs, self.negative_slope)

    def graph(
        self,
        x: Pair,
        edge_index: Tensor,
        field: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        source, target = x[0] @ self.att_source, x[1] @ self.att_target
        logit = target[edge_index[1]] + source[edge_index[0]]
        logit = F.leaky_relu(logit, self.negative_slope)
        other = None
        if not self.self_loops and x[0] is x[1]:
            other = edge_index[0] != edge_index[1]
        return edge_softmax(logit, other, edge_index[1], x[1].size(0))

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.in_channels})'

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot
from torch_geometric.utils import softmax


class AttentionEdge(torch.nn.Module):
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
        in_channels (int): Size of each node vector.
        negative_slope (float, optional): LeakyReLU angle of the negative
            slope. (default: :obj:`0.01`)

    Shapes:
        - **input:** node vectors :math:`(|\mathcal{V}|, F_{in})` with edge
          indices :math:`(2, |\mathcal{E}|)`, or :math:`(B, n, F_{in})`
        - **output:** :math:`(|\mathcal{E}|)`, or :math:`(B, n, n)` with one
          row of weights per target node
    """

    def __init__(self, in_channels: int, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.negative_slope = negative_slope
        self.att_source = Parameter(torch.empty(in_channels))
        self.att_target = Parameter(torch.empty(in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        glorot(self.att_source.view(1, -1))
        glorot(self.att_target.view(1, -1))

    def forward(self, x: Tensor, edge_index: Tensor | None = None) -> Tensor:
        r"""Weighs the given edges, or all pairs of nodes of each row.

        Args:
            x (torch.Tensor): The node vectors.
            edge_index (torch.Tensor, optional): The edges; self loops get
                weight zero. If :obj:`None`, :obj:`x` holds rows of equal
                size. (default: :obj:`None`)
        """
        source, target = x @ self.att_source, x @ self.att_target
        if edge_index is not None:
            row, col = edge_index
            logit = self._activate(target[col] + source[row], row == col)
            weight = softmax(logit, col, num_nodes=x.size(0))
            return weight * (row != col)
        n = x.size(1)
        diagonal = torch.eye(n, dtype=torch.bool, device=x.device)
        logit = target.unsqueeze(2) + source.unsqueeze(1)
        weight = self._activate(logit, diagonal).softmax(dim=2)
        return weight.masked_fill(diagonal, 0.0)

    def _activate(self, logit: Tensor, excluded: Tensor) -> Tensor:
        logit = F.leaky_relu(logit, self.negative_slope)
        # A finite value, since a node can have no other than itself:
        return logit.masked_fill(excluded, torch.finfo(logit.dtype).min)

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.in_channels})'

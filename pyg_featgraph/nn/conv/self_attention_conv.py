from __future__ import annotations

import math
import typing

import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.utils import softmax


class SelfAttentionConv(MessagePassing):
    r"""The interacting layer of the `"AutoInt: Automatic Feature Interaction
    Learning via Self-Attentive Neural Networks"
    <https://arxiv.org/abs/1810.11921>`_ paper (Eqs. 5 to 8), which Fi-GNN has
    as its input layer, too.

    .. math::
        \mathbf{x}^{\prime}_i = \mathrm{ReLU} \Big( \Big\Vert_{h=1}^{H} \sum_j
        \alpha^h_{ij} \mathbf{V}^h \mathbf{x}_j + \mathbf{R} \mathbf{x}_i
        \Big), \qquad \alpha^h_{ij} = \underset{j}{\mathrm{softmax}} \;
        \frac{(\mathbf{Q}^h \mathbf{x}_i)^{\top} \mathbf{K}^h
        \mathbf{x}_j}{\sqrt{F_{out}}}

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample (of each head).
        heads (int, optional): Number of attention heads. (default: :obj:`1`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F_{in})` with
          edge indices :math:`(2, |\mathcal{E}|)`, in which self loops are
          needed for attention to oneself; or rows of equal size
          :math:`(B, n, F_{in})`, all nodes being connected
        - **output:** node features :math:`(|\mathcal{V}|, H * F_{out})` or
          :math:`(B, n, H * F_{out})`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        **kwargs: typing.Any,
    ) -> None:
        kwargs.setdefault('aggr', 'add')
        super().__init__(node_dim=0, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        total = heads * out_channels
        self.lin_query = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_key = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_value = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_res = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        self.lin_query.reset_parameters()
        self.lin_key.reset_parameters()
        self.lin_value.reset_parameters()
        self.lin_res.reset_parameters()

    def forward(self, x: Tensor, edge_index: Tensor | None = None) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features, of a graph or of rows of
                equal size.
            edge_index (torch.Tensor, optional): The edges of a graph.
                (default: :obj:`None`)
        """
        if (x.dim() == 3) != (edge_index is None):
            raise ValueError(
                "Node features of shape [num_nodes, channels] need 'edge_index'"
                ', rows [num_rows, num_fields, channels] have none '
                f'(got shape {list(x.size())})'
            )
        size = (*x.shape[:-1], self.heads, self.out_channels)
        query = self.lin_query(x).view(size)
        key = self.lin_key(x).view(size)
        value = self.lin_value(x).view(size)
        if x.dim() == 3:
            out = F.scaled_dot_product_attention(
                query.transpose(1, 2),
                key.transpose(1, 2),
                value.transpose(1, 2),
            ).transpose(1, 2)
        else:
            # edge_updater_type: (query: Tensor, key: Tensor)
            alpha = self.edge_updater(
                edge_index, query=query, key=key, size=None
            )
            # propagate_type: (value: Tensor, alpha: Tensor)
            out = self.propagate(
                edge_index, value=value, alpha=alpha, size=None
            )
        return (out.flatten(-2) + self.lin_res(x)).relu()

    def edge_update(
        self,
        query_i: Tensor,
        key_j: Tensor,
        index: Tensor,
        ptr: Tensor | None,
        dim_size: int | None,
    ) -> Tensor:
        logit = (query_i * key_j).sum(dim=-1) / math.sqrt(self.out_channels)
        return softmax(logit, index, ptr, dim_size)

    def message(self, value_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(-1) * value_j

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, heads={self.heads})'
        )

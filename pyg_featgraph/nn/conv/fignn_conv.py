from __future__ import annotations

import typing

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import zeros

from pyg_featgraph.nn.conv.field_linear import FieldLinear


class FiGNNConv(MessagePassing):
    r"""The gated propagation of the `"Fi-GNN: Modeling Feature Interactions
    via Graph Neural Networks for CTR Prediction"
    <https://arxiv.org/abs/1910.05552>`_ paper (Eqs. 4 to 6).

    Starting from :math:`\mathbf{h}^{(0)}_i = \mathbf{x}_i`, each of
    :math:`T` steps computes

    .. math::
        \mathbf{a}_i &= \mathbf{W}^{in}_i \sum_j A_{ij} \mathbf{W}^{out}_j
        \mathbf{h}^{(t-1)}_j + \mathbf{b}

        \mathbf{h}^{(t)}_i &= \mathrm{GRU}(\mathbf{a}_i,
        \mathbf{h}^{(t-1)}_i) + \mathbf{x}_i

    with transformations :math:`\mathbf{W}^{out}_j` and
    :math:`\mathbf{W}^{in}_i` of each field and one GRU and one bias for all
    fields and steps. The weights :math:`A_{ij}` usually come from
    :class:`~pyg_featgraph.nn.AttentionEdge`; without weights all other nodes
    are summed up, as the code released later has it.

    Args:
        channels (int): Size of each node vector.
        num_fields (int): The number :math:`n` of fields.
        num_layers (int, optional): The number :math:`T` of steps.
            (default: :obj:`2`)
        share_weights (bool, optional): If set to :obj:`True`, the
            transformations are the same in all steps.
            (default: :obj:`False`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*,
          field of each node :math:`(|\mathcal{V}|)`; or rows of equal size
          :math:`(B, n, F)` with weights :math:`(B, n, n)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(B, n, F)`
    """

    def __init__(
        self,
        channels: int,
        num_fields: int,
        num_layers: int = 2,
        share_weights: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        kwargs.setdefault('aggr', 'add')
        super().__init__(node_dim=0, **kwargs)
        self.channels = channels
        self.num_fields = num_fields
        self.num_layers = num_layers
        self.share_weights = share_weights

        count = min(1, num_layers) if share_weights else num_layers
        self.lin_out: typing.Any = torch.nn.ModuleList(
            FieldLinear(channels, channels, num_fields, bias=False)
            for _ in range(count)
        )
        self.lin_in: typing.Any = torch.nn.ModuleList(
            FieldLinear(channels, channels, num_fields, bias=False)
            for _ in range(count)
        )
        self.bias = Parameter(torch.empty(channels))
        self.rnn = torch.nn.GRUCell(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for lin in (*self.lin_out, *self.lin_in):
            lin.reset_parameters()
        zeros(self.bias)
        self.rnn.reset_parameters()

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features, of a graph or of rows of
                equal size.
            edge_index (torch.Tensor, optional): The edges of a graph.
                (default: :obj:`None`)
            edge_weight (torch.Tensor, optional): The weights of the edges.
                (default: one for each edge that is no self loop)
            field (torch.Tensor, optional): The field of each node of a
                graph. (default: :obj:`None`)
        """
        is_graph = edge_index is not None and field is not None
        if (x.dim() == 3 and edge_index is not None) or (
            x.dim() == 2 and not is_graph
        ):
            raise ValueError(
                "Node features of shape [num_nodes, channels] need 'edge_index'"
                " and 'field', rows [num_rows, num_fields, channels] have none "
                f'(got shape {list(x.size())})'
            )
        if edge_index is not None and edge_weight is None:
            edge_weight = (edge_index[0] != edge_index[1]).to(x.dtype)
        h = x
        for step in range(self.num_layers):
            k = 0 if self.share_weights else step
            message = self.lin_out[k](h, field)
            if edge_index is not None:
                # propagate_type: (x: Tensor, alpha: Tensor)
                out = self.propagate(
                    edge_index, x=message, alpha=edge_weight, size=None
                )
            elif edge_weight is not None:
                out = edge_weight @ message
            else:
                out = message.sum(dim=1, keepdim=True) - message
            out = self.lin_in[k](out, field) + self.bias
            h = self.rnn(out.flatten(0, -2), h.flatten(0, -2)).view_as(x) + x
        return h

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(-1) * x_j

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields}, num_layers={self.num_layers})'
        )

from __future__ import annotations

import typing

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import scatter

from pyg_featgraph.nn.conv.field_linear import FieldLinear

#: A smaller sum of weights counts as none, whose inverse has no gradient.
TINY = 1e-12


class FIVESConv(MessagePassing):
    r"""The propagation of the `"FIVES: Feature Interaction Via Edge Search for
    Large-Scale Tabular Data" <https://arxiv.org/abs/2007.14573>`_ paper
    (Eq. 2), which raises the order of interactions by one.

    .. math::
        \mathbf{x}^{\prime}_i = \mathbf{x}_i \odot \frac{1}{Z_i} \sum_j A_{ij}
        \mathbf{W}_j \mathbf{e}_j, \qquad Z_i = \sum_j A_{ij},

    where :math:`\mathbf{e}_j` is the embedding of field :math:`j` and
    :math:`\mathbf{x}_i` what the layer before has given, at first the
    embedding as well. :math:`\mathbf{A}` is the same for all rows, usually a
    slice of :class:`~pyg_featgraph.nn.AdjacencyTensor`. The paper shares
    :math:`\mathbf{W}_j` between all layers: use one instance for all.

    Since a soft :math:`A_{ij}` is divided by its sum, a row of equally small
    weights acts as the mean of everything; :obj:`aggr="sum"` does not divide.

    Args:
        channels (int): Size of each node vector.
        num_fields (int): The number :math:`n` of fields.
        aggr (str, optional): :obj:`"mean"` as above, or :obj:`"sum"` with
            :math:`Z_i = 1`. (default: :obj:`"mean"`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          embeddings and node features, both :math:`(|\mathcal{V}|, F)`,
          adjacency :math:`(n, n)`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          field of each node :math:`(|\mathcal{V}|)`; or rows of equal size,
          both :math:`(B, n, F)`, with the adjacency only
        - **output:** node features :math:`(|\mathcal{V}|, F)` or
          :math:`(B, n, F)`
    """

    def __init__(
        self,
        channels: int,
        num_fields: int,
        aggr: str = 'mean',
        **kwargs: typing.Any,
    ) -> None:
        if aggr not in ('mean', 'sum'):
            raise ValueError(f"'aggr' must be 'mean' or 'sum' (got '{aggr}')")
        # The mean is one of weights, not of edges:
        super().__init__(aggr='sum', node_dim=0, **kwargs)
        self.channels = channels
        self.num_fields = num_fields
        self.normalize = aggr == 'mean'
        self.lin = FieldLinear(channels, channels, num_fields, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        self.lin.reset_parameters()

    def forward(
        self,
        x: tuple[Tensor, Tensor],
        adj: Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (tuple of torch.Tensor): The embeddings :math:`\mathbf{e}` and
                the node features :math:`\mathbf{x}`.
            adj (torch.Tensor): The weights :math:`A_{ij}`, rows being
                targets.
            edge_index (torch.Tensor, optional): The edges of a graph. A self
                loop counts like any other edge, where :math:`A_{ii}` is not
                zero. (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node of a
                graph. (default: :obj:`None`)
        """
        source, target = x
        if source.dim() == 3 and edge_index is None:
            return target * self._forward_rows(source, adj)
        if source.dim() == 3 or edge_index is None or field is None:
            raise ValueError(
                "Node features of shape [num_nodes, channels] need 'edge_index'"
                " and 'field', rows [num_rows, num_fields, channels] have none "
                f'(got shape {list(source.size())})'
            )
        row, col = edge_index
        alpha = adj[field[col], field[row]]
        if self.normalize:
            total = scatter(alpha, col, dim_size=source.size(0), reduce='sum')
            alpha = alpha / total.clamp(min=TINY)[col]
        # propagate_type: (x: Tensor, alpha: Tensor)
        out = self.propagate(
            edge_index, x=self.lin(source, field), alpha=alpha, size=None
        )
        return target * out

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(-1) * x_j

    def _forward_rows(self, x: Tensor, adj: Tensor) -> Tensor:
        if self.normalize:
            adj = adj / adj.sum(dim=1, keepdim=True).clamp(min=TINY)
        # Field by field instead of row by row, so that all rows are columns
        # of one product with the matrix that they share:
        message = torch.bmm(x.transpose(0, 1), self.lin.weight[:, 0])
        out = (adj @ message.flatten(1)).view_as(message)
        return out.transpose(0, 1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields})'
        )

from __future__ import annotations

import typing

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import glorot

from pyg_featgraph.nn.edge.soft_threshold import SoftThreshold
from pyg_featgraph.nn.kernels.induced_set import induced_set_attention


class InducedSetConv(MessagePassing):
    r"""The pruned attention of learnable queries over subsets of the fields,
    from the `"FeatNet: Feature Interaction Pruning Networks for CTR
    Prediction"` paper (Eqs. 5, 6 and 11 to 13).

    Every subset :math:`s` of a row is a node that receives from its members,
    by :math:`E` queries. With the weights :math:`p_{js}` of the edges from
    fields to subsets, which make :math:`\mathbf{x}_{sj} = p_{js}
    \mathbf{x}_j`,

    .. math::
        a_{sej} &= S_g \big( \mathrm{ReLU} ( \mathbf{i}_{se}^{\top}
        \mathbf{W}_K \mathbf{x}_{sj} ), \tau_{ej} \big)

        \mathbf{x}^{\prime}_{se} &= \sum_j a_{sej} \, \mathbf{x}_{sj},

    where :math:`S_g` is :class:`~pyg_featgraph.nn.SoftThreshold`. The fields
    with :math:`a_{sej} > 0` are a combination, whose order is their number.
    There is no softmax and no scale.

    In the regular layout one matrix product serves all subsets, and no memory
    grows with the product of rows, fields and queries, see
    :func:`~pyg_featgraph.nn.kernels.induced_set_attention`.

    Args:
        channels (int): Size of each node vector.
        num_fields (int): The number :math:`n` of fields.
        num_subsets (int): The number :math:`S` of subsets.
        num_queries (int): The number :math:`E` of queries of each subset.
        share_queries (bool, optional): If set to :obj:`True`, all subsets have
            the same queries. (default: :obj:`False`)
        share_keys (bool, optional): If set to :obj:`False`, each subset has
            its own :math:`\mathbf{W}_K`. (default: :obj:`True`)
        share_thresholds (bool, optional): If set to :obj:`False`, each subset
            has its own :math:`\tau`. (default: :obj:`True`)
        threshold_init (float, optional): The initial :math:`\tau`.
            (default: :obj:`-7`)
        query_std (float, optional): The standard deviation of the initial
            queries. Outputs grow with the square of the node features, so
            that those of smaller ones need larger queries to learn from.
            (default: :obj:`1`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)`,
          weights of the edges to subsets :math:`(|\mathcal{V}|, S)`,
          edge indices :math:`(2, |\mathcal{E}|)` from nodes to subsets, see
          :meth:`edges`,
          field of each node :math:`(|\mathcal{V}|)`; or rows of equal size
          :math:`(B, n, F)` with weights :math:`(B, n, S)` alone
        - **output:** :math:`(B, S, E, F)`
    """

    def __init__(
        self,
        channels: int,
        num_fields: int,
        num_subsets: int,
        num_queries: int,
        share_queries: bool = False,
        share_keys: bool = True,
        share_thresholds: bool = True,
        threshold_init: float = -7.0,
        query_std: float = 1.0,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(aggr='sum', node_dim=0, **kwargs)
        self.channels = channels
        self.num_fields = num_fields
        self.num_subsets = num_subsets
        self.num_queries = num_queries
        self.query_std = query_std
        size = 1 if share_queries else num_subsets
        self.query = Parameter(torch.empty(size, num_queries, channels))
        size = 1 if share_keys else num_subsets
        self.key = Parameter(torch.empty(size, channels, channels))
        size = 1 if share_thresholds else num_subsets
        self.threshold = SoftThreshold(
            num_fields, size, num_queries, init=threshold_init
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        torch.nn.init.normal_(self.query, std=self.query_std)
        glorot(self.key)
        self.threshold.reset_parameters()

    def edges(self, weight: Tensor, batch: Tensor) -> Tensor:
        r"""The edges from the nodes of a batch to the subsets that they are
        members of; number :math:`b S + s` is subset :math:`s` of row
        :math:`b`. An edge with a weight of zero is pruned.

        Args:
            weight (torch.Tensor): The weights :math:`(|\mathcal{V}|, S)`.
            batch (torch.Tensor): The row of each node.
        """
        source, subset = weight.nonzero().unbind(1)
        return torch.stack([source, batch[source] * self.num_subsets + subset])

    def forward(
        self,
        x: Tensor,
        weight: Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
        size: int | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features.
            weight (torch.Tensor): The weights of the edges to subsets.
            edge_index (torch.Tensor, optional): The edges from nodes to
                subsets. (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node.
                (default: :obj:`None`)
            size (int, optional): The number of rows. (default: as many as
                have edges)
        """
        if self._is_rows(x, edge_index, field):
            query = self._queries()
            threshold = self.threshold.threshold.expand(-1, *query.size()[:2])
            return induced_set_attention(x, weight, query, threshold)
        edges: typing.Any = edge_index
        if size is None:
            target = edges[1]
            num = int(target.max()) + 1 if target.numel() else 0
            size = -(-num // self.num_subsets)
        score, edge_weight = self._edge_scores(x, weight, edges, field)
        # propagate_type: (x: Tensor, alpha: Tensor)
        out = self.propagate(
            edge_index,
            x=x,
            alpha=score * edge_weight,
            size=(x.size(0), size * self.num_subsets),
        )
        return out.view(size, self.num_subsets, self.num_queries, x.size(1))

    def scores(
        self,
        x: Tensor,
        weight: Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
    ) -> Tensor:
        r"""The scores :math:`a_{sej}`, zero where they are pruned.

        The arguments are those of :meth:`forward`.

        Returns:
            torch.Tensor: With shape :math:`(B, n, S, E)` for rows, and
            :math:`(|\mathcal{E}|, E)` for edges.
        """
        if not self._is_rows(x, edge_index, field):
            return self._edge_scores(x, weight, edge_index, field)[0]
        product = torch.einsum('bnd,sed->bnse', x, self._queries())
        return self.threshold((product * weight.unsqueeze(3)).relu())

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(2) * x_j.unsqueeze(1)

    def _queries(self) -> Tensor:
        # I (W_K x) = (I W_K) x, once for a batch instead of for each node:
        query = self.query @ self.key
        return query.expand(self.num_subsets, -1, -1)

    def _edge_scores(
        self,
        x: Tensor,
        weight: Tensor,
        edge_index: typing.Any,
        field: typing.Any,
    ) -> tuple[Tensor, Tensor]:
        # The scores of each edge, and its weight.
        source, subset = edge_index[0], edge_index[1] % self.num_subsets
        product = x @ self._queries().flatten(0, 1).t()
        product = product.view(x.size(0), self.num_subsets, self.num_queries)
        edge_weight = weight[source, subset].unsqueeze(1)
        score = (product[source, subset] * edge_weight).relu()
        kind = subset if self.threshold.size[1] > 1 else subset.new_zeros(())
        return self.threshold(score, (field[source], kind)), edge_weight

    def _is_rows(
        self, x: Tensor, edge_index: Tensor | None, field: Tensor | None
    ) -> bool:
        if x.dim() == 3 and edge_index is None and field is None:
            return True
        if x.dim() == 3 or edge_index is None or field is None:
            raise ValueError(
                "Node features of shape [num_nodes, channels] need 'edge_index'"
                " and 'field', rows [num_rows, num_fields, channels] have none "
                f'(got shape {list(x.size())})'
            )
        return False

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields}, num_subsets={self.num_subsets}, '
            f'num_queries={self.num_queries})'
        )

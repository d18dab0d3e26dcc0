r"""The pruned attention over subsets of FeatNet."""

from __future__ import annotations

import typing

import torch
from torch import Tensor
from torch_geometric.nn.inits import glorot

from pyg_featgraph.nn.conv.hyperedge_base import HyperedgeConv
from pyg_featgraph.nn.edge.soft_threshold import SoftThreshold
from pyg_featgraph.nn.kernels.induced_set import induced_set_attention
from pyg_featgraph.nn.layout import is_dense, same_size
from pyg_featgraph.nn.lazy import LazyModule


class InducedSetConv(HyperedgeConv, LazyModule):
    r"""The pruned attention of learnable queries over subsets of the fields,
    from the `"FeatNet: Feature Interaction Pruning Networks for CTR
    Prediction"` paper (Eqs. 5, 6 and 11 to 13).

    Every subset :math:`s` of a row is a node that receives from its members,
    by :math:`E` queries. With the weights :math:`p_{js}` of the edges from
    fields to subsets (:class:`~pyg_featgraph.nn.SubsetEdge`), which make
    :math:`\mathbf{x}_{sj} = p_{js} \mathbf{x}_j`,

    .. math::
        a_{sej} &= S_g \big( \mathrm{ReLU} ( \mathbf{i}_{se}^{\top}
        \mathbf{W}_K \mathbf{x}_{sj} ), \tau_{ej} \big)

        \mathbf{x}^{\prime}_{se} &= \sum_j a_{sej} \, \mathbf{x}_{sj},

    where :math:`S_g` is :class:`~pyg_featgraph.nn.SoftThreshold`. The fields
    with :math:`a_{sej} > 0` are a combination, whose order is their number.
    There is no softmax and no scale.

    The weights of any other :class:`~pyg_featgraph.nn.FieldEdge` serve as
    well, if there are as many subsets as fields: subset :math:`s` is then the
    neighbourhood of field :math:`s`.

    In the dense layout one matrix product serves all subsets, and no memory
    grows with the product of rows, fields and queries, see
    :func:`~pyg_featgraph.nn.kernels.induced_set_attention`.

    Args:
        channels (int): Size of each node vector, or :obj:`-1` to take it from
            the first input.
        num_fields (int, optional): The number :math:`n` of fields, each with
            thresholds of its own; :obj:`None` shares them.
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
          hyperedge indices :math:`(2, |\mathcal{E}|)` from nodes to subsets,
          see :meth:`hyperedges`,
          weights of these edges :math:`(|\mathcal{E}|)`,
          field of each node :math:`(|\mathcal{V}|)` *(if* :obj:`num_fields`
          *is given)*; or :math:`(B, n, F)` with weights :math:`(B, S, n)` or
          :math:`(S, n)`
        - **output:** :math:`(B, S, E, F)`
    """

    query: Tensor
    key: Tensor

    def __init__(
        self,
        channels: int,
        num_fields: int | None,
        num_subsets: int,
        num_queries: int,
        share_queries: bool = False,
        share_keys: bool = True,
        share_thresholds: bool = True,
        threshold_init: float = -7.0,
        query_std: float = 1.0,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(num_subsets, 'sum', **kwargs)
        self.in_channels = channels
        self.num_fields = num_fields
        self.num_subsets = num_subsets
        self.num_queries = num_queries
        self.query_std = query_std
        own = [
            1 if shared else num_subsets
            for shared in (share_queries, share_keys, share_thresholds)
        ]
        self.add_parameter('query', own[0], num_queries, -1)
        self.add_parameter('key', own[1], -1, -1)
        self.threshold = SoftThreshold(
            num_fields or 1, own[2], num_queries, init=threshold_init
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        if not self.is_lazy:
            torch.nn.init.normal_(self.query, std=self.query_std)
            glorot(self.key)
        self.threshold.reset_parameters()

    @property
    def channels(self) -> int:
        r"""Size of each node vector."""
        return self.in_channels

    def hyperedges(
        self, weight: Tensor, batch: Tensor
    ) -> tuple[Tensor, Tensor]:
        r"""The :obj:`hyperedge_index` of the nodes of a batch, and the weights
        of its edges. An edge with a weight of zero is pruned.

        Args:
            weight (torch.Tensor): The weights :math:`(|\mathcal{V}|, S)` of
                the edges from all nodes to all subsets.
            batch (torch.Tensor): The row of each node.
        """
        source, subset = weight.nonzero().unbind(1)
        target = batch[source] * self.num_subsets + subset
        return torch.stack([source, target]), weight[source, subset]

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        field: Tensor | None = None,
        num_edges: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features.
            hyperedge_index (torch.Tensor, optional): The edges from nodes to
                subsets. (default: :obj:`None`)
            edge_weight (torch.Tensor, optional): The weights of these edges,
                or of all nodes for all subsets in the dense layout.
                (default: one)
            field (torch.Tensor, optional): The field of each node of a graph,
                if fields have thresholds of their own. (default: :obj:`None`)
            num_edges (int, optional): The number :math:`B \cdot S` of subsets
                of a graph. (default: as many as have members)
            mask (torch.Tensor, optional): The fields that are there, in the
                dense layout. (default: all)

        Raises:
            ValueError: If the arguments do not fit each other.
        """
        size = self._batch_size(x, hyperedge_index, num_edges, mask)
        if size is None:
            weight = self._dense_weight(x, edge_weight, mask)
            query = self._queries()
            threshold = self.threshold.threshold.expand(
                x.size(1), *query.size()[:2]
            )
            return induced_set_attention(x, weight, query, threshold)
        assert hyperedge_index is not None
        weight = self._graph_weight(x, hyperedge_index, edge_weight)
        score = self._edge_scores(x, hyperedge_index, weight, field)
        # propagate_type: (x: Tensor, alpha: Tensor)
        out: Tensor = self.propagate(
            hyperedge_index,
            x=x,
            alpha=score * weight.unsqueeze(1),
            size=(x.size(0), size * self.num_subsets),
        )
        return out.view(size, self.num_subsets, self.num_queries, x.size(1))

    def scores(
        self,
        x: Tensor,
        hyperedge_index: Tensor | None = None,
        edge_weight: Tensor | None = None,
        field: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""The scores :math:`a_{sej}`, zero where they are pruned.

        The arguments are those of :meth:`forward`.

        Returns:
            torch.Tensor: With shape :math:`(B, n, S, E)` in the dense layout,
            and :math:`(|\mathcal{E}|, E)` for edges.
        """
        if not is_dense(x, hyperedge_index, mask):
            assert hyperedge_index is not None
            weight = self._graph_weight(x, hyperedge_index, edge_weight)
            return self._edge_scores(x, hyperedge_index, weight, field)
        weight = self._dense_weight(x, edge_weight, mask)
        product = torch.einsum('bnd,sed->bnse', x, self._queries())
        out: Tensor = self.threshold((product * weight.unsqueeze(3)).relu())
        return out

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(2) * x_j.unsqueeze(1)

    def _queries(self) -> Tensor:
        # I (W_K x) = (I W_K) x, once for a batch instead of for each node:
        query = self.query @ self.key
        return query.expand(self.num_subsets, -1, -1)

    def _dense_weight(
        self, x: Tensor, weight: Tensor | None, mask: Tensor | None
    ) -> Tensor:
        # As the kernel has them, [B, n, S].
        size, n, _ = x.size()
        if weight is None:
            weight = x.new_ones(self.num_subsets, n)
        shapes = [(self.num_subsets, n), (size, self.num_subsets, n)]
        if not any(same_size(tuple(weight.size()), s) for s in shapes):
            raise ValueError(
                f"'edge_weight' must have shape [{size}, {self.num_subsets}, "
                f'{n}] or [{self.num_subsets}, {n}] '
                f'(got {list(weight.size())})'
            )
        weight = weight.mT.expand(size, -1, -1)
        return weight if mask is None else weight * mask.unsqueeze(2)

    def _graph_weight(
        self, x: Tensor, hyperedge_index: Tensor, weight: Tensor | None
    ) -> Tensor:
        if weight is None:
            return x.new_ones(hyperedge_index.size(1))
        if weight.size() != hyperedge_index.size()[1:]:
            raise ValueError(
                f"'edge_weight' must have shape [{hyperedge_index.size(1)}] "
                f'(got {list(weight.size())})'
            )
        return weight

    def _edge_scores(
        self,
        x: Tensor,
        hyperedge_index: Tensor,
        weight: Tensor,
        field: Tensor | None,
    ) -> Tensor:
        source = hyperedge_index[0]
        subset = hyperedge_index[1] % self.num_subsets
        product = x @ self._queries().flatten(0, 1).t()
        product = product.view(x.size(0), self.num_subsets, self.num_queries)
        score = (product[source, subset] * weight.unsqueeze(1)).relu()
        if self.num_fields is None:
            kind = torch.zeros_like(subset)
        elif field is None:
            raise ValueError(
                f"'field' is required, since each of the {self.num_fields} "
                'fields has its own thresholds'
            )
        else:
            kind = field[source]
        own = subset if self.threshold.size[1] > 1 else torch.zeros_like(subset)
        out: Tensor = self.threshold(score, (kind, own))
        return out

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields}, num_subsets={self.num_subsets}, '
            f'num_queries={self.num_queries})'
        )

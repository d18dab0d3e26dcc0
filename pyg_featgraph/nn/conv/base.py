r"""The base class of operators between the fields of a row."""

from __future__ import annotations

import typing
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import reset
from torch_geometric.typing import Adj
from torch_geometric.utils import (
    add_remaining_self_loops,
    is_sparse,
    to_edge_index,
)

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.edge.uniform_edge import UniformEdge
from pyg_featgraph.nn.kernels import row_product
from pyg_featgraph.nn.layout import Pair, is_dense, pairs_of, same_size

Fields = tuple[Tensor | None, Tensor | None]


class Links(NamedTuple):
    r"""What an operator passes messages along, in either layout.

    Args:
        edge_index (torch.Tensor, optional): The edges of a graph, in the
            order that :obj:`FieldConv.propagate` needs.
        ends (tuple, optional): The source and the target of each edge of a
            graph.
        weight (torch.Tensor, optional): The weights of the edges, if they are
            not all one.
        pairs (torch.Tensor, optional): Which pairs are edges at all, in the
            dense layout.
        mask (torch.Tensor, optional): The fields that are there, in the dense
            layout.
        size (tuple, optional): The numbers of nodes of a graph, as
            :obj:`FieldConv.propagate` needs them.
        needs_alpha (bool, optional): Whether the weights that messages are
            multiplied with are asked for. (default: :obj:`False`)
        by_operator (bool, optional): Whether the weights are left to the
            operator, see :obj:`FieldConv.weighs`. (default: :obj:`False`)
    """

    edge_index: Tensor | None = None
    ends: Pair | None = None
    weight: Tensor | None = None
    pairs: Tensor | None = None
    mask: Tensor | None = None
    size: tuple[int, int] | None = None
    needs_alpha: bool = False
    by_operator: bool = False


class FieldConv(MessagePassing):
    r"""Base class of operators that pass messages along learnable edges.

    They share one form of call, whatever gives the edges and in either
    layout::

        conv(x, edge_index, field=field)           # its own edges, a graph
        conv(x)                                    # the same, dense
        conv(x, edge_index, edge_weight, field)    # edges from elsewhere
        conv(x, edge_weight=edge_weight, mask=mask)

    A subclass defines :meth:`convolve`, which both layouts share as far as it
    uses :meth:`spread` for the sum over neighbours.

    Args:
        edge (FieldEdge, optional): The module that gives the edges their
            weights; its parameters are reset with those of the operator.
            (default: all edges are alike)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Raises:
        ValueError: If :obj:`aggr` is not a sum, which weights need, or
            :obj:`node_dim` is given, which the layouts settle.
    """

    #: Whether a node is its own neighbour, without an edge module.
    self_loops: ClassVar[bool] = True
    #: How many heads weights may have, if any.
    num_heads: int | None = None

    edge: FieldEdge

    def __init__(
        self, edge: FieldEdge | None = None, **kwargs: typing.Any
    ) -> None:
        aggr = kwargs.pop('aggr', 'sum')
        if aggr not in ('sum', 'add'):
            raise ValueError(
                f'{self.__class__.__name__} sums messages by their weights: '
                f"'aggr' must be 'sum' (got {aggr!r})"
            )
        if 'node_dim' in kwargs:
            raise ValueError(
                f"{self.__class__.__name__} has no 'node_dim': nodes are the "
                'first dimension of a graph, the second of the dense layout'
            )
        super().__init__(aggr='sum', node_dim=0, **kwargs)
        self.edge = UniformEdge(self.self_loops) if edge is None else edge

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        for module in self.children():
            reset(module)

    if typing.TYPE_CHECKING:

        @typing.overload
        def forward(
            self,
            x: Tensor | Pair,
            edge_index: Adj | None = None,
            edge_weight: Tensor | None = None,
            field: Tensor | Pair | None = None,
            return_attention_weights: typing.Literal[False] | None = None,
            mask: Tensor | None = None,
        ) -> Tensor: ...

        @typing.overload
        def forward(
            self,
            x: Tensor | Pair,
            edge_index: Adj | None = None,
            edge_weight: Tensor | None = None,
            field: Tensor | Pair | None = None,
            *,
            return_attention_weights: typing.Literal[True],
            mask: Tensor | None = None,
        ) -> tuple[Tensor, tuple[Tensor | None, Tensor]]: ...

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Adj | None = None,
        edge_weight: Tensor | None = None,
        field: Tensor | Pair | None = None,
        return_attention_weights: bool | None = None,
        mask: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor | None, Tensor]]:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor or tuple): The node features, of a graph or of the
                dense layout; sources and targets can differ.
            edge_index (torch.Tensor or SparseTensor, optional): The edges of
                a graph. Self loops are added if the edge module has them.
                A sparse adjacency is to be transposed, as everywhere in PyG.
                (default: :obj:`None`)
            edge_weight (torch.Tensor, optional): The weights of the edges,
                which take the place of those of the edge module. The edges
                are then used as they are given. (default: :obj:`None`)
            field (torch.Tensor or tuple, optional): The field of each node of
                a graph, if fields have parameters of their own.
                (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`,
                will additionally return the tuple :obj:`(edge_index,
                attention_weights)`, what messages are multiplied with.
                (default: :obj:`None`)
            mask (torch.Tensor, optional): The fields that are there, in the
                dense layout; all others have zeros as output.
                (default: all)

        Raises:
            ValueError: If the arguments do not fit each other.
        """
        pair = (x, x) if isinstance(x, Tensor) else (x[0], x[1])
        fields = field if isinstance(field, tuple) else (field, field)
        if pair[0] is None or pair[1] is None:
            raise ValueError('Sources and targets both need node features')
        if is_dense(pair, edge_index, mask):
            if field is not None:
                raise ValueError(
                    "The dense layout has no 'field': node i is of field i"
                )
            alone = edge_weight is None and mask is None
            if alone and not return_attention_weights and self.weighs(pair):
                links = Links(by_operator=True)
            else:
                links = self._dense_links(pair, edge_weight, mask)
        else:
            if self.flow == 'target_to_source':
                # From here on sources come first, whichever way it flows:
                pair, fields = pair[::-1], fields[::-1]
            links = self._graph_links(pair, edge_index, edge_weight, fields)
        links = links._replace(needs_alpha=bool(return_attention_weights))
        out, alpha = self.convolve(pair, links, fields)
        if mask is not None:
            out = out * mask.unsqueeze(-1)
        if not return_attention_weights:
            return out
        return out, (links.edge_index, self._weights_used(alpha, links, pair))

    def convolve(
        self, x: Pair, links: Links, field: Fields
    ) -> tuple[Tensor, Tensor | None]:
        r"""The computation of the operator.

        Args:
            x (tuple): The features of sources and targets, the same tensor
                if the graph is not bipartite.
            links (Links): The edges.
            field (tuple): The fields of sources and targets.

        Returns:
            tuple: The features of the targets, and, where it is asked for,
            what messages have been multiplied with, :obj:`None` for one.
        """
        raise NotImplementedError

    def weighs(self, x: Pair) -> bool:
        r"""Whether the operator computes the weights of its edge module by
        itself, in one go with what it does with them. It is asked in the dense
        layout, where all fields are there and nobody else needs the weights.

        Args:
            x (tuple): The features of sources and targets.
        """
        return False

    def spread(
        self,
        message: Tensor,
        links: Links,
        weight: Tensor | None,
        gate: Tensor | None = None,
    ) -> Tensor:
        r"""Sums what the neighbours of each target send, :math:`\mathbf{g}_i
        \odot \sum_j w_{ij} \mathbf{m}_j`.

        Args:
            message (torch.Tensor): The messages of the sources, with shape
                :math:`(N, F)` or :math:`(B, n, F)`.
            links (Links): The edges.
            weight (torch.Tensor, optional): The weights, without heads;
                :obj:`None` for one.
            gate (torch.Tensor, optional): What the sums of the targets are
                multiplied with. (default: one)
        """
        if links.edge_index is not None:
            if weight is None:
                weight = message.new_ones(links.edge_index.size(1))
            # propagate_type: (x: Tensor, alpha: Tensor)
            out: Tensor = self.propagate(
                links.edge_index, x=message, alpha=weight, size=links.size
            )
            return out if gate is None else gate * out
        if links.mask is not None:
            message = message * links.mask.unsqueeze(-1)
        if weight is not None:
            return row_product(weight, message, gate)
        out = message.sum(dim=1, keepdim=True).expand_as(message)
        if not self.edge.self_loops:
            out = out - message
        return out if gate is None else gate * out

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        # Weights with heads meet features with heads:
        return alpha.unsqueeze(-1) * x_j

    def _dense_links(
        self, x: Pair, weight: Tensor | None, mask: Tensor | None
    ) -> Links:
        size, n, _ = x[1].size()
        self_loops = weight is not None or self.edge.self_loops
        if weight is None and not isinstance(self.edge, UniformEdge):
            weight = self.edge(x if x[0] is not x[1] else x[0], mask=mask)
        if weight is not None:
            self._check_weight(weight, [(n, n), (size, n, n)])
        pairs = pairs_of(mask, n, self_loops, x[1])
        return Links(weight=weight, pairs=pairs, mask=mask)

    def _graph_links(
        self,
        x: Pair,
        adj: Adj | None,
        weight: Tensor | None,
        field: Fields,
    ) -> Links:
        flows_down = self.flow == 'source_to_target'
        index = self._as_edge_index(adj, weight)
        is_bipartite = x[0] is not x[1]
        loops = self.edge.self_loops
        if weight is None and loops and not is_bipartite:
            index, _ = add_remaining_self_loops(index, num_nodes=x[1].size(0))
        edges = index if flows_down else index.flip(0)
        if weight is None and not (
            isinstance(self.edge, UniformEdge) and (loops or is_bipartite)
        ):
            weight = self.edge(x if is_bipartite else x[0], edges, field)
        if weight is not None:
            self._check_weight(weight, [(index.size(1),)])
        size = (x[0].size(0), x[1].size(0))
        return Links(
            index,
            (edges[0], edges[1]),
            weight,
            size=size if flows_down else (size[1], size[0]),
        )

    def _check_weight(
        self, weight: Tensor, shapes: list[tuple[int, ...]]
    ) -> None:
        size = tuple(weight.size())
        if self.num_heads is not None:
            shapes = [*shapes, (*shapes[-1], 1), (*shapes[-1], self.num_heads)]
        if any(same_size(size, shape) for shape in shapes):
            return
        names = ' or '.join(str(list(shape)) for shape in shapes)
        raise ValueError(
            f"'edge_weight' must have shape {names} (got {list(size)})"
        )

    def _as_edge_index(self, adj: Adj | None, weight: Tensor | None) -> Tensor:
        assert adj is not None
        if not is_sparse(adj):
            return typing.cast(Tensor, adj)
        if self.flow == 'target_to_source' or weight is not None:
            raise ValueError(
                "A sparse adjacency goes with neither 'edge_weight' nor the "
                "flow 'target_to_source': pass the edges as 'edge_index'"
            )
        index, value = to_edge_index(adj)
        if not torch.compiler.is_compiling() and bool((value != 1).any()):
            raise ValueError(
                'A sparse adjacency tells of the edges only, but this one has '
                "weights: pass 'edge_index' and 'edge_weight'"
            )
        return index.flip(0)

    def _weights_used(
        self, alpha: Tensor | None, links: Links, x: Pair
    ) -> Tensor:
        if alpha is not None and links.mask is None:
            return alpha
        if alpha is not None:
            assert links.pairs is not None
            # What a missing field would send is nothing:
            heads = [1] * max(0, alpha.dim() - 3)
            return alpha * links.pairs.view(*links.pairs.size(), *heads)
        if links.edge_index is not None:
            return x[1].new_ones(links.edge_index.size(1))
        if links.pairs is not None:
            return links.pairs.to(x[1].dtype)
        return x[1].new_ones(x[1].size(1), x[1].size(1))

r"""FIVES: searched edges that raise the order layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.config import Rule, at_least, one_of
from pyg_featgraph.nn.conv import FIVESConv
from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.edge import (
    AdjacencyTensor,
    FieldEdge,
    derive_interactions,
    make_edge,
)
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class FIVES(FieldModel):
    r"""The model of the `"FIVES: Feature Interaction Via Edge Search for
    Large-Scale Tabular Data" <https://arxiv.org/abs/2007.14573>`_ paper.

    From the embeddings :math:`\mathbf{n}^{(0)}`, layer :math:`k` makes
    features :math:`\mathbf{n}^{(k)}` of order :math:`k + 1` along the edges
    of an :class:`~pyg_featgraph.nn.AdjacencyTensor`
    (:class:`~pyg_featgraph.nn.FIVESConv`), and every order has a head
    (Eqs. 3 and 4),

    .. math::
        y^{(k)} = \mathbf{w}^{(k) \top} \big( \mathbf{n}^{(k)}_1 \Vert \ldots
        \Vert \mathbf{n}^{(k)}_n \big) + b^{(k)}, \qquad k = 0, \ldots, K - 1.

    The loss is the mean over the heads of their log losses. The paper does
    not say how they predict together; here it is by the mean of their
    probabilities.

    :func:`~pyg_featgraph.search.fives_search` learns the edges as the paper
    does; in a plain :func:`~pyg_featgraph.training.fit` they are parameters
    like any other. :obj:`interactions(by="edges")` spells out the edges, which
    have all orders and need no rows; :obj:`interactions(table)` ranks pairs
    by their effect on the logit, which tells useful ones better apart from
    edges of fields that the heads ignore.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        max_order (int, optional): The highest order :math:`K` of an
            interaction. (default: :obj:`3`)
        edge (str or FieldEdge, optional): What gives the edges of each layer
            their weights, from the embeddings: :obj:`"adjacency"` is the
            tensor of the paper, to which the next four options belong; or any
            other by name or as a module whose options are taken over, see
            :func:`~pyg_featgraph.nn.make_edge`. (default: :obj:`"adjacency"`)
        threshold (float or list of float, optional): The threshold of each of
            the :math:`K - 1` layers. (default: :obj:`0.5`)
        recursive (bool, optional): If set to :obj:`False`, the layers' edges
            are independent. (default: :obj:`True`)
        mode (str, optional): Which edges are used: :obj:`"soft"`,
            :obj:`"hard"` or :obj:`"straight_through"`, see
            :class:`~pyg_featgraph.nn.AdjacencyTensor`.
            (default: :obj:`"soft"`)
        self_loops (bool, optional): If set to :obj:`False`, no field
            interacts with itself. (default: :obj:`True`)
        normalize (bool, optional): If set to :obj:`False`, messages are not
            divided by the sum of their weights, see
            :class:`~pyg_featgraph.nn.FIVESConv`. (default: :obj:`True`)
        readout (str, optional): :obj:`"mean"` as above; :obj:`"last"`
            predicts by the highest order alone; :obj:`"sum"` adds the logits
            up and trains the sum, which is not in the paper but learns
            faster and finds more on planted data. (default: :obj:`"mean"`)
        dropout (float, optional): Dropout probability of the input of the
            heads. (default: :obj:`0`)
        embedding_std (float, optional): The standard deviation of the initial
            node vectors. Products of :math:`K` of them should not vanish.
            (default: :obj:`0.3`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: if it is large)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number of members, see
            :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`1`)
        field_dropout (float, optional): The probability that a field is left
            out of a row. (default: :obj:`0`)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        'max_order': at_least(2),
        'mode': one_of('soft', 'hard', 'straight_through'),
        'readout': one_of('mean', 'last', 'sum'),
    }

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        max_order: int = 3,
        edge: str | FieldEdge = 'adjacency',
        threshold: float | Sequence[float] = 0.5,
        recursive: bool = True,
        mode: str = 'soft',
        self_loops: bool = True,
        normalize: bool = True,
        readout: str = 'mean',
        dropout: float = 0.0,
        embedding_std: float = 0.3,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        self.readout = readout
        self.dropout = dropout
        n = info.num_fields
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        self.adjacency: AdjacencyTensor | None = None
        self.edges: Any = torch.nn.ModuleList()
        if edge == 'adjacency':
            self.adjacency = AdjacencyTensor(
                n, max_order - 1, threshold, recursive, mode, self_loops
            )
        else:
            self.edges.extend(
                make_edge(edge, embedding_dim, n) for _ in range(max_order - 1)
            )
        # The transformation that all layers share, once for all of them:
        self.message = FieldLinear(embedding_dim, embedding_dim, n, bias=False)
        self.conv = FIVESConv(
            embedding_dim, n, normalize=normalize, transform=False
        )
        #: One for each order.
        self.lins: Any = torch.nn.ModuleList(
            MemberLinear(n * embedding_dim, self.head.out_channels, members)
            for _ in range(max_order)
        )

    def architecture_parameters(self) -> list[torch.nn.Parameter]:
        edges = self.edges if self.adjacency is None else self.adjacency
        return list(edges.parameters())

    def freeze(self, mode: str = 'hard') -> None:
        r"""Ends the search: the edges stay as they are.

        Args:
            mode (str, optional): :obj:`"hard"` or :obj:`"soft"` edges.
                (default: :obj:`"hard"`)

        Raises:
            ValueError: If the edges are not those of the paper.
        """
        if self.adjacency is None:
            raise ValueError("Only edges of the kind 'adjacency' are searched")
        self.adjacency.set_mode(mode)
        self.adjacency.requires_grad_(False)
        self.config['mode'] = mode

    def propagate(self, nodes: Nodes) -> Tensor:
        outs = self._orders(nodes)
        if self.readout == 'sum':
            return outs.sum(dim=0)
        if self.readout == 'last':
            return outs[-1]
        return self.head.merge(outs)

    def order_logits(self, data: Data) -> Tensor:
        r"""The logits of each order, with shape :math:`(K, B)`, or :math:`(K,
        B, C)` of several outputs.

        Args:
            data (Data): A batch of field graphs.
        """
        outs = self._orders(self.nodes(data))
        return torch.stack([self.merge(out) for out in outs])

    def _orders(self, nodes: Nodes) -> Tensor:
        (out,) = nodes.x
        message, logits = self.message(out, nodes.field), []
        nodes = nodes.with_self_loops()
        weights = self._weights(nodes)
        for k, lin in enumerate(self.lins):
            if k > 0:
                out = self.conv(
                    (message, out),
                    nodes.edge_index,
                    weights[k - 1],
                    nodes.field,
                    mask=nodes.mask,
                )
            x = nodes.to_dense(out, self.info.num_fields)
            x = F.dropout(x, p=self.dropout, training=self.training)
            logits.append(lin(x.flatten(1)))
        return torch.stack(logits)

    def _weights(self, nodes: Nodes) -> list[Tensor]:
        # Those of the edges of each layer.
        if self.adjacency is not None:
            return [nodes.edge_weight(m) for m in self.adjacency.matrices()]
        args = nodes.x[0], nodes.edge_index, nodes.field, nodes.mask
        return [edge(*args) for edge in self.edges]

    def outputs(self, nodes: Nodes) -> Sequence[Tensor]:
        r"""Those of each order, unless their sum is what is trained."""
        if self.readout == 'sum':
            return super().outputs(nodes)
        return self._orders(nodes).unbind()

    @torch.no_grad()
    def edge_weights(self, data: Data | None = None) -> list[Tensor]:
        r"""The scores :math:`\mathbf{R}^{(k)}` of each layer, the same for
        all rows, with shape :math:`(n, n)`; for edges of another kind their
        weights :math:`(B, n, n)`. The first :math:`n` are targets.

        Args:
            data (Data, optional): A batch of field graphs, which only edges
                of another kind need. (default: :obj:`None`)
        """
        if self.adjacency is not None:
            return list(self.adjacency.scores())
        if data is None:
            raise ValueError("These edges depend on the rows: pass 'data'")
        nodes = self.nodes(data).dense(self.info.num_fields)
        return self._mean([nodes.weigh(e, nodes.x[0]) for e in self.edges])

    def derive(
        self,
        threshold: float | Sequence[float] | None = None,
        max_candidates: int = 10_000,
    ) -> InteractionSet:
        r"""The interactions that the edges spell out (Section 2.5 of the
        paper), see :func:`~pyg_featgraph.nn.derive_interactions`.

        Args:
            threshold (float or list of float, optional): The threshold of
                each layer. (default: those of the search)
            max_candidates (int, optional): How many to keep of each order.
                (default: :obj:`10_000`)
        """
        if self.adjacency is None:
            raise ValueError(
                "Only edges of the kind 'adjacency' spell out interactions"
            )
        if threshold is None:
            threshold = self.adjacency.threshold.tolist()
        with torch.no_grad():
            scores = self.adjacency.scores().cpu().numpy()
        return derive_interactions(
            scores, self.info.names, threshold, max_candidates
        )

    def _interactions_by_edges(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> InteractionSet:
        if self.adjacency is None:
            return super()._interactions_by_edges(data, num_rows, seed)
        return self.derive()

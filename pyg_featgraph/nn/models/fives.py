from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.conv import FIVESConv
from pyg_featgraph.nn.edge import AdjacencyTensor
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.derive import derive_interactions
from pyg_featgraph.nn.models.graph import GraphModel, Nodes


class FIVES(GraphModel):
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
        aggr (str, optional): :obj:`"mean"` or :obj:`"sum"`, see
            :class:`~pyg_featgraph.nn.FIVESConv`. (default: :obj:`"mean"`)
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
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        max_order: int = 3,
        threshold: float | Sequence[float] = 0.5,
        recursive: bool = True,
        mode: str = 'soft',
        self_loops: bool = True,
        aggr: str = 'mean',
        readout: str = 'mean',
        dropout: float = 0.0,
        embedding_std: float = 0.3,
        sparse: bool = False,
    ) -> None:
        if max_order < 2:
            raise ValueError(
                f"'max_order' must be at least 2 (got {max_order})"
            )
        if readout not in ('mean', 'last', 'sum'):
            raise ValueError(
                f"'readout' must be 'mean', 'last' or 'sum' (got '{readout}')"
            )
        if isinstance(threshold, Sequence):
            threshold = [float(t) for t in threshold]
        super().__init__(
            info,
            embedding_dim=embedding_dim,
            max_order=max_order,
            threshold=threshold,
            recursive=recursive,
            mode=mode,
            self_loops=self_loops,
            aggr=aggr,
            readout=readout,
            dropout=dropout,
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.readout = readout
        self.dropout = dropout
        n = info.num_fields
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )
        self.adjacency = AdjacencyTensor(
            n, max_order - 1, threshold, recursive, mode, self_loops
        )
        self.conv = FIVESConv(embedding_dim, n, aggr)
        self.heads: Any = torch.nn.ModuleList(
            torch.nn.Linear(n * embedding_dim, 1) for _ in range(max_order)
        )

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for head in self.heads:
            head.reset_parameters()

    def architecture_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.adjacency.parameters())

    def freeze(self, mode: str = 'hard') -> None:
        r"""Ends the search: the edges stay as they are.

        Args:
            mode (str, optional): :obj:`"hard"` or :obj:`"soft"` edges.
                (default: :obj:`"hard"`)
        """
        self.adjacency.set_mode(mode)
        self.adjacency.requires_grad_(False)
        self.config['mode'] = mode

    def propagate(self, nodes: Nodes) -> Tensor:
        logits = self._heads(nodes)
        if self.readout == 'sum':
            return logits.sum(dim=-1)
        if self.readout == 'last':
            return logits[:, -1]
        # The logit of the mean of the probabilities:
        positive = F.logsigmoid(logits).logsumexp(dim=-1)
        return positive - F.logsigmoid(-logits).logsumexp(dim=-1)

    def head_logits(self, data: Data) -> Tensor:
        r"""The logits :math:`(B, K)` of each order.

        Args:
            data (Data): A batch of field graphs.
        """
        return self._heads(self.unpack(data))

    def _heads(self, nodes: Nodes) -> Tensor:
        adj, out, logits = self.adjacency(), nodes.x, []
        for k, head in enumerate(self.heads):
            if k > 0:
                out = self.conv(
                    (nodes.x, out), adj[k - 1], nodes.edge_index, nodes.field
                )
            x = nodes.to_rows(out, self.info.num_fields)
            x = F.dropout(x, p=self.dropout, training=self.training)
            logits.append(head(x.flatten(1)))
        return torch.cat(logits, dim=-1)

    def loss(self, data: Data) -> Tensor:
        if self.readout == 'sum':
            return super().loss(data)
        logits = self.head_logits(data)
        return F.binary_cross_entropy_with_logits(
            logits, data.y.unsqueeze(1).expand_as(logits)
        )

    @torch.no_grad()
    def edge_weights(self, data: Data | None = None) -> list[Tensor]:
        r"""The scores :math:`\mathbf{R}^{(k)}` of each layer, with shape
        :math:`(n, n)`, rows being targets; they are the same for all rows.
        """
        return list(self.adjacency.scores())

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
        return self.derive()

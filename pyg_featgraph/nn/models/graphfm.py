r"""GraphFM: the best edges of each field, and attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn.inits import zeros

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.config import Rule, at_least, one_of, split_heads
from pyg_featgraph.nn.conv import GraphFMConv
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.edge import FieldEdge, TopM, make_edge
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class GraphFM(FieldModel):
    r"""The model of the `"GraphFM: Graph Factorization Machines for Feature
    Interaction Modeling" <https://arxiv.org/abs/2105.11866>`_ paper.

    Layers of :class:`~pyg_featgraph.nn.GraphFMConv` model interactions of
    growing order; the outputs of all layers are concatenated, averaged over
    the fields and mapped to a logit (Eqs. 15 to 17),

    .. math::
        \hat{y} = \mathbf{p}^{\top} \frac{1}{n} \sum_{i=1}^{n} \left(
        \mathbf{e}_i^{(1)} \Vert \ldots \Vert \mathbf{e}_i^{(K)} \right) + b.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        hidden_channels (int, optional): The size of each layer's output,
            over all heads. (default: :obj:`64`)
        num_layers (int, optional): The number :math:`K` of layers.
            (default: :obj:`3`)
        edge (str or FieldEdge, optional): What gives the edges of each layer
            their weights, by name or as a module whose options are taken
            over, see :func:`~pyg_featgraph.nn.make_edge`.
            (default: :obj:`"hadamard"`)
        m (list of int, optional): The number of neighbours to select in each
            layer by :class:`~pyg_featgraph.nn.TopM`. (default: all, half and
            an eighth of the fields, as the paper has for Criteo, the last
            share being repeated; a module as :obj:`edge` stays as it is)
        heads (int, optional): Number of attention heads. (default: :obj:`2`)
        variant (str, optional): The form of the layers, :obj:`"paper"` or
            :obj:`"reference"` (the released code).
            (default: :obj:`"reference"`)
        field_weights (bool, optional): Whether each field has its own
            transformations, as in the released code. (default: :obj:`True`
            for the reference form, :obj:`False` for the paper form)
        residual (bool, optional): Whether layers have residuals. Without
            residuals and normalisation the paper form hardly trains from a
            small initialisation. (default: :obj:`True`)
        norm (bool, optional): Whether layers are normalised.
            (default: :obj:`True`)
        dropout (float, optional): Dropout probability of attention weights.
            (default: :obj:`0`)
        embedding_dropout (float, optional): Dropout probability of the node
            vectors. (default: :obj:`0`)
        embedding_std (float, optional): The standard deviation of the
            initial node vectors; the released code has 0.01.
            (default: :obj:`0.1`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: if it is large)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number of members, see
            :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`1`)
        field_dropout (float, optional): The probability that a field is left
            out of a row. (default: :obj:`0`)
    """

    lr: ClassVar[float] = 3e-3
    rules: ClassVar[Mapping[str, Rule]] = {
        'm': at_least(1),
        'variant': one_of('paper', 'reference'),
    }

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 64,
        num_layers: int = 3,
        edge: str | FieldEdge = 'hadamard',
        m: Sequence[int] | None = None,
        heads: int = 2,
        variant: str = 'reference',
        field_weights: bool | None = None,
        residual: bool = True,
        norm: bool = True,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        embedding_std: float = 0.1,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        n = info.num_fields
        if m is None and isinstance(edge, str) and edge != 'uniform':
            share = [n, -(-n // 2), max(2, -(-n // 8))]
            m = [share[min(k, 2)] for k in range(num_layers)]
        if m is not None and len(m) != num_layers:
            raise ValueError(
                f"'m' needs one entry for each of {num_layers} layers "
                f'(got {list(m)})'
            )
        if field_weights is None:
            field_weights = variant == 'reference'
        super().__init__(info, head, members, field_dropout)
        self.embedding_dropout = embedding_dropout
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        sizes = [embedding_dim] + [hidden_channels] * num_layers
        edges = [make_edge(edge, size, n) for size in sizes[:num_layers]]
        if m is not None:
            # NOTE[DIFF] The released code keeps all ties at the cut.
            ties = 'all' if variant == 'reference' else 'lowest'
            edges = [TopM(e, k, ties) for e, k in zip(edges, m, strict=True)]
        self.convs: Any = torch.nn.ModuleList(
            GraphFMConv(
                sizes[k],
                split_heads(hidden_channels, heads),
                edges[k],
                heads=heads,
                variant=variant,
                num_fields=n if field_weights else None,
                residual=residual,
                norm=norm,
                dropout=dropout,
            )
            for k in range(num_layers)
        )
        self.lin = MemberLinear(
            num_layers * hidden_channels, self.head.out_channels, members
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        # NOTE[DIFF] The released code draws the bias from N(0, 1).
        torch.nn.init.normal_(
            self.lin.weight, std=(2 / (self.lin.in_channels + 1)) ** 0.5
        )
        zeros(self.lin.bias)

    def propagate(self, nodes: Nodes) -> Tensor:
        x = F.dropout(nodes.x[0], self.embedding_dropout, self.training)
        outs = nodes.through(self.convs, x)[1:]
        # The mean of each costs less than that of their concatenation.
        means = [nodes.pool(out, 'mean') for out in outs]
        logits: Tensor = self.lin(torch.cat(means, dim=-1))
        return logits

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The weights of the edges of each row and layer: the scores
        :math:`p_{ij}` of those which are selected, zero for all others
        (Figure 4 of the paper).

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: For each layer :math:`(B, n, n)`, the first
            :math:`n` being the fields that select.
        """
        nodes = self.nodes(data).dense(self.info.num_fields)
        return self._mean(nodes.weigh_layers(self.convs, nodes.x[0]))

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.conv import GraphFMConv
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.graph import GraphModel, Nodes


class GraphFM(GraphModel):
    r"""The model of the `"GraphFM: Graph Factorization Machines for Feature
    Interaction Modeling" <https://arxiv.org/abs/2105.11866>`_ paper.

    Layers of :class:`~pyg_featgraph.nn.GraphFMConv` model interactions of
    growing order; the outputs of all layers are concatenated, averaged over
    the fields and mapped to a logit (Eqs. 14 to 16),

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
        m (list of int, optional): The number of neighbours to select in each
            layer. (default: all, half and an eighth of the fields, as the
            paper has for Criteo; the last share is repeated)
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
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 64,
        num_layers: int = 3,
        m: Sequence[int] | None = None,
        heads: int = 2,
        variant: str = 'reference',
        field_weights: bool | None = None,
        residual: bool = True,
        norm: bool = True,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        embedding_std: float = 0.1,
        sparse: bool = False,
    ) -> None:
        n = info.num_fields
        if m is None:
            share = [n, -(-n // 2), max(2, -(-n // 8))]
            m = [share[min(k, 2)] for k in range(num_layers)]
        if len(m) != num_layers:
            raise ValueError(
                f"'m' needs one entry for each of {num_layers} layers "
                f'(got {list(m)})'
            )
        if hidden_channels % heads != 0:
            raise ValueError(
                f"'hidden_channels' must be a multiple of 'heads' (got "
                f'{hidden_channels} and {heads})'
            )
        if field_weights is None:
            field_weights = variant == 'reference'
        super().__init__(
            info,
            embedding_dim=embedding_dim,
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            m=list(m),
            heads=heads,
            variant=variant,
            field_weights=field_weights,
            residual=residual,
            norm=norm,
            dropout=dropout,
            embedding_dropout=embedding_dropout,
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.embedding_dropout = embedding_dropout
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )
        self.convs: Any = torch.nn.ModuleList(
            GraphFMConv(
                embedding_dim if k == 0 else hidden_channels,
                hidden_channels // heads,
                m[k],
                heads=heads,
                variant=variant,
                num_fields=n if field_weights else None,
                residual=residual,
                norm=norm,
                dropout=dropout,
            )
            for k in range(num_layers)
        )
        self.lin = torch.nn.Linear(num_layers * hidden_channels, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.embedding.reset_parameters()
        for conv in self.convs:
            conv.reset_parameters()
        # NOTE[DIFF] The released code draws the bias from N(0, 1).
        torch.nn.init.normal_(
            self.lin.weight, std=(2 / (self.lin.in_features + 1)) ** 0.5
        )
        torch.nn.init.zeros_(self.lin.bias)

    def propagate(self, nodes: Nodes) -> Tensor:
        x = F.dropout(nodes.x, p=self.embedding_dropout, training=self.training)
        outs = []
        for conv in self.convs:
            x = conv(x, nodes.edge_index, nodes.field)
            outs.append(x)
        out = torch.cat(outs, dim=-1)
        if out.dim() == 3:
            out = out.mean(dim=1)
        elif nodes.batch is None:
            out = out.mean(dim=0, keepdim=True)
        else:
            out = scatter(
                out, nodes.batch, dim=0, dim_size=nodes.size, reduce='mean'
            )
        return self.lin(out).squeeze(-1)

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The scores :math:`p_{ij}` of the selected edges of each row and
        layer, zero for edges that are not selected (Figure 4 of the paper).

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: For each layer :math:`(B, n, n)`, rows being
            the fields that select.
        """
        nodes = self.unpack(data)
        x, outs = nodes.x, []
        for conv in self.convs:
            weight = conv.edge_weight(x, nodes.edge_index)
            outs.append(nodes.edges_to_rows(weight, self.info.num_fields))
            x = conv(x, nodes.edge_index, nodes.field)
        return outs

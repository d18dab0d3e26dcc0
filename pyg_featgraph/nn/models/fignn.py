r"""Fi-GNN: attention edges and gated updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.config import Rule, one_of, split_heads
from pyg_featgraph.nn.conv import FiGNNConv, SelfAttentionConv
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.edge import FieldEdge, make_edge
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class FiGNN(FieldModel):
    r"""The model of the `"Fi-GNN: Modeling Feature Interactions via Graph
    Neural Networks for CTR Prediction" <https://arxiv.org/abs/1910.05552>`_
    paper.

    The embeddings weigh the edges (:class:`~pyg_featgraph.nn.AttentionEdge`)
    and, after a layer of self-attention
    (:class:`~pyg_featgraph.nn.SelfAttentionConv`), are the initial states of
    :class:`~pyg_featgraph.nn.FiGNNConv`. The final states :math:`\mathbf{h}_i`
    score and weigh each field,

    .. math::
        \hat{y} = \sum_{i=1}^{n} \sigma \big( \mathbf{W} ( \mathbf{h}_1 \Vert
        \ldots \Vert \mathbf{h}_n ) \big)_i \, \mathbf{w}^{\top} \mathbf{h}_i.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        hidden_channels (int, optional): The size of the states, with
            self-attention only; without it the states have the size of the
            node vectors. (default: :obj:`32`)
        num_layers (int, optional): The number of gated steps.
            (default: :obj:`2`)
        heads (int, optional): Number of attention heads of the input layer.
            (default: :obj:`2`)
        edge (str or FieldEdge, optional): What gives the edges their weights,
            by name or as a module whose options are taken over, see
            :func:`~pyg_featgraph.nn.make_edge`; :obj:`"uniform"` is a plain
            sum over all other fields as in the code released with GraphFM.
            (default: :obj:`"attention"`)
        readout (str, optional): :obj:`"attention"` as above, or
            :obj:`"flatten"` for a linear map of all states, as in that code.
            (default: :obj:`"attention"`)
        input_attention (bool, optional): If set to :obj:`False`, the initial
            states are the embeddings. (default: :obj:`True`)
        share_weights (bool, optional): If set to :obj:`True`, all steps have
            the same transformations. (default: :obj:`False`)
        dropout (float, optional): Dropout probability of the node vectors.
            (default: :obj:`0`)
        embedding_std (float, optional): The standard deviation of the initial
            node vectors. (default: :obj:`0.1`)
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
        'readout': one_of('attention', 'flatten')
    }

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 32,
        num_layers: int = 2,
        heads: int = 2,
        edge: str | FieldEdge = 'attention',
        readout: str = 'attention',
        input_attention: bool = True,
        share_weights: bool = False,
        dropout: float = 0.0,
        embedding_std: float = 0.1,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        self.dropout = dropout
        n = info.num_fields
        channels = hidden_channels if input_attention else embedding_dim
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        self.edge = (
            None if edge == 'uniform' else make_edge(edge, embedding_dim, n)
        )
        self.attention = (
            SelfAttentionConv(
                embedding_dim, split_heads(channels, heads), heads
            )
            if input_attention
            else None
        )
        self.conv = FiGNNConv(
            channels, n, num_layers, share_weights=share_weights
        )
        self.lin = MemberLinear(
            channels if readout == 'attention' else n * channels,
            self.head.out_channels,
            members,
            bias=readout == 'flatten',
        )
        self.gate = (
            torch.nn.Linear(n * channels, n, bias=False)
            if readout == 'attention'
            else None
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        x = F.dropout(nodes.x[0], self.dropout, self.training)
        weight, mask, field = None, nodes.mask, nodes.field
        if self.edge is not None:
            if self.edge.self_loops:
                nodes = nodes.with_self_loops()
            weight = self.edge(x, nodes.edge_index, field, mask)
        if self.attention is not None:
            x = self.attention(x, nodes.edge_index, mask=mask)
        x = self.conv(x, nodes.edge_index, weight, field, mask=mask)
        x = nodes.to_dense(x, self.info.num_fields)
        if self.gate is None:
            out: Tensor = self.lin(x.flatten(1))
            return out
        gate: Tensor = self.gate(x.flatten(1)).sigmoid()
        # A missing field has a state of zero and so scores of zero:
        score: Tensor = self.lin(x)
        return (gate.unsqueeze(-1) * score).sum(dim=1)

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The attentional edge weights of each row (Figure 6 of the paper).

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: One entry :math:`(B, n, n)`, as all steps
            share the weights, the first :math:`n` being the fields that
            receive.

        Raises:
            ValueError: If the model has uniform edges.
        """
        if self.edge is None:
            raise ValueError("A model with edge='uniform' has no edge weights")
        nodes = self.nodes(data).dense(self.info.num_fields)
        return self._mean([nodes.weigh(self.edge, nodes.x[0])])

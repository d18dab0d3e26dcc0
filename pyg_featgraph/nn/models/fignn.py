from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.conv import FiGNNConv, SelfAttentionConv
from pyg_featgraph.nn.edge import AttentionEdge
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.graph import GraphModel, Nodes


class FiGNN(GraphModel):
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
        edge (str, optional): :obj:`"attention"`, or :obj:`"uniform"` for a
            plain sum over all other fields as in the code released with
            GraphFM. (default: :obj:`"attention"`)
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
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 32,
        num_layers: int = 2,
        heads: int = 2,
        edge: str = 'attention',
        readout: str = 'attention',
        input_attention: bool = True,
        share_weights: bool = False,
        dropout: float = 0.0,
        embedding_std: float = 0.1,
        sparse: bool = False,
    ) -> None:
        if edge not in ('attention', 'uniform'):
            raise ValueError(
                f"'edge' must be 'attention' or 'uniform' (got '{edge}')"
            )
        if readout not in ('attention', 'flatten'):
            raise ValueError(
                f"'readout' must be 'attention' or 'flatten' (got '{readout}')"
            )
        if hidden_channels % heads != 0:
            raise ValueError(
                "'hidden_channels' must be a multiple of 'heads' (got "
                f'{hidden_channels} and {heads})'
            )
        super().__init__(
            info,
            embedding_dim=embedding_dim,
            hidden_channels=hidden_channels,
            num_layers=num_layers,
            heads=heads,
            edge=edge,
            readout=readout,
            input_attention=input_attention,
            share_weights=share_weights,
            dropout=dropout,
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.dropout = dropout
        n = info.num_fields
        channels = hidden_channels if input_attention else embedding_dim
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )
        self.edge = (
            AttentionEdge(embedding_dim) if edge == 'attention' else None
        )
        self.attention = (
            SelfAttentionConv(embedding_dim, channels // heads, heads)
            if input_attention
            else None
        )
        self.conv = FiGNNConv(channels, n, num_layers, share_weights)
        self.lin = torch.nn.Linear(
            channels if readout == 'attention' else n * channels,
            1,
            bias=readout == 'flatten',
        )
        self.gate = (
            torch.nn.Linear(n * channels, n, bias=False)
            if readout == 'attention'
            else None
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        x = F.dropout(nodes.x, p=self.dropout, training=self.training)
        weight = None if self.edge is None else self.edge(x, nodes.edge_index)
        if self.attention is not None:
            x = self.attention(x, nodes.edge_index)
        x = self.conv(x, nodes.edge_index, weight, nodes.field)
        x = nodes.to_rows(x, self.info.num_fields)
        if self.gate is None:
            return self.lin(x.flatten(1)).squeeze(-1)
        gate = self.gate(x.flatten(1)).sigmoid()
        # An absent field has a state of zero and so a score of zero:
        return (gate * self.lin(x).squeeze(-1)).sum(dim=1)

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The attentional edge weights of each row (Figure 6 of the paper).

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: One entry :math:`(B, n, n)`, as all steps
            share the weights, rows being the fields that receive.

        Raises:
            ValueError: If the model has uniform edges.
        """
        if self.edge is None:
            raise ValueError("A model with edge='uniform' has no edge weights")
        nodes = self.unpack(data)
        weight = self.edge(nodes.x, nodes.edge_index)
        return [nodes.edges_to_rows(weight, self.info.num_fields)]

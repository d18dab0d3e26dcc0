from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.conv import SelfAttentionConv
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.graph import GraphModel, Nodes


class AutoInt(GraphModel):
    r"""The model of the `"AutoInt: Automatic Feature Interaction Learning via
    Self-Attentive Neural Networks" <https://arxiv.org/abs/1810.11921>`_ paper
    (Eq. 9): layers of :class:`~pyg_featgraph.nn.SelfAttentionConv` and a
    linear map of all fields.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        hidden_channels (int, optional): The size of each layer's output,
            over all heads. (default: :obj:`64`)
        num_layers (int, optional): The number of layers.
            (default: :obj:`3`)
        heads (int, optional): Number of attention heads. (default: :obj:`2`)
        embedding_std (float, optional): The standard deviation of the initial
            node vectors. (default: :obj:`0.1`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 64,
        num_layers: int = 3,
        heads: int = 2,
        embedding_std: float = 0.1,
        sparse: bool = False,
    ) -> None:
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
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )
        self.convs: Any = torch.nn.ModuleList(
            SelfAttentionConv(
                embedding_dim if k == 0 else hidden_channels,
                hidden_channels // heads,
                heads,
            )
            for k in range(num_layers)
        )
        self.lin = torch.nn.Linear(info.num_fields * hidden_channels, 1)

    def propagate(self, nodes: Nodes) -> Tensor:
        x = nodes.x
        for conv in self.convs:
            x = conv(x, nodes.edge_index)
        x = nodes.to_rows(x, self.info.num_fields)
        return self.lin(x.flatten(1)).squeeze(-1)

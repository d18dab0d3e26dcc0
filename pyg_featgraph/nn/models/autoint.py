r"""AutoInt, to compare with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.config import split_heads
from pyg_featgraph.nn.conv import SelfAttentionConv
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.edge import FieldEdge, make_edge
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class AutoInt(FieldModel):
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
        edge (str or FieldEdge, optional): What gives the edges of each layer
            their weights, by name or as a module whose options are taken
            over, see :func:`~pyg_featgraph.nn.make_edge`.
            (default: :obj:`"uniform"`)
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

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: int = 64,
        num_layers: int = 3,
        heads: int = 2,
        edge: str | FieldEdge = 'uniform',
        embedding_std: float = 0.1,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        sizes = [embedding_dim] + [hidden_channels] * num_layers
        self.convs: Any = torch.nn.ModuleList(
            SelfAttentionConv(
                channels,
                split_heads(hidden_channels, heads),
                heads,
                make_edge(edge, channels, info.num_fields),
            )
            for channels in sizes[:num_layers]
        )
        self.lin = MemberLinear(
            info.num_fields * hidden_channels,
            self.head.out_channels,
            members,
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        x = nodes.through(self.convs, nodes.x[0])[-1]
        x = nodes.to_dense(x, self.info.num_fields)
        out: Tensor = self.lin(x.flatten(1))
        return out

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The weights of the edges of each row and layer, which attention is
        multiplied with.

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: For each layer :math:`(B, n, n)`, the first
            :math:`n` being the fields that receive.

        Raises:
            ValueError: If all edges are alike.
        """
        if self.config['edge'] == 'uniform':
            return super().edge_weights(data)
        nodes = self.nodes(data).dense(self.info.num_fields)
        return self._mean(nodes.weigh_layers(self.convs, nodes.x[0]))

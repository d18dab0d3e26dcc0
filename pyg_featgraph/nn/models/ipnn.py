r"""The inner-product network, with all pairs or those of any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.config import Rule, instance_of
from pyg_featgraph.nn.dense.member_mlp import MemberMLP
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.gates.interaction_layer import InteractionLayer
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class IPNN(FieldModel):
    r"""The inner-product network of the `"Product-based Neural Networks for
    User Response Prediction" <https://arxiv.org/abs/1611.00144>`_ paper, as
    in Eq. 10 of AIM: a multi-layer perceptron on the node vectors and on the
    inner product of each pair.

    .. math::
        \hat{y} = \mathrm{MLP} \big( \mathbf{e}_1 \Vert \ldots \Vert
        \mathbf{e}_n \Vert \mathbf{e}_1^{\top} \mathbf{e}_2 \Vert \ldots \Vert
        \mathbf{e}_{n-1}^{\top} \mathbf{e}_n \big)

    With :obj:`interactions`, these and their functions take the place of all
    pairs (Section 4.6 of AIM).

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        hidden_channels (list of int, optional): The sizes of the hidden
            layers. (default: :obj:`[256, 128]`)
        interactions (InteractionSet, optional): The interactions of any
            method; those of :class:`~pyg_featgraph.nn.AIM` bring functions
            and gates with them, all others are inner products.
            (default: all pairs, not gated)
        dropout (float, optional): Dropout probability of each hidden layer.
            (default: :obj:`0`)
        norm (str, optional): The normalisation of hidden layers, as in
            :class:`torch_geometric.nn.MLP`. (default: :obj:`None`)
        embedding_std (float, optional): The standard deviation of the
            initial node vectors. (default: :obj:`0.1`)
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
        'interactions': instance_of(InteractionSet)
    }

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: Sequence[int] = (256, 128),
        interactions: InteractionSet | None = None,
        dropout: float = 0.0,
        norm: str | None = None,
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
        if interactions is None:
            self.layer = InteractionLayer(
                embedding_dim, info, norm=False, gate=None
            )
        else:
            self.layer = InteractionLayer(
                embedding_dim, info, interactions, std=embedding_std
            )
        channels = info.num_fields * embedding_dim + self.layer.num_interactions
        self.mlp = MemberMLP(
            [channels, *hidden_channels, self.head.out_channels],
            members,
            dropout,
            norm,
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        (x,) = nodes.x
        dense = nodes.to_dense(x, self.info.num_fields)
        x = torch.cat([dense.flatten(1), self.layer(x, nodes)], dim=-1)
        out: Tensor = self.mlp(x)
        return out

r"""DeepFM, with all pairs or those of any method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.config import Rule, instance_of
from pyg_featgraph.nn.dense.first_order import FirstOrder
from pyg_featgraph.nn.dense.member_mlp import MemberMLP
from pyg_featgraph.nn.dense.sum_readout import SumReadout
from pyg_featgraph.nn.embedding import FieldEmbedding, NodeEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.gates.interaction_layer import InteractionLayer
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes
from pyg_featgraph.nn.models.fm import second_order


class DeepFM(FieldModel):
    r"""The model of the `"DeepFM: A Factorization-Machine based Neural
    Network for CTR Prediction" <https://arxiv.org/abs/1703.04247>`_ paper
    (Eq. 1): a factorization machine and a multi-layer perceptron on the same
    node vectors.

    .. math::
        \hat{y} = b + \sum_{i} w_i + \sum_{i<j} \mathbf{e}_i^{\top}
        \mathbf{e}_j + \mathrm{MLP} \big( \mathbf{e}_1 \Vert \ldots \Vert
        \mathbf{e}_n \big)

    With :obj:`interactions`, these and their functions take the place of all
    pairs (Section 4.6 of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_
    paper).

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
            initial node vectors. (default: :obj:`0.05`)
        sparse (bool, optional): Whether the tables have sparse gradients.
            (default: if they are large)
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
        embedding_std: float = 0.05,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        channels = self.head.out_channels
        self.linear = FirstOrder(info, channels, sparse, members)
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        self.layer, num_terms = None, embedding_dim
        if interactions is not None:
            self.layer = InteractionLayer(
                embedding_dim, info, interactions, std=embedding_std
            )
            num_terms = self.layer.num_interactions
        self.readout = SumReadout(num_terms, channels, members)
        self.mlp = MemberMLP(
            [info.num_fields * embedding_dim, *hidden_channels, channels],
            members,
            dropout,
            norm,
        )

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (self.embedding, self.linear.table)

    def propagate(self, nodes: Nodes) -> Tensor:
        x, weight = nodes.x
        terms = (
            second_order(x, nodes)
            if self.layer is None
            else self.layer(x, nodes)
        )
        out: Tensor = self.linear(weight, nodes) + self.readout(terms)
        x = nodes.to_dense(x, self.info.num_fields)
        deep: Tensor = self.mlp(x.flatten(1))
        return out + deep

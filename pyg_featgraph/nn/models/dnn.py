r"""A plain perceptron, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.dense.member_mlp import MemberMLP
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class DNN(FieldModel):
    r"""A plain multi-layer perceptron on the concatenated node vectors.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        hidden_channels (list of int, optional): The sizes of the hidden
            layers. (default: :obj:`[256, 128]`)
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

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: Sequence[int] = (256, 128),
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
        self.mlp = MemberMLP(
            [
                info.num_fields * embedding_dim,
                *hidden_channels,
                self.head.out_channels,
            ],
            members,
            dropout,
            norm,
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        x = nodes.to_dense(nodes.x[0], self.info.num_fields)
        out: Tensor = self.mlp(x.flatten(1))
        return out

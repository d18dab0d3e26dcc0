r"""A plain perceptron, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch_geometric.nn import MLP

from pyg_featgraph.data import FieldInfo
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
            (default: :obj:`False`)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        hidden_channels: Sequence[int] = (256, 128),
        dropout: float = 0.0,
        norm: str | None = None,
        embedding_std: float = 0.1,
        sparse: bool = False,
        head: str | Head = 'binary',
    ) -> None:
        super().__init__(info, head)
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )
        self.mlp = MLP(
            [
                info.num_fields * embedding_dim,
                *hidden_channels,
                self.head.out_channels,
            ],
            dropout=dropout,
            norm=norm,
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        x = nodes.to_dense(nodes.x[0], self.info.num_fields)
        out: Tensor = self.mlp(x.flatten(1))
        return out

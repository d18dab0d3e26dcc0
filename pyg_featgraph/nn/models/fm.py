r"""The factorization machine, to compare with."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.dense.first_order import FirstOrder
from pyg_featgraph.nn.dense.sum_readout import SumReadout
from pyg_featgraph.nn.embedding import FieldEmbedding, NodeEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class FM(FieldModel):
    r"""The factorization machine of the `"Factorization Machines"
    <https://doi.org/10.1109/ICDM.2010.127>`_ paper (Eqs. 1 and 5).

    .. math::
        \hat{y} = b + \sum_{i} w_i + \sum_{i<j} \mathbf{e}_i^{\top}
        \mathbf{e}_j, \qquad \sum_{i<j} \mathbf{e}_i^{\top} \mathbf{e}_j =
        \frac{1}{2} \Big( \big\| \sum_i \mathbf{e}_i \big\|^2 - \sum_i
        \| \mathbf{e}_i \|^2 \Big)

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        embedding_std (float, optional): The standard deviation of the
            initial node vectors. (default: :obj:`0.01`)
        sparse (bool, optional): Whether the tables have sparse gradients.
            (default: if they are large)
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
        embedding_std: float = 0.01,
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
        self.readout = SumReadout(embedding_dim, channels, members)

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (self.embedding, self.linear.table)

    def propagate(self, nodes: Nodes) -> Tensor:
        x, weight = nodes.x
        out: Tensor = self.linear(weight, nodes)
        out = out + self.readout(second_order(x, nodes))
        return out


def second_order(x: Tensor, nodes: Nodes) -> Tensor:
    r"""The products of all pairs of nodes of each row, summed up over the
    pairs, with shape :math:`(B, d)`: the terms of their inner products.

    Args:
        x (torch.Tensor): The node vectors.
        nodes (Nodes): The nodes that they belong to.
    """
    return 0.5 * (nodes.pool(x).square() - nodes.pool(x.square()))

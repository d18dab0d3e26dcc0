r"""The factorization machine, to compare with."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding, NodeEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.layout import Nodes
from pyg_featgraph.nn.models.lr import LR


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
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        embedding_std: float = 0.01,
        sparse: bool = False,
    ) -> None:
        super().__init__(info)
        self.linear = LR(info, sparse=sparse)
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (self.embedding, *self.linear.tables)

    def propagate(self, nodes: Nodes) -> Tensor:
        x, weight = nodes.x
        linear = self.linear.propagate(nodes._replace(x=(weight,)))
        return linear + second_order(x, nodes)


def second_order(x: Tensor, nodes: Nodes) -> Tensor:
    r"""The inner products of all pairs of nodes of each row, summed up.

    Args:
        x (torch.Tensor): The node vectors.
        nodes (Nodes): The nodes that they belong to.
    """
    pairs = nodes.pool(x).square() - nodes.pool(x.square())
    return 0.5 * pairs.sum(dim=-1)

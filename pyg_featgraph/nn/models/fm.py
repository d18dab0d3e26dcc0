from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.base import FieldModel, pool_sum
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
        super().__init__(
            info,
            embedding_dim=embedding_dim,
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.linear = LR(info, sparse=sparse)
        self.embedding = FieldEmbedding(
            info, embedding_dim, std=embedding_std, sparse=sparse
        )

    def forward(self, data: Data) -> Tensor:
        r"""The logits :math:`(B)` of a batch."""
        x = self.embedding.embed(data)
        return self.linear(data) + second_order(x, data)


def second_order(x: Tensor, data: Data) -> Tensor:
    r"""The inner products of all pairs of nodes of each row, summed up."""
    pairs = pool_sum(x, data).square() - pool_sum(x.square(), data)
    return 0.5 * pairs.sum(dim=-1)

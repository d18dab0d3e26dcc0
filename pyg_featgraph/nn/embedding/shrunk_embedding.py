r"""Vectors that say the less, the rarer their id is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn.embedding.field_embedding import FieldEmbedding


class ShrunkEmbedding(FieldEmbedding):
    r"""A :class:`~pyg_featgraph.nn.FieldEmbedding` whose vectors are shrunk by
    how few rows they are learned from,

    .. math::
        \mathbf{T}_t = \frac{c_t}{c_t + s} \, \mathbf{P}_t,

    where :math:`c_t` training rows have the id :math:`t`, as a posterior mean
    is. Adam would otherwise take rare ids as far as frequent ones, as it
    divides by the size of their gradients.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int): The size :math:`d` of each vector.
        shrinkage (float): The number :math:`s` of rows.
        std (float, optional): The standard deviation of the initial
            parameters. (default: :obj:`0.1`)
        sparse (bool, optional): Whether gradients hold only the vectors that
            a batch has touched. (default: if a table is large)
        members (int, optional): The number of members of the model.
            (default: :obj:`1`)

    Shapes:
        - **input:** slot ids :math:`(B, S)` and values :math:`(B, S)`
        - **output:** vectors :math:`(B, n, d)`
    """

    factor: Tensor

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int,
        shrinkage: float,
        std: float = 0.1,
        sparse: bool | None = None,
        members: int = 1,
    ) -> None:
        super().__init__(info, embedding_dim, std, sparse, members)
        self.shrinkage = shrinkage
        # Before it is adapted to rows, all ids count alike:
        self.register_buffer('factor', torch.ones(info.num_embeddings, 1))

    @torch.no_grad()
    def adapt(self, data: FieldTable) -> None:
        r"""Counts the rows that have each id.

        Args:
            data (FieldTable): The training rows.
        """
        count = torch.zeros(self.info.num_embeddings)
        for part in data.parts():
            count.index_add_(
                0,
                part.slot_index.flatten().long(),
                part.slot_value.abs().flatten(),
            )
        # Without any row there is nothing to learn, with or without shrinkage:
        factor = count / (count + self.shrinkage).clamp(min=1e-12)
        self.factor.copy_(factor.unsqueeze(1))

    def _look_up(self, index: Tensor, value: Tensor) -> Tensor:
        x = super()._look_up(index, value)
        return x * F.embedding(index, self.factor)

    @torch.no_grad()
    def grow(self, info: FieldInfo, sources: Sequence[Tensor]) -> None:
        self.factor = self._rows(self.factor, sources)
        super().grow(info, sources)

    def table(self, field: int) -> Tensor:
        return self._weight(field) * self._of_field(self.factor, field)

    @torch.no_grad()
    def assign(self, field: int, table: Tensor) -> None:
        super().assign(field, table)
        factor = self._of_field(self.factor, field)
        self._weight(field).div_(factor.where(factor > 0, 1))

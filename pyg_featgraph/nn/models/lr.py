r"""Logistic regression, of fields and of thousands of their crosses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.config import Rule, at_least
from pyg_featgraph.nn.dense.first_order import FirstOrder
from pyg_featgraph.nn.embedding import NodeEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes


class LR(FieldModel):
    r"""Logistic regression on the one-hot encoded fields; with another head a
    linear model of another kind.

    .. math::
        \hat{y} = b + \sum_{i=1}^{n} w_i

    Args:
        info (FieldInfo): The layout of the fields.
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: if it is large)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number of members, see
            :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`1`)
        field_dropout (float, optional): The probability that a field is left
            out of a row. (default: :obj:`0`)
        shrinkage (float, optional): A weight that :math:`c` training rows
            have is :math:`c / (c + s)` of what it would be, where :math:`s`
            is this number, see :class:`~pyg_featgraph.nn.ShrunkEmbedding`.
            A tenth of the number of fields suits those that are crosses, with
            many rare values. (default: :obj:`0`)
    """

    rules: ClassVar[Mapping[str, Rule]] = {'shrinkage': at_least(0, float)}
    # Where a few rows of an id are all alike, its weight is to be large, and
    # nothing beside it says the same:
    embedding_l2: ClassVar[float] = 0.3

    def __init__(
        self,
        info: FieldInfo,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
        shrinkage: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        self.linear = FirstOrder(
            info, self.head.out_channels, sparse, members, shrinkage
        )

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (self.linear.table,)

    def propagate(self, nodes: Nodes) -> Tensor:
        out: Tensor = self.linear(nodes.x[0], nodes)
        return out

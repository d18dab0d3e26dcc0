r"""Logistic regression, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding, NodeEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.layout import Nodes


class LR(FieldModel):
    r"""Logistic regression on the one-hot encoded fields.

    .. math::
        \hat{y} = b + \sum_{i=1}^{n} w_i

    Args:
        info (FieldInfo): The layout of the fields.
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: :obj:`False`)
    """

    def __init__(self, info: FieldInfo, sparse: bool = False) -> None:
        super().__init__(info)
        self.linear = FieldEmbedding(info, 1, std=0.0, sparse=sparse)
        self.bias = Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.zeros_(self.bias)

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (self.linear,)

    def propagate(self, nodes: Nodes) -> Tensor:
        (weight,) = nodes.x
        return nodes.pool(weight).squeeze(-1) + self.bias

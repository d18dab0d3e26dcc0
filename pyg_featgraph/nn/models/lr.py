from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.base import FieldModel, pool_sum


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
        super().__init__(info, sparse=sparse)
        self.linear = FieldEmbedding(info, 1, std=0.0, sparse=sparse)
        self.bias = Parameter(torch.zeros(1))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        torch.nn.init.zeros_(self.bias)

    def forward(self, data: Data) -> Tensor:
        r"""The logits :math:`(B)` of a batch."""
        out = pool_sum(self.linear.embed(data), data)
        return out.squeeze(-1) + self.bias

r"""The linear part of models."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.layout import Nodes


class FirstOrder(torch.nn.Module):
    r"""The linear part of a model: a weight of each field's own for each id,

    .. math::
        y = b + \sum_{i=1}^{n} w_i.

    Args:
        info (FieldInfo): The layout of the fields.
        out_channels (int, optional): The number :math:`C` of outputs.
            (default: :obj:`1`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: :obj:`False`)
    """

    def __init__(
        self, info: FieldInfo, out_channels: int = 1, sparse: bool = False
    ) -> None:
        super().__init__()
        #: The weights, which are vectors of the nodes.
        self.table = FieldEmbedding(info, out_channels, std=0.0, sparse=sparse)
        self.bias = Parameter(torch.zeros(out_channels))

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.table.reset_parameters()
        torch.nn.init.zeros_(self.bias)

    def forward(self, weight: Tensor, nodes: Nodes) -> Tensor:
        r"""The outputs :math:`(B, C)`.

        Args:
            weight (torch.Tensor): The vectors of the nodes from the table.
            nodes (Nodes): The nodes that they belong to.
        """
        return nodes.pool(weight) + self.bias

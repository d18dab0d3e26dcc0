from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.dense.field_linear import FieldLinear


class GroupedMLP(torch.nn.Module):
    r"""Multi-layer perceptrons of equal shape, each on a vector of its own,
    computed together. Every layer has a ReLU behind it, the last one too.

    Args:
        channels (list of int): The sizes of input, hidden layers and output.
        num_groups (int): The number :math:`G` of perceptrons.
        dropout (float, optional): Dropout probability of the output of each
            layer. (default: :obj:`0`)

    Shapes:
        - **input:** :math:`(B, G, F_{in})`
        - **output:** :math:`(B, G, F_{out})`
    """

    def __init__(
        self, channels: Sequence[int], num_groups: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.channels = list(channels)
        self.num_groups = num_groups
        self.dropout = dropout
        self.lins: Any = torch.nn.ModuleList(
            FieldLinear(i, o, heads=num_groups)
            for i, o in zip(self.channels, self.channels[1:], strict=False)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for lin in self.lins:
            lin.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): A vector for each perceptron.
        """
        for lin in self.lins:
            x = lin(x).relu()
            x = F.dropout(x, p=self.dropout, training=self.training)
        return x

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_groups={self.num_groups})'
        )

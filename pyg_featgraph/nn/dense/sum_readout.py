r"""What sums up the terms of a model."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.nn.layout import by_member


class SumReadout(torch.nn.Module):
    r"""The sum of some terms as a single output, which has no parameters; for
    several outputs, each has weights of its own for the terms.

    Args:
        in_channels (int): The number :math:`P` of terms.
        out_channels (int, optional): The number :math:`C` of outputs.
            (default: :obj:`1`)
        members (int, optional): The number :math:`k` of members of the model,
            each of which has weights of its own. (default: :obj:`1`)

    Shapes:
        - **input:** :math:`(k B, P)`
        - **output:** :math:`(k B, C)`
    """

    weight: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int = 1, members: int = 1
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        if out_channels == 1:
            self.register_parameter('weight', None)
        else:
            size = (members, in_channels, out_channels)
            self.weight = Parameter(torch.empty(size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if self.weight is not None:
            # Of the size that the terms have in the sum:
            torch.nn.init.normal_(self.weight)

    def forward(self, x: Tensor, part: slice = slice(None)) -> Tensor:
        r"""Sums up terms.

        Args:
            x (torch.Tensor): The terms, of the rows of all members.
            part (slice, optional): Which terms these are. (default: all)
        """
        if self.weight is None:
            return x.sum(dim=-1, keepdim=True)
        weight = self.weight[:, part]
        return (by_member(x, weight.size(0)) @ weight).flatten(0, 1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels})'
        )

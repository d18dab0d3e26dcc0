r"""A linear layer with weights of each member's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.nn.layout import by_member


class MemberLinear(torch.nn.Module):
    r"""A linear layer with weights of each member's own. Rows are those of all
    members, one member behind the other, as
    :class:`~pyg_featgraph.nn.FieldModel` hands them on.

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample.
        members (int, optional): The number :math:`k` of members.
            (default: :obj:`1`)
        bias (bool, optional): If set to :obj:`False`, the layer will not
            learn an additive bias. (default: :obj:`True`)

    Shapes:
        - **input:** :math:`(k B, *, F_{in})`
        - **output:** :math:`(k B, *, F_{out})`
    """

    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        members: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.members = members
        self.weight = Parameter(torch.empty(members, out_channels, in_channels))
        if bias:
            self.bias = Parameter(torch.empty(members, out_channels))
        else:
            self.register_parameter('bias', None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module, as
        :class:`torch.nn.Linear` does.
        """
        bound = self.in_channels**-0.5 if self.in_channels > 0 else 0.0
        torch.nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            torch.nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        r"""Transforms each row by the weights of its member.

        Args:
            x (torch.Tensor): The rows of all members.
        """
        if self.members == 1:
            bias = None if self.bias is None else self.bias[0]
            return F.linear(x, self.weight[0], bias)
        rows = by_member(x, self.members).flatten(1, -2)
        if self.bias is None:
            out = torch.bmm(rows, self.weight.mT)
        else:
            out = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.mT)
        return out.reshape(*x.size()[:-1], self.out_channels)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, members={self.members})'
        )

r"""What tells the members of a model apart: scales of the node vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.nn.layout import Nodes, by_member

#: The standard deviation of the initial scales around one.
STD = 0.5


class MemberScale(torch.nn.Module):
    r"""Multiplies each dimension of each field by a scale of the member's own,

    .. math::
        \mathbf{e}_{mi} = \mathbf{r}_{mi} \odot \mathbf{e}_i,

    the first adapter of the `"TabM: Advancing Tabular Deep Learning with
    Parameter-Efficient Ensembling" <https://arxiv.org/abs/2410.24210>`_ paper.
    There it starts as random signs, here as :math:`\mathcal{N}(1, 0.25)`, which
    leaves most products of node vectors what they are.

    Args:
        members (int): The number :math:`k` of members.
        num_fields (int): The number :math:`n` of fields.
        channels (int): The size :math:`d` of each vector.
    """

    def __init__(self, members: int, num_fields: int, channels: int) -> None:
        super().__init__()
        self.weight = Parameter(torch.empty(members, num_fields, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.normal_(self.weight, mean=1.0, std=STD)

    def forward(self, x: Tensor, nodes: Nodes) -> Tensor:
        r"""The vectors of nodes, each as its member sees it.

        Args:
            x (torch.Tensor): The vectors.
            nodes (Nodes): The nodes that they belong to, those of all members.
        """
        members = self.weight.size(0)
        if nodes.is_dense:
            out = by_member(x, members) * self.weight.unsqueeze(1)
            return out.flatten(0, 1)
        row, field = nodes.place()
        member = row // (nodes.num_rows // members)
        return x * self.weight[member, field]

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}{tuple(self.weight.size())}'

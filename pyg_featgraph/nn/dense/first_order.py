r"""The linear part of models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn.embedding import FieldEmbedding, ShrunkEmbedding
from pyg_featgraph.nn.layout import Nodes, by_member


class FirstOrder(torch.nn.Module):
    r"""The linear part of a model: a weight of each field's own for each id,

    .. math::
        y = b + \sum_{i=1}^{n} w_i.

    Args:
        info (FieldInfo): The layout of the fields.
        out_channels (int, optional): The number :math:`C` of outputs.
            (default: :obj:`1`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: if it is large)
        members (int, optional): The number of members of the model.
            (default: :obj:`1`)
        shrinkage (float, optional): See
            :class:`~pyg_featgraph.nn.ShrunkEmbedding`. (default: :obj:`0`)
    """

    def __init__(
        self,
        info: FieldInfo,
        out_channels: int = 1,
        sparse: bool | None = None,
        members: int = 1,
        shrinkage: float = 0.0,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {
            'std': 0.0,
            'sparse': sparse,
            'members': members,
        }
        #: The weights, which are vectors of the nodes.
        self.table: FieldEmbedding
        if shrinkage:
            self.table = ShrunkEmbedding(
                info, out_channels, shrinkage, **options
            )
        else:
            self.table = FieldEmbedding(info, out_channels, **options)
        self.bias = Parameter(torch.zeros(members, out_channels))

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        self.table.reset_parameters()
        torch.nn.init.zeros_(self.bias)

    def forward(self, weight: Tensor, nodes: Nodes) -> Tensor:
        r"""The outputs :math:`(B, C)`; those of all members have their rows
        one member behind the other.

        Args:
            weight (torch.Tensor): The vectors of the nodes from the table.
            nodes (Nodes): The nodes that they belong to.
        """
        out = by_member(nodes.pool(weight), self.bias.size(0))
        return (out + self.bias.unsqueeze(1)).flatten(0, 1)

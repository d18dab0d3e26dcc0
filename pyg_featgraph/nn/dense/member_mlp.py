r"""A perceptron whose last layer each member has for itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch_geometric.nn import MLP

from pyg_featgraph.nn.dense.member_linear import MemberLinear


class MemberMLP(torch.nn.Module):
    r"""A multi-layer perceptron whose last layer each member has for itself,
    while the hidden layers are shared, as in TabM-mini of the `"TabM:
    Advancing Tabular Deep Learning with Parameter-Efficient Ensembling"
    <https://arxiv.org/abs/2410.24210>`_ paper.

    Args:
        channels (list of int): The sizes of input, hidden layers and output.
        members (int, optional): The number :math:`k` of members.
            (default: :obj:`1`)
        dropout (float, optional): Dropout probability of each hidden layer.
            (default: :obj:`0`)
        norm (str, optional): The normalisation of hidden layers, as in
            :class:`torch_geometric.nn.MLP`. (default: :obj:`None`)

    Shapes:
        - **input:** :math:`(k B, F_{in})`
        - **output:** :math:`(k B, F_{out})`
    """

    def __init__(
        self,
        channels: Sequence[int],
        members: int = 1,
        dropout: float = 0.0,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        *hidden, out_channels = channels
        self.hidden = None
        if len(hidden) > 1:
            self.hidden = MLP(
                hidden, dropout=dropout, norm=norm, plain_last=False
            )
        self.lin = MemberLinear(hidden[-1], out_channels, members)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if self.hidden is not None:
            self.hidden.reset_parameters()
        self.lin.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The rows of all members.
        """
        out: Tensor = self.lin(x if self.hidden is None else self.hidden(x))
        return out

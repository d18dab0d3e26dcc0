r"""Many perceptrons of one shape, computed at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter, ParameterList
from torch_geometric.nn.inits import glorot, zeros

ACTIVATIONS = ('relu', 'softplus')


class GroupedMLP(torch.nn.Module):
    r"""A group of :math:`G` multi-layer perceptrons of the same shape, which
    share nothing,

    .. math::
        g(\mathbf{x}) = \mathbf{W}_L \, \phi(\mathbf{W}_{L-1} \cdots
        \phi(\mathbf{W}_1 \mathbf{x} + \mathbf{b}_1) \cdots +
        \mathbf{b}_{L-1}) + \mathbf{b}_L \; [+ \; \mathbf{V} \mathbf{x}].

    A layer of all of them is a single batched matrix product.

    Args:
        channels (list of int): The sizes of input, hidden layers and output.
        num_groups (int): The number :math:`G` of perceptrons.
        activation (str, optional): :math:`\phi`, :obj:`"relu"` or
            :obj:`"softplus"`. (default: :obj:`"relu"`)
        plain_last (bool, optional): If set to :obj:`False`, activation and
            dropout follow the last layer, too. (default: :obj:`True`)
        linear (bool, optional): Whether the linear term in brackets is added.
            (default: :obj:`False`)
        dropout (float, optional): Dropout probability behind each activation.
            (default: :obj:`0`)
        seeds (list of int, optional): The seed of each perceptron, which then
            starts as one made of :class:`torch.nn.Linear` after
            :func:`torch.manual_seed`, whatever stands beside it.
            (default: Glorot's initialisation, from the global generator)

    Shapes:
        - **input:** :math:`(G, B, F_{in})`
        - **output:** :math:`(G, B, F_{out})`
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_groups: int,
        activation: str = 'relu',
        plain_last: bool = True,
        linear: bool = False,
        dropout: float = 0.0,
        seeds: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"'activation' must be one of {ACTIVATIONS} (got "
                f"'{activation}')"
            )
        if seeds is not None and len(seeds) != num_groups:
            raise ValueError(
                f'{num_groups} perceptrons need as many seeds (got '
                f'{len(seeds)})'
            )
        self.channels = list(channels)
        self.num_groups = num_groups
        self.activation = activation
        self.plain_last = plain_last
        self.dropout = dropout
        self.seeds = seeds
        #: The matrix of each layer, with shape :math:`(G, in, out)`.
        self.weights = ParameterList(
            torch.empty(num_groups, i, o) for i, o in pairwise(self.channels)
        )
        self.biases = ParameterList(
            torch.empty(num_groups, 1, o) for o in self.channels[1:]
        )
        size = (num_groups, self.channels[0], self.channels[-1])
        self.linear = Parameter(torch.empty(size)) if linear else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        layers: list[tuple[Tensor, Tensor | None]]
        layers = list(zip(self.weights, self.biases, strict=True))
        if self.linear is not None:
            layers.append((self.linear, None))
        if self.seeds is None:
            for weight, bias in layers:
                glorot(weight)
                zeros(bias)
            return
        generator = torch.Generator()
        for g, seed in enumerate(self.seeds):
            generator.manual_seed(int(seed))
            for weight, bias in layers:
                size, bound = weight[g].t().size(), weight.size(1) ** -0.5
                draw = torch.empty(size).uniform_(
                    -bound, bound, generator=generator
                )
                weight[g] = draw.t()
                if bias is not None:
                    bias[g] = torch.empty(size[0]).uniform_(
                        -bound, bound, generator=generator
                    )

    def forward(self, x: Tensor) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The inputs of each perceptron.
        """
        h, last = x, len(self.weights) - 1
        for i, (weight, bias) in enumerate(
            zip(self.weights, self.biases, strict=True)
        ):
            h = torch.baddbmm(bias, h, weight)
            if i < last or not self.plain_last:
                h = self.activate(h)
                h = F.dropout(h, p=self.dropout, training=self.training)
        return h if self.linear is None else torch.baddbmm(h, x, self.linear)

    def activate(self, h: Tensor) -> Tensor:
        r"""The activation :math:`\phi`."""
        # By default softplus is linear above 20, where second derivatives
        # would vanish. Above 80 they do not matter, and 90 would overflow:
        if self.activation == 'softplus':
            return F.softplus(h, threshold=80)
        return h.relu()

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_groups={self.num_groups}, activation={self.activation!r}, '
            f'linear={self.linear is not None})'
        )

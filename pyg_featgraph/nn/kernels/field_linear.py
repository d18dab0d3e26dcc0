r"""Linear maps of nodes by the weights of their fields.

A gathered weight for each node would be far larger than the nodes, so nodes
are taken field by field. How many a field has is known only at run time, which
a custom operator keeps out of compiled graphs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def field_linear(x: Tensor, weight: Tensor, field: Tensor) -> Tensor:
    r"""Multiplies each node vector with the matrix of its field.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(N, H, F_{in})`.
        weight (torch.Tensor): The matrices, with shape
            :math:`(n, H, F_{in}, F_{out})`.
        field (torch.Tensor): The field of each node, with shape :math:`(N)`.

    Returns:
        torch.Tensor: With shape :math:`(N, H, F_{out})`.
    """
    perm = field.argsort(stable=True)
    count = field.new_zeros(weight.size(0)).scatter_add(
        0, field, torch.ones_like(field)
    )
    out: Tensor = _field_linear(x, weight, perm, count)
    return out


@torch.library.custom_op('pyg_featgraph::field_linear', mutates_args=())
def _field_linear(
    x: Tensor, weight: Tensor, perm: Tensor, count: Tensor
) -> Tensor:
    out = x.new_empty(x.size(0), weight.size(1), weight.size(3))
    for nodes, matrix in zip(_groups(perm, count), weight, strict=True):
        out[nodes] = torch.bmm(x[nodes].transpose(0, 1), matrix).transpose(0, 1)
    return out


@_field_linear.register_fake
def _(x: Tensor, weight: Tensor, perm: Tensor, count: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weight.size(1), weight.size(3))


@torch.library.custom_op(
    'pyg_featgraph::field_linear_backward', mutates_args=()
)
def _field_linear_backward(
    grad: Tensor, x: Tensor, weight: Tensor, perm: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    grad_x = x.new_empty(x.size())
    grad_weight = weight.new_empty(weight.size())
    for i, nodes in enumerate(_groups(perm, count)):
        g = grad[nodes].transpose(0, 1)
        grad_x[nodes] = torch.bmm(g, weight[i].mT).transpose(0, 1)
        grad_weight[i] = torch.bmm(x[nodes].permute(1, 2, 0), g)
    return grad_x, grad_weight


@_field_linear_backward.register_fake
def _(
    grad: Tensor, x: Tensor, weight: Tensor, perm: Tensor, count: Tensor
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.size()), weight.new_empty(weight.size())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight = _field_linear_backward(grad, *ctx.saved_tensors)
    return grad_x, grad_weight, None, None


_field_linear.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights stay in single precision, and so must what
# they meet:
for _device in ('cpu', 'cuda'):
    _field_linear.register_autocast(_device, torch.float32)
    _field_linear_backward.register_autocast(_device, torch.float32)


def _groups(perm: Tensor, count: Tensor) -> tuple[Tensor, ...]:
    # The nodes of each field.
    return torch.split(perm, count.tolist())

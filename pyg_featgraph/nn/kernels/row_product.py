r"""Sums of the nodes of a row by the weights of pairs.

On a CPU the batched products of common libraries are made for larger matrices
than those of a row. On a GPU they read and write each once, and are left alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def row_product(
    weight: Tensor, x: Tensor, gate: Tensor | None = None
) -> Tensor:
    r"""The sum of the nodes of each row by the weights for each target, times
    a gate.

    Args:
        weight (torch.Tensor): The weights, with shape :math:`(B, n, m)`, or
            :math:`(n, m)` where all rows share them.
        x (torch.Tensor): Node vectors, with shape :math:`(B, m, d)`.
        gate (torch.Tensor, optional): What each number of the sums is
            multiplied with, with shape :math:`(B, n, d)`. (default: one)

    Returns:
        torch.Tensor: With shape :math:`(B, n, d)`.
    """
    out: Tensor = _row_product(weight, x, gate)
    return out


@torch.library.custom_op('pyg_featgraph::row_product', mutates_args=())
def _row_product(weight: Tensor, x: Tensor, gate: Tensor | None) -> Tensor:
    native = native_form('row_product', x)
    if native is not None:
        return native.forward(weight, x, gate)  # type: ignore[no-any-return]
    return row_product_formula(weight, x, gate).contiguous()


def row_product_formula(
    weight: Tensor, x: Tensor, gate: Tensor | None
) -> Tensor:
    r"""What :func:`row_product` computes, in plain operators."""
    out = weight @ x
    return out if gate is None else gate * out


@_row_product.register_fake
def _(weight: Tensor, x: Tensor, gate: Tensor | None) -> Tensor:
    return x.new_empty(x.size(0), weight.size(-2), x.size(2))


@torch.library.custom_op('pyg_featgraph::row_product_backward', mutates_args=())
def _row_product_backward(
    grad: Tensor, weight: Tensor, x: Tensor, gate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    native = native_form('row_product', x)
    if native is not None:
        return native.backward(grad, weight, x, gate)  # type: ignore[no-any-return]
    grad_gate = x.new_empty(0)
    if gate is not None:
        grad_gate = row_product_formula(weight, x, grad).contiguous()
        grad = grad * gate
    grad_x = row_product_formula(weight.mT, grad, None).contiguous()
    if weight.dim() == 3:
        return grad @ x.mT, grad_x, grad_gate
    flat, other = (v.transpose(0, 1).flatten(1) for v in (grad, x))
    return flat @ other.t(), grad_x, grad_gate


@_row_product_backward.register_fake
def _(
    grad: Tensor, weight: Tensor, x: Tensor, gate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        weight.new_empty(weight.size()),
        x.new_empty(x.size()),
        x.new_empty(0 if gate is None else gate.size()),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *given, gate = ctx.saved_tensors
    grads = _row_product_backward(grad, *given, gate)
    return *grads[:2], None if gate is None else grads[2]


_row_product.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights may be of single precision, and what they
# meet is brought to theirs:
for _device in ('cpu', 'cuda'):
    _row_product.register_autocast(_device, torch.float32)
    _row_product_backward.register_autocast(_device, torch.float32)

r"""Sums of the nodes of a row by the weights of pairs.

The batched products of matrices of common libraries are made for larger
matrices than those of a row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def row_product(weight: Tensor, x: Tensor) -> Tensor:
    r"""The sum of the nodes of each row by the weights for each target.

    Args:
        weight (torch.Tensor): The weights, with shape :math:`(B, n, m)`, or
            :math:`(n, m)` where all rows share them.
        x (torch.Tensor): Node vectors, with shape :math:`(B, m, d)`.

    Returns:
        torch.Tensor: With shape :math:`(B, n, d)`.
    """
    out: Tensor = _row_product(weight, x)
    return out


@torch.library.custom_op('pyg_featgraph::row_product', mutates_args=())
def _row_product(weight: Tensor, x: Tensor) -> Tensor:
    native = native_form('row_product', x)
    if native is not None:
        return native.forward(weight, x)  # type: ignore[no-any-return]
    return row_product_formula(weight, x).contiguous()


def row_product_formula(weight: Tensor, x: Tensor) -> Tensor:
    r"""What :func:`row_product` computes, in plain operators."""
    if weight.dim() == 3:
        return weight @ x
    # All rows are columns of one product with the matrix they share:
    flat = x.transpose(0, 1).flatten(1)
    out = weight @ flat
    return out.view(-1, x.size(0), x.size(2)).transpose(0, 1)


@_row_product.register_fake
def _(weight: Tensor, x: Tensor) -> Tensor:
    return x.new_empty(x.size(0), weight.size(-2), x.size(2))


@torch.library.custom_op('pyg_featgraph::row_product_backward', mutates_args=())
def _row_product_backward(
    grad: Tensor, weight: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    native = native_form('row_product', x)
    if native is not None:
        return native.backward(grad, weight, x)  # type: ignore[no-any-return]
    grad_x = row_product_formula(weight.mT, grad).contiguous()
    if weight.dim() == 3:
        return grad @ x.mT, grad_x
    flat, other = (v.transpose(0, 1).flatten(1) for v in (grad, x))
    return flat @ other.t(), grad_x


@_row_product_backward.register_fake
def _(grad: Tensor, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.size()), x.new_empty(x.size())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _row_product_backward(grad, *ctx.saved_tensors)


_row_product.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights may be of single precision, and what they
# meet is brought to theirs:
for _device in ('cpu', 'cuda'):
    _row_product.register_autocast(_device, torch.float32)
    _row_product_backward.register_autocast(_device, torch.float32)

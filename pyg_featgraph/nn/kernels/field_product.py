r"""Linear maps of the nodes of the dense layout by the weights of their
fields.

On a GPU they are left to torch, whose products read and write each number once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def field_product(x: Tensor, weight: Tensor) -> Tensor:
    r"""Multiplies each node vector with the matrix of its field.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(B, n, H, F_{in})`.
        weight (torch.Tensor): The matrices, with shape
            :math:`(n, H, F_{in}, F_{out})`, or :math:`(1, H, F_{in},
            F_{out})` where all fields share them.

    Returns:
        torch.Tensor: With shape :math:`(B, n, H, F_{out})`.
    """
    out: Tensor = _field_product(x, weight)
    return out


@torch.library.custom_op('pyg_featgraph::field_product', mutates_args=())
def _field_product(x: Tensor, weight: Tensor) -> Tensor:
    native = native_form('field_product', x)
    if native is not None:
        return native.forward(x, weight)  # type: ignore[no-any-return]
    return _products(x, weight)


def _products(x: Tensor, weight: Tensor) -> Tensor:
    if weight.size(0) == 1:
        return field_product_formula(x, weight).contiguous()
    out = x.new_empty(*x.size()[:3], weight.size(3))
    nodes, places = (v.flatten(1, 2).transpose(0, 1) for v in (x, out))
    # Each field writes to its places, so that nothing is moved afterwards:
    torch.bmm(nodes, weight.flatten(0, 1), out=places)
    return out


def field_product_formula(x: Tensor, weight: Tensor) -> Tensor:
    r"""What :func:`field_product` computes, in plain operators."""
    if weight.size(0) > 1:
        out: Tensor = torch.einsum('bnhi,nhio->bnho', x, weight)
        return out
    # One product of matrices with zeros outside the blocks of the heads costs
    # less than a product for each head, whose vectors are far apart.
    matrix: Tensor = torch.block_diag(*weight[0])
    return (x.flatten(2) @ matrix).view(*x.size()[:3], -1)


@_field_product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.size()[:3], weight.size(3))


@torch.library.custom_op(
    'pyg_featgraph::field_product_backward', mutates_args=()
)
def _field_product_backward(
    grad: Tensor, x: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    native = native_form('field_product', x)
    if native is not None:
        return native.backward(grad, x, weight)  # type: ignore[no-any-return]
    grad_x = _products(grad, weight.mT)
    if weight.size(0) > 1:
        return grad_x, torch.einsum('bnhi,bnho->nhio', x, grad).contiguous()
    heads = x.size(2)
    whole = x.flatten(2).flatten(0, 1).t() @ grad.flatten(2).flatten(0, 1)
    blocks = whole.view(heads, x.size(3), heads, grad.size(3))
    grad_weight = blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    return grad_x, grad_weight.unsqueeze(0).contiguous()


@_field_product_backward.register_fake
def _(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.size()), weight.new_empty(weight.size())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _field_product_backward(grad, *ctx.saved_tensors)


_field_product.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights stay in single precision, and so must what
# they meet:
for _device in ('cpu', 'cuda'):
    _field_product.register_autocast(_device, torch.float32)
    _field_product_backward.register_autocast(_device, torch.float32)

r"""Rows of a table, each times a value: what node vectors are made of."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def lookup(
    weight: Tensor, index: Tensor, value: Tensor, sparse: bool = False
) -> Tensor:
    r"""Looks vectors up and multiplies each with a value.

    Args:
        weight (torch.Tensor): The table, with shape :math:`(T, d)`.
        index (torch.Tensor): Which of its rows, of any shape.
        value (torch.Tensor): The values, of the same shape.
        sparse (bool, optional): Whether the gradient of the table holds only
            the rows that are looked up. (default: :obj:`False`)

    Returns:
        torch.Tensor: With the shape of :obj:`index` and :math:`d`.

    Raises:
        IndexError: If the table has no such row.
    """
    if sparse:
        # Its gradient is what is looked up, as it is:
        return F.embedding(index, weight, sparse=True) * value.unsqueeze(-1)
    out: Tensor = _lookup(weight, index, value)
    return out


@torch.library.custom_op('pyg_featgraph::lookup', mutates_args=())
def _lookup(weight: Tensor, index: Tensor, value: Tensor) -> Tensor:
    native = native_form('lookup', weight)
    if native is not None and value.dtype == weight.dtype:
        return native.forward(weight, index, value)  # type: ignore[no-any-return]
    return lookup_formula(weight, index, value)


def lookup_formula(weight: Tensor, index: Tensor, value: Tensor) -> Tensor:
    r"""What :func:`lookup` computes, in plain operators."""
    return F.embedding(index, weight) * value.unsqueeze(-1)


@_lookup.register_fake
def _(weight: Tensor, index: Tensor, value: Tensor) -> Tensor:
    dtype = torch.promote_types(weight.dtype, value.dtype)
    return weight.new_empty(*index.size(), weight.size(1), dtype=dtype)


@torch.library.custom_op('pyg_featgraph::lookup_backward', mutates_args=())
def _lookup_backward(
    grad: Tensor, index: Tensor, value: Tensor, num_rows: int
) -> Tensor:
    native = native_form('lookup', grad)
    if native is not None and value.dtype == grad.dtype:
        return native.backward(grad, index, value, num_rows)  # type: ignore[no-any-return]
    scaled = grad * value.unsqueeze(-1)
    return torch.ops.aten.embedding_dense_backward(  # type: ignore[no-any-return]
        scaled, index, num_rows, -1, False
    )


@_lookup_backward.register_fake
def _(grad: Tensor, index: Tensor, value: Tensor, num_rows: int) -> Tensor:
    dtype = torch.promote_types(grad.dtype, value.dtype)
    return grad.new_empty(num_rows, grad.size(-1), dtype=dtype)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    weight, index, value = inputs
    ctx.num_rows = weight.size(0)
    # An optimizer may change the table before the backward pass, which has to
    # know it only for gradients of values:
    table = weight if ctx.needs_input_grad[2] else None
    ctx.save_for_backward(table, index, value)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    table, index, value = ctx.saved_tensors
    grad_weight = grad_value = None
    if ctx.needs_input_grad[0]:
        grad_weight = _lookup_backward(grad, index, value, ctx.num_rows)
    if table is not None:
        grad_value = (grad * F.embedding(index, table)).sum(dim=-1)
    return grad_weight, None, grad_value


_lookup.register_autograd(_backward, setup_context=_setup_context)

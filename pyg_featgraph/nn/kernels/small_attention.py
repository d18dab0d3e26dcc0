r"""Attention between the few nodes of a row.

Kernels for attention are made for long sequences. Here rows are short and
many, so that all products of a row fit the cache of a core or the registers of
a GPU. What has no kernel on a GPU is left to torch, whose kernels there store
no pairs either.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pyg_featgraph.nn.kernels.backend import native_form


def small_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    r"""Sums values by the softmax of the scaled products of queries and keys.

    Args:
        query (torch.Tensor): The queries, with shape :math:`(B, n, H, F)`.
        key (torch.Tensor): The keys, of the same shape.
        value (torch.Tensor): The values, of the same shape.

    Returns:
        torch.Tensor: Of the same shape.
    """
    # What is compiled holds the operator, whichever form it takes later:
    eager = not torch.compiler.is_compiling()
    if (
        query.is_cuda
        and eager
        and native_form('small_attention', query) is None
    ):
        return _torch_attention(query, key, value)
    out: Tensor = _small_attention(query, key, value)
    return out


def _torch_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key, value = (v.transpose(1, 2) for v in (query, key, value))
    return scaled_dot_product_attention(query, key, value).transpose(1, 2)


def small_attention_formula(
    query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    r"""What :func:`small_attention` computes, in plain operators."""
    query, key, value = (v.transpose(1, 2) for v in (query, key, value))
    alpha = (query @ key.mT / math.sqrt(query.size(-1))).softmax(dim=-1)
    return (alpha @ value).transpose(1, 2)


@torch.library.custom_op('pyg_featgraph::small_attention', mutates_args=())
def _small_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    native = native_form('small_attention', query)
    if native is not None:
        return native.forward(query, key, value)  # type: ignore[no-any-return]
    return small_attention_formula(query, key, value).contiguous()


@_small_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query.new_empty(query.size())


@torch.library.custom_op(
    'pyg_featgraph::small_attention_backward', mutates_args=()
)
def _small_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    native = native_form('small_attention', query)
    if native is not None:
        return native.backward(grad, query, key, value)  # type: ignore[no-any-return]
    g, q, k, v = (t.transpose(1, 2) for t in (grad, query, key, value))
    factor = 1 / math.sqrt(query.size(-1))
    alpha = (q @ k.mT).mul_(factor).softmax(dim=-1)
    g_alpha = g @ v.mT
    g_logit = torch.ops.aten._softmax_backward_data(
        g_alpha, alpha, -1, alpha.dtype
    ).mul_(factor)
    grads = g_logit @ k, g_logit.mT @ q, alpha.mT @ g
    out = [t.transpose(1, 2).contiguous() for t in grads]
    return out[0], out[1], out[2]


@_small_attention_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    size = query.size()
    return query.new_empty(size), query.new_empty(size), query.new_empty(size)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> Any:
    return _small_attention_backward(grad, *ctx.saved_tensors)


_small_attention.register_autograd(_backward, setup_context=_setup_context)

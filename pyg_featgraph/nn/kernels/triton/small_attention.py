r"""Attention between the few nodes of a row on a GPU.

A program has queries of a head of a row, all of them if they fit a tile, and
takes keys in tiles. Backward has the scores once more instead of storing them
or anything else of forward. With all queries in a tile it is one pass: what
keys and values get is in the program as well. Else a second kernel takes keys,
and queries in tiles.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    arithmetic,
    load_heads,
    on_its_device,
    padded,
    sums,
    tile,
)

_NODES = 64


@on_its_device
def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.small_attention`."""
    size, n, heads, d = query.size()
    out = query.new_empty(query.size())
    tiles = _tiles(query)
    if out.numel() > 0:
        _forward[size * heads, triton.cdiv(n, tiles['T'])](
            *(v.contiguous() for v in (query, key, value)),
            out,
            d**-0.5,
            n,
            heads,
            d,
            **tiles,
        )
    return out


@on_its_device
def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The gradients of what :func:`forward` takes."""
    size, n, heads, d = query.size()
    tiles = _tiles(query)
    num_tiles = triton.cdiv(n, tiles['T'])
    inputs = [v.contiguous() for v in (grad, query, key, value)]
    grad_query, grad_key, grad_value = (torch.empty_like(v) for v in inputs[1:])
    norm = shift = None
    if num_tiles > 1:
        norm, shift = sums(query, size, heads, n), sums(query, size, heads, n)
    if grad.numel() > 0:
        _backward_queries[size * heads, num_tiles](
            *inputs,
            grad_query,
            grad_key,
            grad_value,
            norm,
            shift,
            d**-0.5,
            n,
            heads,
            d,
            **tiles,
        )
    if grad.numel() > 0 and num_tiles > 1:
        _backward_keys[size * heads, num_tiles](
            *inputs,
            grad_key,
            grad_value,
            norm,
            shift,
            d**-0.5,
            n,
            heads,
            d,
            **tiles,
        )
    return grad_query, grad_key, grad_value


def _tiles(query: Tensor) -> dict[str, Any]:
    channels = padded(query.size(3))
    nodes = min(tile(query, _NODES, 2048), padded(query.size(1)))
    return {
        'T': nodes,
        'D': channels,
        'num_warps': 8 if nodes * channels >= 1024 else 4,
        **arithmetic(query),
    }


@triton.jit
def _place(heads):
    # Heads of a row, which are next to each other, at the same time:
    return (tl.program_id(0) // heads).to(tl.int64), tl.program_id(0) % heads


@triton.jit
def _logits(q, k, j, n, scale, SUM: tl.constexpr, PRECISION: tl.constexpr):
    # Minus infinity beyond the last key.
    dot = tl.dot(q, tl.trans(k), input_precision=PRECISION, out_dtype=SUM)
    return tl.where((j < n)[None, :], dot * scale, float('-inf'))


@triton.jit
def _store_heads(pointer, values, b, head, i, n, heads, c, d):
    mask = (i < n)[:, None] & (c < d)[None, :]
    where = ((b * n + i)[:, None] * heads + head) * d + c[None, :]
    tl.store(pointer + where, values, mask=mask)


@triton.jit
def _forward(
    query,
    key,
    value,
    out,
    scale,
    n,
    heads,
    d,
    T: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    b, head = _place(heads)
    c = tl.arange(0, D)
    i = tl.program_id(1) * T + tl.arange(0, T)
    q = load_heads(query, b, head, i, n, heads, c, d, SUM)
    high = tl.full((T,), float('-inf'), SUM)
    total = tl.zeros((T,), SUM)
    summed = tl.zeros((T, D), SUM)
    for start in range(0, n, T):
        j = start + tl.arange(0, T)
        k = load_heads(key, b, head, j, n, heads, c, d, SUM)
        v = load_heads(value, b, head, j, n, heads, c, d, SUM)
        logit = _logits(q, k, j, n, scale, SUM, PRECISION)
        higher = tl.maximum(high, tl.max(logit, axis=1))
        fade = tl.exp(high - higher)
        power = tl.exp(logit - higher[:, None])
        total = total * fade + tl.sum(power, axis=1)
        summed = summed * fade[:, None] + tl.dot(
            power, v, input_precision=PRECISION, out_dtype=SUM
        )
        high = higher
    _store_heads(out, summed / total[:, None], b, head, i, n, heads, c, d)


@triton.jit
def _backward_queries(
    grad,
    query,
    key,
    value,
    grad_query,
    grad_key,
    grad_value,
    norm,
    shift,
    scale,
    n,
    heads,
    d,
    T: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    b, head = _place(heads)
    c = tl.arange(0, D)
    i = tl.program_id(1) * T + tl.arange(0, T)
    q = load_heads(query, b, head, i, n, heads, c, d, SUM)
    g = load_heads(grad, b, head, i, n, heads, c, d, SUM)
    if norm is None:
        # All nodes are here:
        k = load_heads(key, b, head, i, n, heads, c, d, SUM)
        v = load_heads(value, b, head, i, n, heads, c, d, SUM)
        logit = _logits(q, k, i, n, scale, SUM, PRECISION)
        power = tl.exp(logit - tl.max(logit, axis=1)[:, None])
        alpha = power / tl.sum(power, axis=1)[:, None]
        g_alpha = tl.dot(
            g, tl.trans(v), input_precision=PRECISION, out_dtype=SUM
        )
        mean = tl.sum(alpha * g_alpha, axis=1)
        g_logit = alpha * (g_alpha - mean[:, None]) * scale
        sum_query = tl.dot(g_logit, k, input_precision=PRECISION, out_dtype=SUM)
        # Of queries beyond the last one, both factors are zero:
        sum_key = tl.dot(
            tl.trans(g_logit), q, input_precision=PRECISION, out_dtype=SUM
        )
        sum_value = tl.dot(
            tl.trans(alpha), g, input_precision=PRECISION, out_dtype=SUM
        )
        _store_heads(grad_key, sum_key, b, head, i, n, heads, c, d)
        _store_heads(grad_value, sum_value, b, head, i, n, heads, c, d)
    else:
        high = tl.full((T,), float('-inf'), SUM)
        total = tl.zeros((T,), SUM)
        mean = tl.zeros((T,), SUM)
        # The sum of the gradients of the logits and of what the mean of the
        # gradients of the weights takes from them:
        sum_query = tl.zeros((T, D), SUM)
        sum_mean = tl.zeros((T, D), SUM)
        for start in range(0, n, T):
            j = start + tl.arange(0, T)
            k = load_heads(key, b, head, j, n, heads, c, d, SUM)
            v = load_heads(value, b, head, j, n, heads, c, d, SUM)
            logit = _logits(q, k, j, n, scale, SUM, PRECISION)
            g_alpha = tl.dot(
                g, tl.trans(v), input_precision=PRECISION, out_dtype=SUM
            )
            higher = tl.maximum(high, tl.max(logit, axis=1))
            fade = tl.exp(high - higher)
            power = tl.exp(logit - higher[:, None])
            total = total * fade + tl.sum(power, axis=1)
            mean = mean * fade + tl.sum(power * g_alpha, axis=1)
            sum_query = sum_query * fade[:, None] + tl.dot(
                power * g_alpha, k, input_precision=PRECISION, out_dtype=SUM
            )
            sum_mean = sum_mean * fade[:, None] + tl.dot(
                power, k, input_precision=PRECISION, out_dtype=SUM
            )
            high = higher
        mean /= total
        sum_query = (sum_query - sum_mean * mean[:, None]) / total[:, None]
        sum_query *= scale
        where = (b * heads + head) * n + i
        tl.store(norm + where, high + tl.log(total), mask=i < n)
        tl.store(shift + where, mean, mask=i < n)
    _store_heads(grad_query, sum_query, b, head, i, n, heads, c, d)


@triton.jit
def _backward_keys(
    grad,
    query,
    key,
    value,
    grad_key,
    grad_value,
    norm,
    shift,
    scale,
    n,
    heads,
    d,
    T: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    b, head = _place(heads)
    c = tl.arange(0, D)
    j = tl.program_id(1) * T + tl.arange(0, T)
    k = load_heads(key, b, head, j, n, heads, c, d, SUM)
    v = load_heads(value, b, head, j, n, heads, c, d, SUM)
    sum_key = tl.zeros((T, D), SUM)
    sum_value = tl.zeros((T, D), SUM)
    for start in range(0, n, T):
        i = start + tl.arange(0, T)
        q = load_heads(query, b, head, i, n, heads, c, d, SUM)
        g = load_heads(grad, b, head, i, n, heads, c, d, SUM)
        where = (b * heads + head) * n + i
        log = tl.load(norm + where, mask=i < n, other=float('inf'))
        mean = tl.load(shift + where, mask=i < n, other=0)
        logit = _logits(q, k, j, n, scale, SUM, PRECISION)
        alpha = tl.exp(logit - log[:, None])
        g_alpha = tl.dot(
            g, tl.trans(v), input_precision=PRECISION, out_dtype=SUM
        )
        g_logit = alpha * (g_alpha - mean[:, None]) * scale
        sum_key += tl.dot(
            tl.trans(g_logit), q, input_precision=PRECISION, out_dtype=SUM
        )
        sum_value += tl.dot(
            tl.trans(alpha), g, input_precision=PRECISION, out_dtype=SUM
        )
    _store_heads(grad_key, sum_key, b, head, j, n, heads, c, d)
    _store_heads(grad_value, sum_value, b, head, j, n, heads, c, d)

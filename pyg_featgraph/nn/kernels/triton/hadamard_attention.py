r"""Attention over the products of all pairs of nodes on a GPU.

A program has a tile of targets and takes sources in tiles, with a running
softmax. Backward goes forward once more for what normalises each target, and
then takes the pairs from both sides.
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
    load_matrix,
    load_vector,
    on_its_device,
    padded,
    sums,
)
from pyg_featgraph.nn.kernels.triton.hadamard_pairs import (
    backward_kernel,
    weigh,
)

_NODES = 16


@on_its_device
def forward(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.hadamard_attention`."""
    size, n, d = x.size()
    heads = att.size(0)
    out = x.new_empty(size, n, heads, d)
    pairs = _pairs(scale, keep, dropout_mask, (size, heads, n, n))
    nodes = x.contiguous(), att.contiguous(), bias.contiguous()
    if out.numel() > 0:
        _forward[_grid(size, n, heads)](
            *nodes,
            *pairs,
            None,
            out,
            None,
            None,
            negative_slope,
            n,
            d,
            heads,
            **_options(x, scale_logits),
        )
    return out


@on_its_device
def backward(
    grad: Tensor,
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""The gradients of what :func:`forward` takes."""
    size, n, d = x.size()
    heads = att.size(0)
    norm = sums(x, size, heads, n)
    shift = sums(x, size, heads, n)
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    grad_scale = torch.empty_like(scale, memory_format=torch.contiguous_format)
    tiles = triton.cdiv(n, _NODES)
    grad_att = sums(x, size * tiles, heads, d)
    grad_bias = sums(x, size * tiles, heads)
    pairs = _pairs(scale, keep, dropout_mask, (size, heads, n, n))
    nodes = x.contiguous(), att.contiguous(), bias.contiguous()
    grad = grad.contiguous()
    options = _options(x, scale_logits)
    if grad.numel() > 0:
        _forward[_grid(size, n, heads)](
            *nodes,
            *pairs,
            grad,
            None,
            norm,
            shift,
            negative_slope,
            n,
            d,
            heads,
            **options,
        )
        backward_kernel[size, tiles](
            *nodes,
            *pairs,
            grad,
            norm,
            shift,
            grad_x,
            grad_att,
            grad_bias,
            grad_scale,
            negative_slope,
            n,
            d,
            heads,
            SCALE_HEADS=scale.size(1),
            H=triton.next_power_of_2(heads),
            **options,
        )
    return (
        grad_x,
        grad_att.sum(0).to(att.dtype),
        grad_bias.sum(0).to(bias.dtype),
        grad_scale,
    )


def _grid(size: int, n: int, heads: int) -> tuple[int, int, int]:
    return size, triton.cdiv(n, _NODES), heads


def _options(x: Tensor, scale_logits: bool) -> dict[str, Any]:
    return {
        'SCALE_LOGITS': scale_logits,
        'T': _NODES,
        'D': padded(x.size(2)),
        **arithmetic(x),
    }


def _pairs(
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    shape: tuple[int, ...],
) -> list[tuple[object, ...]]:
    # Each with its strides, zero where all share an entry:
    return [
        (v, *((0,) * 4 if v is None else v.expand(shape).stride()))
        for v in (scale, keep, dropout_mask)
    ]


@triton.jit
def _forward(
    x,
    att,
    bias,
    scale,
    keep,
    drop,
    grad,
    out,
    norm,
    shift,
    slope,
    n,
    d,
    heads,
    SCALE_LOGITS: tl.constexpr,
    T: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    head = tl.program_id(2)
    c = tl.arange(0, D)
    i = tl.program_id(1) * T + tl.arange(0, T)
    x_i = load_matrix(x + b * n * d, i, n, c, d, SUM)
    query = x_i * load_vector(att + head * d, c, d, SUM)[None, :]
    offset = tl.load(bias + head).to(SUM)
    high = tl.full((T,), float('-inf'), SUM)
    total = tl.zeros((T,), SUM)
    summed = tl.zeros((T, D), SUM)
    for start in range(0, n, T):
        j = start + tl.arange(0, T)
        x_j = load_matrix(x + b * n * d, j, n, c, d, SUM)
        raw = (
            tl.dot(
                query, tl.trans(x_j), input_precision=PRECISION, out_dtype=SUM
            )
            + offset
        )
        logit, _, factor, dropped = weigh(
            tl.where(raw > 0, raw, slope * raw),
            scale,
            keep,
            drop,
            (b, head, i, j),
            n,
            SCALE_LOGITS,
            SUM,
        )
        higher = tl.maximum(high, tl.max(logit, axis=1))
        # Where nothing was kept so far, all terms are zero:
        finite = tl.where(higher == float('-inf'), 0, higher)
        fade = tl.exp(high - finite)
        power = tl.exp(logit - finite[:, None])
        total = total * fade + tl.sum(power, axis=1)
        alpha = power * factor * dropped
        summed = summed * fade[:, None] + tl.dot(
            alpha, x_j, input_precision=PRECISION, out_dtype=SUM
        )
        high = higher
    # A target without sources has zeros only:
    some = total > 0
    result = summed / tl.where(some, total, 1)[:, None] * x_i
    if out is not None:
        mask = (i < n)[:, None] & (c < d)[None, :]
        where = ((b * n + i)[:, None] * heads + head) * d + c[None, :]
        tl.store(out + where, result, mask=mask)
    if grad is not None:
        # The logarithm of what the softmax divides by, and the mean of the
        # gradients that reach it:
        g = load_heads(grad, b, head, i, n, heads, c, d, SUM)
        log = high + tl.log(tl.where(some, total, 1))
        log = tl.where(some, log, float('inf'))
        where = (b * heads + head) * n + i
        tl.store(norm + where, log, mask=i < n)
        tl.store(shift + where, tl.sum(g * result, axis=1), mask=i < n)

r"""Attention over the products of all pairs of nodes on a GPU.

A program has a tile of targets and takes sources in tiles, with a running
softmax. Backward goes forward once more for what normalises each target, and
then takes each pair of tiles from both sides: what nodes get as targets and
what they get as sources meets in one sum. Only parameters have sums of each
program.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    arithmetic,
    load_matrix,
    load_vector,
    on_its_device,
    padded,
    sums,
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
        _backward[size, tiles](
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
def _load_pairs(pairs, place, n):
    # Entries (i, j) of a head of a row.
    b, head, i, j = place
    i, j = i[:, None], j[None, :]
    where = b * pairs[1] + head * pairs[2] + i * pairs[3] + j * pairs[4]
    return tl.load(pairs[0] + where, mask=(i < n) & (j < n), other=0)


@triton.jit
def _load_heads(pointer, place, i, n, heads, c, d, SUM: tl.constexpr):
    # Entries of a head of a row of [B, n, heads, d].
    b, head = place[0], place[1]
    mask = (i < n)[:, None] & (c < d)[None, :]
    where = ((b * n + i)[:, None] * heads + head) * d + c[None, :]
    return tl.load(pointer + where, mask=mask, other=0).to(SUM)


@triton.jit
def _weigh(
    activation,
    scale,
    keep,
    drop,
    place,
    n,
    SCALE_LOGITS: tl.constexpr,
    SUM: tl.constexpr,
):
    # The logits, minus infinity where a pair takes no part, and what the scale
    # and the dropout multiply the softmax with.
    _, _, i, j = place
    kept = (i < n)[:, None] & (j < n)[None, :]
    s = _load_pairs(scale, place, n).to(SUM)
    if SCALE_LOGITS:
        logit = activation * s
        factor = tl.full(s.shape, 1, SUM)
    else:
        logit = activation
        factor = s
        kept &= s != 0
    if keep[0] is not None:
        kept &= _load_pairs(keep, place, n) != 0
    dropped = tl.full(s.shape, 1, SUM)
    if drop[0] is not None:
        dropped = _load_pairs(drop, place, n).to(SUM)
    return tl.where(kept, logit, float('-inf')), s, factor, dropped


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
        logit, _, factor, dropped = _weigh(
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
        g = _load_heads(grad, (b, head), i, n, heads, c, d, SUM)
        log = high + tl.log(tl.where(some, total, 1))
        log = tl.where(some, log, float('inf'))
        where = (b * heads + head) * n + i
        tl.store(norm + where, log, mask=i < n)
        tl.store(shift + where, tl.sum(g * result, axis=1), mask=i < n)


@triton.jit
def _pair_gradients(
    raw,
    g_alpha,
    norm,
    shift,
    slope,
    scale,
    keep,
    drop,
    place,
    n,
    heads,
    SCALE_LOGITS: tl.constexpr,
    SUM: tl.constexpr,
):
    # The weights, and the gradients of the raw logits and the scales.
    b, head, i, _ = place
    where = (b * heads + head) * n + i
    log = tl.load(norm + where, mask=i < n, other=float('inf'))
    mean = tl.load(shift + where, mask=i < n, other=0)
    activation = tl.where(raw > 0, raw, slope * raw)
    logit, s, factor, dropped = _weigh(
        activation, scale, keep, drop, place, n, SCALE_LOGITS, SUM
    )
    soft = tl.exp(logit - log[:, None])
    g_alpha *= dropped
    g_logit = soft * (g_alpha * factor - mean[:, None])
    if SCALE_LOGITS:
        g_scale = g_logit * activation
        g_logit *= s
    else:
        g_scale = g_alpha * soft
    g_raw = tl.where(raw > 0, g_logit, slope * g_logit)
    return soft * factor * dropped, g_raw, g_scale


@triton.jit
def _backward(
    x,
    att,
    bias,
    scale,
    keep,
    drop,
    grad,
    norm,
    shift,
    grad_x,
    grad_att,
    grad_bias,
    grad_scale,
    slope,
    n,
    d,
    heads,
    SCALE_HEADS: tl.constexpr,
    H: tl.constexpr,
    SCALE_LOGITS: tl.constexpr,
    T: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, D)
    i = tl.program_id(1) * T + tl.arange(0, T)
    inside = (i < n)[:, None] & (c < d)[None, :]
    x_i = load_matrix(x + b * n * d, i, n, c, d, SUM)
    sum_x = tl.zeros((T, D), SUM)
    every = tl.arange(0, H)
    sum_att = tl.zeros((H, D), SUM)
    sum_bias = tl.zeros((H,), SUM)
    for start in range(0, n, T):
        j = start + tl.arange(0, T)
        pairs = (i < n)[:, None] & (j < n)[None, :]
        where = i[:, None] * n + j[None, :]
        x_j = load_matrix(x + b * n * d, j, n, c, d, SUM)
        sum_scale = tl.zeros((T, T), SUM)
        for head in range(heads):
            a = load_vector(att + head * d, c, d, SUM)[None, :]
            # The logit of a pair is the same from both sides:
            raw = tl.dot(
                x_i * a, tl.trans(x_j), input_precision=PRECISION, out_dtype=SUM
            )
            raw += tl.load(bias + head).to(SUM)
            # The nodes as targets:
            g_i = _load_heads(grad, (b, head), i, n, heads, c, d, SUM)
            g_alpha = tl.dot(
                g_i * x_i,
                tl.trans(x_j),
                input_precision=PRECISION,
                out_dtype=SUM,
            )
            alpha, g_raw, g_scale = _pair_gradients(
                raw,
                g_alpha,
                norm,
                shift,
                slope,
                scale,
                keep,
                drop,
                (b, head, i, j),
                n,
                heads,
                SCALE_LOGITS,
                SUM,
            )
            sum_x += g_i * tl.dot(
                alpha, x_j, input_precision=PRECISION, out_dtype=SUM
            )
            if SCALE_HEADS == 1:
                sum_scale += g_scale
            else:
                place = (b * heads + head) * n * n + where
                tl.store(grad_scale + place, g_scale, mask=pairs)
            # And as sources:
            g_j = _load_heads(grad, (b, head), j, n, heads, c, d, SUM) * x_j
            g_alpha = tl.dot(
                g_j, tl.trans(x_i), input_precision=PRECISION, out_dtype=SUM
            )
            alpha, g_other, _ = _pair_gradients(
                tl.trans(raw),
                g_alpha,
                norm,
                shift,
                slope,
                scale,
                keep,
                drop,
                (b, head, j, i),
                n,
                heads,
                SCALE_LOGITS,
                SUM,
            )
            sum_x += tl.dot(
                tl.trans(alpha), g_j, input_precision=PRECISION, out_dtype=SUM
            )
            g_raw += tl.trans(g_other)
            g_query = tl.dot(
                g_raw, x_j, input_precision=PRECISION, out_dtype=SUM
            )
            sum_x += a * g_query
            # Each pair is met from both sides:
            here = every == head
            g_att = tl.sum(g_query * x_i, axis=0) / 2
            sum_att += tl.where(here[:, None], g_att[None, :], 0)
            sum_bias += tl.where(here, tl.sum(g_raw) / 2, 0)
        if SCALE_HEADS == 1:
            place = b * n * n + where
            tl.store(grad_scale + place, sum_scale, mask=pairs)
    tl.store(grad_x + (b * n + i)[:, None] * d + c[None, :], sum_x, mask=inside)
    place = (b * tl.num_programs(1) + tl.program_id(1)) * heads + every
    tl.store(grad_bias + place, sum_bias, mask=every < heads)
    tl.store(
        grad_att + place[:, None] * d + c[None, :],
        sum_att,
        mask=(every < heads)[:, None] & (c < d)[None, :],
    )

r"""What a tile of pairs weighs in the attention over their products on a GPU,
and the kernel of its gradients.

It takes each pair of tiles from both sides: what nodes get as targets and what
they get as sources meets in one sum. Only parameters have sums of each program.
"""

from __future__ import annotations

import triton
import triton.language as tl

from pyg_featgraph.nn.kernels.triton.common import (
    load_heads,
    load_matrix,
    load_vector,
)


@triton.jit
def _load_pairs(pairs, place, n):
    # Entries (i, j) of a head of a row.
    b, head, i, j = place
    i, j = i[:, None], j[None, :]
    where = b * pairs[1] + head * pairs[2] + i * pairs[3] + j * pairs[4]
    return tl.load(pairs[0] + where, mask=(i < n) & (j < n), other=0)


@triton.jit
def weigh(
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
    logit, s, factor, dropped = weigh(
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
def backward_kernel(
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
            g_i = load_heads(grad, b, head, i, n, heads, c, d, SUM)
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
            g_j = load_heads(grad, b, head, j, n, heads, c, d, SUM) * x_j
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

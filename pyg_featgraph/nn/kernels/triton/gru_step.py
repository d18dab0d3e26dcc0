r"""A step of a gated recurrent unit with a residual on a GPU.

A program has some channels of the gates and takes nodes in tiles, so that no
gate is ever stored. Backward has the gates once more; programs leave sums for
the weights, and where the channels are several tiles, each of these leaves what
nodes get from it.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    SMALLEST,
    accumulator,
    arithmetic,
    groups,
    load_matrix,
    load_vector,
    on_its_device,
    padded,
    sums,
)

# Nodes of a tile, and numbers of a tile of one of the six weights, all of which
# stay in registers with their gradients:
_NODES = 32
_NUMBERS = 2048
_PROGRAMS = 512


@on_its_device
def forward(x: Tensor, state: Tensor, first: Tensor, *gru: Tensor) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.gru_step`."""
    size, d = x.size()
    out = x.new_empty(size, d)
    tiles = _tiles(x)
    if out.numel() > 0:
        _forward[triton.cdiv(size, tiles['T']), triton.cdiv(d, tiles['C'])](
            *(v.contiguous() for v in (x, state, first, *gru)),
            out,
            size,
            d,
            **tiles,
        )
    return out


@on_its_device
def backward(
    grad: Tensor, x: Tensor, state: Tensor, *gru: Tensor
) -> tuple[Tensor, ...]:
    r"""The gradients of what :func:`forward` takes but the residual."""
    size, d = x.size()
    tiles = _tiles(x)
    parts = triton.cdiv(d, tiles['C'])
    num_groups = groups(triton.cdiv(size, tiles['T']), parts, _PROGRAMS)
    grads = [
        x.new_empty(parts, size, d, dtype=accumulator(x)) for _ in range(2)
    ]
    grads += [sums(x, num_groups, *v.size()) for v in gru]
    if grad.numel() > 0:
        _backward[num_groups, parts](
            *(v.contiguous() for v in (grad, x, state, *gru)),
            *grads,
            size,
            d,
            **tiles,
        )
    return tuple(
        # What has one part needs no pass for a sum:
        (g[0] if len(g) == 1 else g.sum(0)).to(v.dtype)
        for g, v in zip(grads, (x, state, *gru), strict=True)
    )


def _tiles(x: Tensor) -> dict[str, Any]:
    channels = padded(x.size(1))
    part = max(SMALLEST, min(channels, _NUMBERS // channels))
    return {
        'T': _NODES,
        'C': part,
        'D': channels,
        'num_warps': 4 if part * channels < _NUMBERS else 8,
        **arithmetic(x),
    }


@triton.jit
def _load_weights(weight, k, c, d, SUM: tl.constexpr):
    # Those of reset gate, update gate and candidate, each [C, D].
    return (
        load_matrix(weight, k, d, c, d, SUM),
        load_matrix(weight + d * d, k, d, c, d, SUM),
        load_matrix(weight + 2 * d * d, k, d, c, d, SUM),
    )


@triton.jit
def _load_biases(bias, k, d, SUM: tl.constexpr):
    return (
        load_vector(bias, k, d, SUM)[None, :],
        load_vector(bias + d, k, d, SUM)[None, :],
        load_vector(bias + 2 * d, k, d, SUM)[None, :],
    )


@triton.jit
def _map(x, weight, bias, PRECISION: tl.constexpr, SUM: tl.constexpr):
    dot = tl.dot(x, tl.trans(weight), input_precision=PRECISION, out_dtype=SUM)
    return dot + bias


@triton.jit
def _gates(
    x,
    h,
    weight_x,
    weight_h,
    bias_x,
    bias_h,
    PRECISION: tl.constexpr,
    SUM: tl.constexpr,
):
    # Reset and update gate, what the state gives to the candidate, and the
    # candidate, each [T, C].
    reset = _map(x, weight_x[0], bias_x[0], PRECISION, SUM)
    reset += _map(h, weight_h[0], bias_h[0], PRECISION, SUM)
    update = _map(x, weight_x[1], bias_x[1], PRECISION, SUM)
    update += _map(h, weight_h[1], bias_h[1], PRECISION, SUM)
    reset, update = tl.sigmoid(reset), tl.sigmoid(update)
    inner = _map(h, weight_h[2], bias_h[2], PRECISION, SUM)
    candidate = _map(x, weight_x[2], bias_x[2], PRECISION, SUM) + reset * inner
    # The hyperbolic tangent, which Triton has for GPUs of one maker alone:
    candidate = 2 * tl.sigmoid(2 * candidate) - 1
    return reset, update, inner, candidate


@triton.jit
def _forward(
    x,
    state,
    first,
    weight_ih,
    weight_hh,
    bias_ih,
    bias_hh,
    out,
    size,
    d,
    T: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    k = tl.program_id(1) * C + tl.arange(0, C)
    c = tl.arange(0, D)
    _, update, _, candidate = _gates(
        load_matrix(x, i, size, c, d, SUM),
        load_matrix(state, i, size, c, d, SUM),
        _load_weights(weight_ih, k, c, d, SUM),
        _load_weights(weight_hh, k, c, d, SUM),
        _load_biases(bias_ih, k, d, SUM),
        _load_biases(bias_hh, k, d, SUM),
        PRECISION,
        SUM,
    )
    before = load_matrix(state, i, size, k, d, SUM)
    after = candidate + update * (before - candidate)
    after += load_matrix(first, i, size, k, d, SUM)
    mask = (i < size)[:, None] & (k < d)[None, :]
    tl.store(out + i[:, None] * d + k[None, :], after, mask=mask)


@triton.jit
def _to_nodes(
    g_reset,
    g_update,
    g_last,
    weight,
    PRECISION: tl.constexpr,
    SUM: tl.constexpr,
):
    # What nodes get from the gradients of the gates.
    out = tl.dot(g_reset, weight[0], input_precision=PRECISION, out_dtype=SUM)
    out += tl.dot(g_update, weight[1], input_precision=PRECISION, out_dtype=SUM)
    out += tl.dot(g_last, weight[2], input_precision=PRECISION, out_dtype=SUM)
    return out


@triton.jit
def _to_weight(g_gate, x, PRECISION: tl.constexpr, SUM: tl.constexpr):
    return tl.dot(tl.trans(g_gate), x, input_precision=PRECISION, out_dtype=SUM)


@triton.jit
def _store_weight(pointer, gate, sums, k, c, d):
    # One of the three weights of a group.
    mask = (k < d)[:, None] & (c < d)[None, :]
    row = (tl.program_id(0).to(tl.int64) * 3 + gate) * d + k
    tl.store(pointer + row[:, None] * d + c[None, :], sums, mask=mask)


@triton.jit
def _store_bias(pointer, gate, sums, k, d):
    row = (tl.program_id(0).to(tl.int64) * 3 + gate) * d + k
    tl.store(pointer + row, sums, mask=k < d)


@triton.jit
def _backward(
    grad,
    x,
    state,
    weight_ih,
    weight_hh,
    bias_ih,
    bias_hh,
    grad_x,
    grad_state,
    grad_weight_ih,
    grad_weight_hh,
    grad_bias_ih,
    grad_bias_hh,
    size,
    d,
    T: tl.constexpr,
    C: tl.constexpr,
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    part = tl.program_id(1)
    k = part * C + tl.arange(0, C)
    c = tl.arange(0, D)
    weight_x = _load_weights(weight_ih, k, c, d, SUM)
    weight_h = _load_weights(weight_hh, k, c, d, SUM)
    bias_x = _load_biases(bias_ih, k, d, SUM)
    bias_h = _load_biases(bias_hh, k, d, SUM)
    # Puts the channels of a part to their places:
    place = (k[:, None] == c[None, :]).to(SUM)
    x_reset = tl.zeros((C, D), SUM)
    x_update = tl.zeros((C, D), SUM)
    x_candidate = tl.zeros((C, D), SUM)
    h_reset = tl.zeros((C, D), SUM)
    h_update = tl.zeros((C, D), SUM)
    h_inner = tl.zeros((C, D), SUM)
    sum_reset = tl.zeros((C,), SUM)
    sum_update = tl.zeros((C,), SUM)
    sum_candidate = tl.zeros((C,), SUM)
    sum_inner = tl.zeros((C,), SUM)
    for start in range(tl.program_id(0) * T, size, tl.num_programs(0) * T):
        i = tl.cast(start, tl.int64) + tl.arange(0, T)
        x_i = load_matrix(x, i, size, c, d, SUM)
        h_i = load_matrix(state, i, size, c, d, SUM)
        reset, update, inner, candidate = _gates(
            x_i, h_i, weight_x, weight_h, bias_x, bias_h, PRECISION, SUM
        )
        g = load_matrix(grad, i, size, k, d, SUM)
        before = load_matrix(state, i, size, k, d, SUM)
        keep = g * update
        g_candidate = (g - keep) * (1 - candidate * candidate)
        g_inner = g_candidate * reset
        g_reset = g_inner * inner * (1 - reset)
        g_update = keep * (before - candidate) * (1 - update)
        sum_reset += tl.sum(g_reset, axis=0)
        sum_update += tl.sum(g_update, axis=0)
        sum_candidate += tl.sum(g_candidate, axis=0)
        sum_inner += tl.sum(g_inner, axis=0)
        x_reset += _to_weight(g_reset, x_i, PRECISION, SUM)
        x_update += _to_weight(g_update, x_i, PRECISION, SUM)
        x_candidate += _to_weight(g_candidate, x_i, PRECISION, SUM)
        h_reset += _to_weight(g_reset, h_i, PRECISION, SUM)
        h_update += _to_weight(g_update, h_i, PRECISION, SUM)
        h_inner += _to_weight(g_inner, h_i, PRECISION, SUM)
        to_x = _to_nodes(
            g_reset, g_update, g_candidate, weight_x, PRECISION, SUM
        )
        to_h = _to_nodes(g_reset, g_update, g_inner, weight_h, PRECISION, SUM)
        to_h += tl.dot(keep, place, input_precision='ieee', out_dtype=SUM)
        mask = (i < size)[:, None] & (c < d)[None, :]
        where = (part * tl.cast(size, tl.int64) + i)[:, None] * d + c[None, :]
        tl.store(grad_x + where, to_x, mask=mask)
        tl.store(grad_state + where, to_h, mask=mask)
    _store_weight(grad_weight_ih, 0, x_reset, k, c, d)
    _store_weight(grad_weight_ih, 1, x_update, k, c, d)
    _store_weight(grad_weight_ih, 2, x_candidate, k, c, d)
    _store_weight(grad_weight_hh, 0, h_reset, k, c, d)
    _store_weight(grad_weight_hh, 1, h_update, k, c, d)
    _store_weight(grad_weight_hh, 2, h_inner, k, c, d)
    _store_bias(grad_bias_ih, 0, sum_reset, k, d)
    _store_bias(grad_bias_ih, 1, sum_update, k, d)
    _store_bias(grad_bias_ih, 2, sum_candidate, k, d)
    _store_bias(grad_bias_hh, 0, sum_reset, k, d)
    _store_bias(grad_bias_hh, 1, sum_update, k, d)
    _store_bias(grad_bias_hh, 2, sum_inner, k, d)

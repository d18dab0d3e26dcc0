r"""A step of a gated recurrent unit on a GPU, for states so small that its
weights and their gradients fit the registers of a program.

A program takes nodes in tiles, so that neither a product nor a gate is ever
stored. Backward has the gates once more and leaves sums of each program for the
weights.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    arithmetic,
    groups,
    load_matrix,
    load_vector,
    padded,
    sums,
)
from pyg_featgraph.nn.kernels.triton.gru_gates import gates, gradients

# Nodes of a tile, and how many programs leave sums at most:
_NODES = 16
_PROGRAMS = 512


def forward(x: Tensor, state: Tensor, first: Tensor, *gru: Tensor) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.gru_step`."""
    size, d = x.size()
    out = x.new_empty(size, d)
    if out.numel() > 0:
        _forward[(triton.cdiv(size, _NODES),)](
            *(v.contiguous() for v in (x, state, first, *gru)),
            out,
            size,
            d,
            **_tiles(x),
        )
    return out


def backward(
    grad: Tensor, x: Tensor, state: Tensor, *gru: Tensor
) -> tuple[Tensor, ...]:
    r"""The gradients of what :func:`forward` takes but the residual."""
    size, d = x.size()
    inputs = [v.contiguous() for v in (grad, x, state, *gru)]
    nodes = [torch.empty_like(v) for v in inputs[1:3]]
    num_groups = groups(triton.cdiv(size, _NODES), 1, _PROGRAMS)
    weights = [sums(x, num_groups, *v.size()) for v in gru]
    if grad.numel() > 0:
        _backward[(num_groups,)](
            *inputs, *nodes, *weights, size, d, **_tiles(x)
        )
    return *nodes, *(
        total.sum(0).to(v.dtype) for total, v in zip(weights, gru, strict=True)
    )


def _tiles(x: Tensor) -> dict[str, Any]:
    channels = padded(x.size(1))
    return {
        'T': _NODES,
        'D': channels,
        'num_warps': channels // 4,
        **arithmetic(x),
    }


@triton.jit
def _load_weights(weight, k, d, SUM: tl.constexpr):
    # Those of reset gate, update gate and candidate, each [D, D].
    return (
        load_matrix(weight, k, d, k, d, SUM),
        load_matrix(weight + d * d, k, d, k, d, SUM),
        load_matrix(weight + 2 * d * d, k, d, k, d, SUM),
    )


@triton.jit
def _load_biases(bias, k, d, SUM: tl.constexpr):
    return (
        load_vector(bias, k, d, SUM)[None, :],
        load_vector(bias + d, k, d, SUM)[None, :],
        load_vector(bias + 2 * d, k, d, SUM)[None, :],
    )


@triton.jit
def _map(x, weight, bias, SUM: tl.constexpr, PRECISION: tl.constexpr):
    dot = tl.dot(x, tl.trans(weight), input_precision=PRECISION, out_dtype=SUM)
    return dot + bias


@triton.jit
def _products(x, weight, bias, SUM: tl.constexpr, PRECISION: tl.constexpr):
    # Each [T, D].
    return (
        _map(x, weight[0], bias[0], SUM, PRECISION),
        _map(x, weight[1], bias[1], SUM, PRECISION),
        _map(x, weight[2], bias[2], SUM, PRECISION),
    )


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
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * T + tl.arange(0, T)
    k = tl.arange(0, D)
    weight_x = _load_weights(weight_ih, k, d, SUM)
    weight_h = _load_weights(weight_hh, k, d, SUM)
    bias_x = _load_biases(bias_ih, k, d, SUM)
    bias_h = _load_biases(bias_hh, k, d, SUM)
    x_i = load_matrix(x, i, size, k, d, SUM)
    h_i = load_matrix(state, i, size, k, d, SUM)
    _, update, candidate = gates(
        _products(x_i, weight_x, bias_x, SUM, PRECISION),
        _products(h_i, weight_h, bias_h, SUM, PRECISION),
    )
    after = candidate + update * (h_i - candidate)
    after += load_matrix(first, i, size, k, d, SUM)
    _store(out, after, i, size, k, d)


@triton.jit
def _store(pointer, values, i, rows, k, d):
    mask = (i < rows)[:, None] & (k < d)[None, :]
    tl.store(pointer + i[:, None] * d + k[None, :], values, mask=mask)


@triton.jit
def _to_nodes(gates, weight, SUM: tl.constexpr, PRECISION: tl.constexpr):
    # What nodes get from the gradients of the gates.
    out = tl.dot(gates[0], weight[0], input_precision=PRECISION, out_dtype=SUM)
    out += tl.dot(gates[1], weight[1], input_precision=PRECISION, out_dtype=SUM)
    out += tl.dot(gates[2], weight[2], input_precision=PRECISION, out_dtype=SUM)
    return out


@triton.jit
def _to_weight(gate, x, SUM: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(tl.trans(gate), x, input_precision=PRECISION, out_dtype=SUM)


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
    D: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    group = tl.program_id(0)
    k = tl.arange(0, D)
    weight_x = _load_weights(weight_ih, k, d, SUM)
    weight_h = _load_weights(weight_hh, k, d, SUM)
    bias_x = _load_biases(bias_ih, k, d, SUM)
    bias_h = _load_biases(bias_hh, k, d, SUM)
    x_reset = tl.zeros((D, D), SUM)
    x_update = tl.zeros((D, D), SUM)
    x_last = tl.zeros((D, D), SUM)
    h_reset = tl.zeros((D, D), SUM)
    h_update = tl.zeros((D, D), SUM)
    h_last = tl.zeros((D, D), SUM)
    sum_reset = tl.zeros((D,), SUM)
    sum_update = tl.zeros((D,), SUM)
    sum_x = tl.zeros((D,), SUM)
    sum_h = tl.zeros((D,), SUM)
    for start in range(group * T, size, tl.num_programs(0) * T):
        i = tl.cast(start, tl.int64) + tl.arange(0, T)
        x_i = load_matrix(x, i, size, k, d, SUM)
        h_i = load_matrix(state, i, size, k, d, SUM)
        g = load_matrix(grad, i, size, k, d, SUM)
        g_x, g_h, keep = gradients(
            g,
            _products(x_i, weight_x, bias_x, SUM, PRECISION),
            _products(h_i, weight_h, bias_h, SUM, PRECISION),
            h_i,
        )
        to_x = _to_nodes(g_x, weight_x, SUM, PRECISION)
        to_h = _to_nodes(g_h, weight_h, SUM, PRECISION)
        _store(grad_x, to_x, i, size, k, d)
        _store(grad_state, to_h + keep, i, size, k, d)
        x_reset += _to_weight(g_x[0], x_i, SUM, PRECISION)
        x_update += _to_weight(g_x[1], x_i, SUM, PRECISION)
        x_last += _to_weight(g_x[2], x_i, SUM, PRECISION)
        h_reset += _to_weight(g_h[0], h_i, SUM, PRECISION)
        h_update += _to_weight(g_h[1], h_i, SUM, PRECISION)
        h_last += _to_weight(g_h[2], h_i, SUM, PRECISION)
        sum_reset += tl.sum(g_x[0], axis=0)
        sum_update += tl.sum(g_x[1], axis=0)
        sum_x += tl.sum(g_x[2], axis=0)
        sum_h += tl.sum(g_h[2], axis=0)
    # The weights of a group are rows, those of a gate d of them:
    row = tl.cast(group, tl.int64) * 3 * d
    grad_weight_ih += row * d
    grad_weight_hh += row * d
    _store(grad_weight_ih, x_reset, k, d, k, d)
    _store(grad_weight_ih + d * d, x_update, k, d, k, d)
    _store(grad_weight_ih + 2 * d * d, x_last, k, d, k, d)
    _store(grad_weight_hh, h_reset, k, d, k, d)
    _store(grad_weight_hh + d * d, h_update, k, d, k, d)
    _store(grad_weight_hh + 2 * d * d, h_last, k, d, k, d)
    grad_bias_ih += row + k
    grad_bias_hh += row + k
    tl.store(grad_bias_ih, sum_reset, mask=k < d)
    tl.store(grad_bias_ih + d, sum_update, mask=k < d)
    tl.store(grad_bias_ih + 2 * d, sum_x, mask=k < d)
    tl.store(grad_bias_hh, sum_reset, mask=k < d)
    tl.store(grad_bias_hh + d, sum_update, mask=k < d)
    tl.store(grad_bias_hh + 2 * d, sum_h, mask=k < d)

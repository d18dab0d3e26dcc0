r"""The scores of all pairs of nodes on a GPU.

A program takes the pairs of a few nodes with a few others as the rows of a
matrix, and the hidden layer in tiles that are never stored. Forward takes each
pair once. Backward takes it twice, as the gradient of a node is the sum over
all others; what reaches parameters goes to sums of each program.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    arithmetic,
    groups,
    load_matrix,
    load_vector,
    on_its_device,
    padded,
    sums,
    tile,
)

# The pairs of at most so many nodes with as many others are the rows of a
# product with at most so many hidden units:
_NODES = 8
_HIDDEN = 64


@on_its_device
def forward(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.pair_score`."""
    size, n, d = x.size()
    out = x.new_empty(size, n, n)
    tensors = [v.contiguous() for v in (x, weight, bias, att, att_bias)]
    tiles = _tiles(x, weight)
    if out.numel() > 0:
        _forward[size, triton.cdiv(n, tiles['T'])](
            *tensors, out, n, d, weight.size(0), **tiles
        )
    return out


@on_its_device
def backward(
    grad: Tensor,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    att: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    r"""The gradients of what :func:`forward` takes; where :obj:`out` is zero,
    as behind a selection, nothing flows.
    """
    size, n, d = x.size()
    h = weight.size(0)
    tiles = _tiles(x, weight)
    num_tiles = triton.cdiv(n, tiles['T'])
    num_hidden = triton.cdiv(h, tiles['H'])
    num_groups = groups(size, num_tiles * num_hidden)
    # Each tile of the hidden layer has gradients of its own for nodes, each
    # group of rows for parameters:
    grad_x = sums(x, num_hidden, size, n, d)
    programs = num_groups * num_tiles
    grad_weight = sums(x, programs, h, d)
    grad_bias = sums(x, programs, h)
    grad_att = sums(x, programs, h)
    grad_att_bias = sums(x, num_hidden, programs)
    if grad.numel() > 0:
        _backward[num_groups, num_tiles, num_hidden](
            *(v.contiguous() for v in (grad, out, x, weight, bias, att)),
            grad_x,
            grad_weight,
            grad_bias,
            grad_att,
            grad_att_bias,
            size,
            n,
            d,
            h,
            **tiles,
        )
    return (
        grad_x.sum(0).to(x.dtype),
        grad_weight.sum(0).to(weight.dtype),
        grad_bias.sum(0).to(bias.dtype),
        grad_att.sum(0).to(att.dtype),
        grad_att_bias[0].sum(0, keepdim=True).to(att.dtype),
    )


def _tiles(x: Tensor, weight: Tensor) -> dict[str, Any]:
    return {
        'T': _NODES if tile(x, _NODES**2, 2048) == _NODES**2 else _NODES // 2,
        'D': padded(x.size(2)),
        'H': min(tile(x, _HIDDEN), padded(weight.size(0))),
        **arithmetic(x),
    }


@triton.jit
def _products(x_i, x_j, T: tl.constexpr, D: tl.constexpr):
    return tl.reshape(x_i[:, None, :] * x_j[None, :, :], (T * T, D))


@triton.jit
def _before_sigmoid(grad, out, i, j, n, SUM: tl.constexpr):
    # Gradients of what the sigmoid is taken of, zero if the output was set to
    # zero by a selection.
    y = load_matrix(out, i, n, j, n, SUM)
    return load_matrix(grad, i, n, j, n, SUM) * y * (1 - y)


@triton.jit
def _forward(
    x,
    weight,
    bias,
    att,
    att_bias,
    out,
    n,
    d,
    h,
    T: tl.constexpr,
    D: tl.constexpr,
    H: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x += row * n * d
    out += row * n * n
    first = tl.program_id(1) * T
    c = tl.arange(0, D)
    i = first + tl.arange(0, T)
    x_i = load_matrix(x, i, n, c, d, SUM)
    for start in range(first, n, T):
        j = start + tl.arange(0, T)
        x_j = load_matrix(x, j, n, c, d, SUM)
        pairs = _products(x_i, x_j, T, D)
        score = tl.zeros((T * T,), SUM) + tl.load(att_bias).to(SUM)
        for start_hidden in range(0, h, H):
            k = start_hidden + tl.arange(0, H)
            w = load_matrix(weight, k, h, c, d, SUM)
            hidden = tl.dot(
                pairs, tl.trans(w), input_precision=PRECISION, out_dtype=SUM
            )
            hidden += load_vector(bias, k, h, SUM)[None, :]
            a = load_vector(att, k, h, SUM)
            score += tl.sum(tl.maximum(hidden, 0) * a[None, :], axis=1)
        score = tl.reshape(tl.sigmoid(score), (T, T))
        i_, j_ = i[:, None], j[None, :]
        # Both entries of a pair are the same number:
        mask = (j_ < n) & (i_ <= j_)
        tl.store(out + i_ * n + j_, score, mask=mask)
        tl.store(out + j_ * n + i_, score, mask=mask & (i_ < j_))


@triton.jit
def _backward(
    grad,
    out,
    x,
    weight,
    bias,
    att,
    grad_x,
    grad_weight,
    grad_bias,
    grad_att,
    grad_att_bias,
    size,
    n,
    d,
    h,
    T: tl.constexpr,
    D: tl.constexpr,
    H: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    num_groups = tl.num_programs(0)
    program = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    num_programs = num_groups * tl.num_programs(1)
    hidden_tile = tl.program_id(2)
    c = tl.arange(0, D)
    i = tl.program_id(1) * T + tl.arange(0, T)
    k = hidden_tile * H + tl.arange(0, H)
    w = load_matrix(weight, k, h, c, d, SUM)
    b = load_vector(bias, k, h, SUM)
    a = load_vector(att, k, h, SUM)
    sum_weight = tl.zeros((H, D), SUM)
    sum_bias = tl.zeros((H,), SUM)
    sum_att = tl.zeros((H,), SUM)
    sum_all = tl.zeros((T * T,), SUM)
    for row in range(tl.program_id(0), size, num_groups):
        nodes = tl.cast(row, tl.int64) * n
        x_i = load_matrix(x + nodes * d, i, n, c, d, SUM)
        sum_x = tl.zeros((T, D), SUM)
        for start in range(0, n, T):
            j = start + tl.arange(0, T)
            x_j = load_matrix(x + nodes * d, j, n, c, d, SUM)
            pairs = _products(x_i, x_j, T, D)
            # Both entries of a symmetric pair flow into its score:
            g = _before_sigmoid(grad + nodes * n, out + nodes * n, i, j, n, SUM)
            other = _before_sigmoid(
                grad + nodes * n, out + nodes * n, j, i, n, SUM
            )
            g = tl.reshape(g + tl.trans(other), (T * T,))
            hidden = (
                tl.dot(
                    pairs, tl.trans(w), input_precision=PRECISION, out_dtype=SUM
                )
                + b[None, :]
            )
            sum_all += g
            sum_att += tl.sum(tl.maximum(hidden, 0) * g[:, None], axis=0)
            g_hidden = tl.where(hidden > 0, g[:, None] * a[None, :], 0)
            sum_bias += tl.sum(g_hidden, axis=0)
            sum_weight += tl.dot(
                tl.trans(g_hidden),
                pairs,
                input_precision=PRECISION,
                out_dtype=SUM,
            )
            g_pairs = tl.dot(
                g_hidden, w, input_precision=PRECISION, out_dtype=SUM
            )
            g_pairs = tl.reshape(g_pairs, (T, T, D)) * x_j[None, :, :]
            sum_x += tl.sum(g_pairs, axis=1)
        mask = (i < n)[:, None] & (c < d)[None, :]
        place = tl.cast(hidden_tile, tl.int64) * size * n + nodes
        place = place * d + i[:, None] * d + c[None, :]
        tl.store(grad_x + place, sum_x, mask=mask)
    # Each pair was met from both of its ends:
    place = tl.cast(program, tl.int64) * h + k
    tl.store(grad_bias + place, sum_bias / 2, mask=k < h)
    tl.store(grad_att + place, sum_att / 2, mask=k < h)
    mask = (k < h)[:, None] & (c < d)[None, :]
    place = place[:, None] * d + c[None, :]
    tl.store(grad_weight + place, sum_weight / 2, mask=mask)
    place = hidden_tile * num_programs + program
    tl.store(grad_att_bias + place, tl.sum(sum_all) / 2)

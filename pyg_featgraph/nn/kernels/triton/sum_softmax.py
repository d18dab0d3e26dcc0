r"""Attention by a sum of the scores of both ends on a GPU.

A program has some targets and all sources. In backward it has all targets of a
row, one tile after the other, as what a source gets is a sum over them.
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
)

# Pairs of a tile:
_PAIRS = 2048


@on_its_device
def forward(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.sum_softmax`."""
    size, n = target.size()
    m = source.size(1)
    out = target.new_empty(size, n, m)
    tiles = _tiles(target, m)
    if out.numel() > 0:
        _forward[size, triton.cdiv(n, tiles['T'])](
            target.contiguous(),
            source.contiguous(),
            None if keep is None else keep.contiguous(),
            out,
            negative_slope,
            0 if keep is None or keep.size(0) == 1 else n * m,
            n,
            m,
            **tiles,
        )
    return out


@on_its_device
def backward(
    grad: Tensor,
    out: Tensor,
    target: Tensor,
    source: Tensor,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    r"""The gradients of the scores."""
    size, n = target.size()
    m = source.size(1)
    inputs = [v.contiguous() for v in (grad, out, target, source)]
    grad_target, grad_source = (torch.zeros_like(v) for v in inputs[2:])
    if source.numel() > 0:
        _backward[(size,)](
            *inputs,
            grad_target,
            grad_source,
            negative_slope,
            n,
            m,
            **_tiles(target, m),
        )
    return grad_target, grad_source


def _tiles(target: Tensor, m: int) -> dict[str, Any]:
    columns = triton.next_power_of_2(max(1, m))
    rows = triton.next_power_of_2(max(1, target.size(1)))
    return {
        'T': max(1, min(rows, _PAIRS // columns)),
        'M': columns,
        'SUM': arithmetic(target)['SUM'],
    }


@triton.jit
def _logits(t, s, slope):
    score = t[:, None] + s[None, :]
    return score, tl.where(score > 0, score, slope * score)


@triton.jit
def _forward(
    target,
    source,
    keep,
    out,
    slope,
    keep_row,
    n,
    m,
    T: tl.constexpr,
    M: tl.constexpr,
    SUM: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * T + tl.arange(0, T)
    j = tl.arange(0, M)
    t = load_vector(target + b * n, i, n, SUM)
    s = load_vector(source + b * m, j, m, SUM)
    where = i[:, None] * m + j[None, :]
    inside = (i < n)[:, None] & (j < m)[None, :]
    kept = inside
    if keep is not None:
        kept &= tl.load(keep + b * keep_row + where, mask=inside, other=0) != 0
    _, logit = _logits(t, s, slope)
    logit = tl.where(kept, logit, float('-inf'))
    high = tl.max(logit, axis=1)
    # A target without sources has zeros only:
    high = tl.where(high == float('-inf'), 0, high)
    power = tl.exp(logit - high[:, None])
    total = tl.sum(power, axis=1)
    alpha = power / tl.where(total == 0, 1, total)[:, None]
    tl.store(out + b * n * m + where, alpha, mask=inside)


@triton.jit
def _backward(
    grad,
    out,
    target,
    source,
    grad_target,
    grad_source,
    slope,
    n,
    m,
    T: tl.constexpr,
    M: tl.constexpr,
    SUM: tl.constexpr,
):
    b = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, M)
    s = load_vector(source + b * m, j, m, SUM)
    sum_source = tl.zeros((M,), SUM)
    for start in range(0, n, T):
        i = start + tl.arange(0, T)
        t = load_vector(target + b * n, i, n, SUM)
        alpha = load_matrix(out + b * n * m, i, n, j, m, SUM)
        g = load_matrix(grad + b * n * m, i, n, j, m, SUM)
        # What is left out has a weight of zero and so no gradient:
        g_logit = alpha * (g - tl.sum(alpha * g, axis=1)[:, None])
        score, _ = _logits(t, s, slope)
        g_score = tl.where(score > 0, g_logit, slope * g_logit)
        tl.store(grad_target + b * n + i, tl.sum(g_score, axis=1), mask=i < n)
        sum_source += tl.sum(g_score, axis=0)
    tl.store(grad_source + b * m + j, sum_source, mask=j < m)

r"""Attention of queries over the nodes of weighted subsets on a GPU.

A program has the queries of a subset, or some of them if they are many, and
takes nodes in tiles. Backward has one kernel for what nodes and their weights
get, which goes through all queries, and one for what queries and thresholds
get, which goes through rows and leaves the sums of each program.
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
    on_its_device,
    padded,
    sums,
    tile,
)

_NODES = 16
_QUERIES = 64


@on_its_device
def forward(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.induced_set_attention`."""
    size, n, d = x.size()
    sets, queries, _ = query.size()
    out = x.new_empty(size, sets, queries, d)
    tiles = _tiles(x, query)
    if out.numel() > 0:
        _forward[size, sets, triton.cdiv(queries, tiles['E'])](
            *(v.contiguous() for v in (x, weight, query, threshold)),
            out,
            n,
            d,
            sets,
            queries,
            **tiles,
        )
    return out


@on_its_device
def backward(
    grad: Tensor, x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""The gradients of what :func:`forward` takes."""
    size, n, d = x.size()
    sets, queries, _ = query.size()
    tiles = _tiles(x, query)
    num_tiles = triton.cdiv(n, _NODES)
    num_queries = triton.cdiv(queries, tiles['E'])
    num_groups = groups(size, sets * num_queries * num_tiles)
    grad_x = x.new_zeros(x.size())
    grad_weight = weight.new_zeros(weight.size())
    grad_query = sums(x, num_groups, num_tiles, *query.size())
    grad_threshold = sums(x, num_groups, *threshold.size())
    inputs = [v.contiguous() for v in (grad, x, weight, query, threshold)]
    if grad.numel() > 0:
        _backward_nodes[size, num_tiles](
            *inputs, grad_x, grad_weight, n, d, sets, queries, **tiles
        )
        _backward_queries[num_groups, num_tiles, sets * num_queries](
            *inputs,
            grad_query,
            grad_threshold,
            size,
            n,
            d,
            sets,
            queries,
            **tiles,
        )
    return (
        grad_x,
        grad_weight,
        grad_query.sum((0, 1)).to(query.dtype),
        grad_threshold.sum(0).to(threshold.dtype),
    )


def _tiles(x: Tensor, query: Tensor) -> dict[str, Any]:
    return {
        'T': _NODES,
        'D': padded(x.size(2)),
        'E': min(tile(x, _QUERIES, 2048), padded(query.size(1))),
        **arithmetic(x),
    }


@triton.jit
def _score(
    x,
    weight,
    query,
    threshold,
    row,
    s,
    j,
    e,
    c,
    n,
    d,
    sets,
    queries,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    # Nodes [T, D], their weights [T, 1], queries [E, D], their products and
    # the scores [T, E].
    x_j = load_matrix(x + row * n * d, j, n, c, d, SUM)
    w = tl.load(weight + (row * n + j) * sets + s, mask=j < n, other=0)
    w = w.to(SUM)[:, None]
    q = load_matrix(query + s * queries * d, e, queries, c, d, SUM)
    where = (j[:, None] * sets + s) * queries + e[None, :]
    mask = (j < n)[:, None] & (e < queries)[None, :]
    t = tl.load(threshold + where, mask=mask, other=0).to(SUM)
    dot = tl.dot(x_j, tl.trans(q), input_precision=PRECISION, out_dtype=SUM)
    # Beyond the last node and query there is nothing to score:
    score = tl.where(mask, tl.maximum(dot * w - t, 0), 0)
    return x_j, w, q, dot, score


@triton.jit
def _forward(
    x,
    weight,
    query,
    threshold,
    out,
    n,
    d,
    sets,
    queries,
    T: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    s = tl.program_id(1)
    e = tl.program_id(2) * E + tl.arange(0, E)
    c = tl.arange(0, D)
    summed = tl.zeros((E, D), SUM)
    for start in range(0, n, T):
        j = start + tl.arange(0, T)
        x_j, w, _, _, score = _score(
            x,
            weight,
            query,
            threshold,
            row,
            s,
            j,
            e,
            c,
            n,
            d,
            sets,
            queries,
            SUM,
            PRECISION,
        )
        summed += tl.dot(
            tl.trans(score * w), x_j, input_precision=PRECISION, out_dtype=SUM
        )
    where = ((row * sets + s) * queries + e)[:, None] * d + c[None, :]
    mask = (e < queries)[:, None] & (c < d)[None, :]
    tl.store(out + where, summed, mask=mask)


@triton.jit
def _backward_nodes(
    grad,
    x,
    weight,
    query,
    threshold,
    grad_x,
    grad_weight,
    n,
    d,
    sets,
    queries,
    T: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    j = tl.program_id(1) * T + tl.arange(0, T)
    c = tl.arange(0, D)
    sum_x = tl.zeros((T, D), SUM)
    for s in range(sets):
        sum_weight = tl.zeros((T,), SUM)
        for start in range(0, queries, E):
            e = start + tl.arange(0, E)
            x_j, w, q, dot, score = _score(
                x,
                weight,
                query,
                threshold,
                row,
                s,
                j,
                e,
                c,
                n,
                d,
                sets,
                queries,
                SUM,
                PRECISION,
            )
            place = (row * sets + s) * queries * d
            g = load_matrix(grad + place, e, queries, c, d, SUM)
            g_alpha = tl.dot(
                x_j, tl.trans(g), input_precision=PRECISION, out_dtype=SUM
            )
            # Nothing passes a pruned edge:
            g_score = tl.where(score > 0, g_alpha * w, 0)
            sum_weight += tl.sum(g_alpha * score + dot * g_score, axis=1)
            sum_x += tl.dot(
                score * w, g, input_precision=PRECISION, out_dtype=SUM
            )
            sum_x += tl.dot(
                g_score * w, q, input_precision=PRECISION, out_dtype=SUM
            )
        place = (row * n + j) * sets + s
        tl.store(grad_weight + place, sum_weight, mask=j < n)
    mask = (j < n)[:, None] & (c < d)[None, :]
    tl.store(grad_x + (row * n + j)[:, None] * d + c[None, :], sum_x, mask=mask)


@triton.jit
def _backward_queries(
    grad,
    x,
    weight,
    query,
    threshold,
    grad_query,
    grad_threshold,
    size,
    n,
    d,
    sets,
    queries,
    T: tl.constexpr,
    D: tl.constexpr,
    E: tl.constexpr,
    SUM: tl.constexpr,
    PRECISION: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64)
    num_tiles = tl.cdiv(queries, E)
    s = tl.program_id(2) // num_tiles
    e = tl.program_id(2) % num_tiles * E + tl.arange(0, E)
    j = tl.program_id(1) * T + tl.arange(0, T)
    c = tl.arange(0, D)
    sum_query = tl.zeros((E, D), SUM)
    sum_threshold = tl.zeros((T, E), SUM)
    for row in range(tl.program_id(0), size, tl.num_programs(0)):
        row = tl.cast(row, tl.int64)
        x_j, w, _, _, score = _score(
            x,
            weight,
            query,
            threshold,
            row,
            s,
            j,
            e,
            c,
            n,
            d,
            sets,
            queries,
            SUM,
            PRECISION,
        )
        place = (row * sets + s) * queries * d
        g = load_matrix(grad + place, e, queries, c, d, SUM)
        g_alpha = tl.dot(
            x_j, tl.trans(g), input_precision=PRECISION, out_dtype=SUM
        )
        g_score = tl.where(score > 0, g_alpha * w, 0)
        sum_threshold -= g_score
        sum_query += tl.dot(
            tl.trans(g_score * w), x_j, input_precision=PRECISION, out_dtype=SUM
        )
    tile = group * tl.num_programs(1) + tl.program_id(1)
    where = ((tile * sets + s) * queries + e)[:, None] * d + c[None, :]
    mask = (e < queries)[:, None] & (c < d)[None, :]
    tl.store(grad_query + where, sum_query, mask=mask)
    where = ((group * n + j)[:, None] * sets + s) * queries + e[None, :]
    mask = (j < n)[:, None] & (e < queries)[None, :]
    tl.store(grad_threshold + where, sum_threshold, mask=mask)

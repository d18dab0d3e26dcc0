r"""Sums of products of node vectors, for many small sets of nodes, on a GPU.

Every set has a lane of its own, in one launch for all: the groups by which the
portable form saves products would be launches of their own here, and the nodes
of a row stay in the cache. In backward each node goes through the sets that it
is in, so that nothing is added from several programs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import (
    arithmetic,
    groups,
    on_its_device,
    sums,
)

# Rows, sets and channels of a tile:
_ROWS = 16
_SETS = 16
_CHANNELS = 16


@on_its_device
def forward(
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
) -> Tensor:
    r"""As the operator behind
    :func:`~pyg_featgraph.nn.kernels.tuple_product`, with shape
    :math:`(B, Q)`.
    """
    size, n, d = x.size()
    num = other.numel()
    out = x.new_empty(size, num)
    sets = _members(other, inverse, shared, ptr)
    if out.numel() > 0:
        _forward[triton.cdiv(size, _ROWS), triton.cdiv(num, _SETS)](
            x.contiguous(),
            None if weight is None else weight.contiguous(),
            sets,
            out,
            size,
            n,
            d,
            num,
            MEMBERS=sets.size(1),
            **_tiles(x),
        )
    return out


@on_its_device
def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
) -> tuple[Tensor, Tensor]:
    r"""The gradients of :obj:`x` and :obj:`weight`, the latter empty if there
    is none.
    """
    size, n, d = x.size()
    num = other.numel()
    sets = _members(other, inverse, shared, ptr)
    tiles = _tiles(x)
    grad, x = grad.contiguous(), x.contiguous()
    weight = None if weight is None else weight.contiguous()
    # The sets of each node, one node after the other:
    node, order = sets.flatten().sort(stable=True)
    begin = torch.searchsorted(node, torch.arange(n + 1, device=x.device))
    grad_x = torch.empty_like(x)
    if grad_x.numel() > 0:
        _backward_nodes[triton.cdiv(size, _ROWS), n, triton.cdiv(d, _CHANNELS)](
            grad,
            x,
            weight,
            sets,
            order // sets.size(1),
            begin,
            grad_x,
            size,
            n,
            d,
            num,
            MEMBERS=sets.size(1),
            **tiles,
        )
    if weight is None:
        return grad_x, x.new_empty(0)
    blocks = triton.cdiv(num, _SETS) * triton.cdiv(d, _CHANNELS)
    num_groups = groups(triton.cdiv(size, _ROWS), blocks)
    grad_weight = sums(x, num_groups, num, d)
    if grad.numel() > 0:
        _backward_weight[
            num_groups, triton.cdiv(num, _SETS), triton.cdiv(d, _CHANNELS)
        ](
            grad,
            x,
            sets,
            grad_weight,
            size,
            n,
            d,
            num,
            MEMBERS=sets.size(1),
            **tiles,
        )
    return grad_x, grad_weight.sum(0).to(weight.dtype)


def _members(
    other: Tensor, inverse: Tensor, shared: list[int], ptr: list[int]
) -> Tensor:
    # The members of each set, [Q, p]: those of its group and the other one.
    common = torch.tensor(shared).view(len(ptr) - 1, -1)
    count = torch.tensor([end - begin for begin, end in pairwise(ptr)])
    common = common.repeat_interleave(count, dim=0).to(other.device)
    members = torch.cat([common, other.unsqueeze(1)], dim=1).int()
    return members.index_select(0, inverse)


def _tiles(x: Tensor) -> dict[str, Any]:
    return {
        'ROWS': _ROWS,
        'SETS': _SETS,
        'C': _CHANNELS,
        'SUM': arithmetic(x)['SUM'],
    }


@triton.jit
def _products(
    x,
    sets,
    b,
    q,
    c,
    size,
    n,
    d,
    num,
    MEMBERS: tl.constexpr,
    SUM: tl.constexpr,
):
    # The products of the members of each set, [ROWS, SETS, C].
    row = b.to(tl.int64)[:, None, None] * n
    mask = (b < size)[:, None, None] & (c < d)[None, None, :]
    mask &= (q < num)[None, :, None]
    out = tl.full(mask.shape, 1, SUM)
    for k in tl.static_range(MEMBERS):
        node = tl.load(sets + q * MEMBERS + k, mask=q < num, other=0)
        where = (row + node[None, :, None]) * d + c[None, None, :]
        out *= tl.load(x + where, mask=mask, other=0).to(SUM)
    return out


@triton.jit
def _forward(
    x,
    weight,
    sets,
    out,
    size,
    n,
    d,
    num,
    MEMBERS: tl.constexpr,
    ROWS: tl.constexpr,
    SETS: tl.constexpr,
    C: tl.constexpr,
    SUM: tl.constexpr,
):
    b = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    q = tl.program_id(1) * SETS + tl.arange(0, SETS)
    summed = tl.zeros((ROWS, SETS), SUM)
    for start in range(0, d, C):
        c = start + tl.arange(0, C)
        terms = _products(x, sets, b, q, c, size, n, d, num, MEMBERS, SUM)
        if weight is not None:
            mask = (q < num)[:, None] & (c < d)[None, :]
            where = q[:, None] * d + c[None, :]
            w = tl.load(weight + where, mask=mask, other=0).to(SUM)
            terms *= w[None, :, :]
        summed += tl.sum(terms, axis=2)
    where = b.to(tl.int64)[:, None] * num + q[None, :]
    mask = (b < size)[:, None] & (q < num)[None, :]
    tl.store(out + where, summed, mask=mask)


@triton.jit
def _backward_nodes(
    grad,
    x,
    weight,
    sets,
    set_of,
    begin,
    grad_x,
    size,
    n,
    d,
    num,
    MEMBERS: tl.constexpr,
    ROWS: tl.constexpr,
    SETS: tl.constexpr,
    C: tl.constexpr,
    SUM: tl.constexpr,
):
    b = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    node = tl.program_id(1)
    c = tl.program_id(2) * C + tl.arange(0, C)
    row = b.to(tl.int64)[:, None] * n
    mask = (b < size)[:, None] & (c < d)[None, :]
    summed = tl.zeros((ROWS, C), SUM)
    for place in range(tl.load(begin + node), tl.load(begin + node + 1)):
        q = tl.load(set_of + place)
        where = b.to(tl.int64) * num + q
        g = tl.load(grad + where, mask=b < size, other=0).to(SUM)
        term = tl.broadcast_to(g[:, None], (ROWS, C))
        if weight is not None:
            w = tl.load(weight + q * d + c, mask=c < d, other=0).to(SUM)
            term *= w[None, :]
        for k in tl.static_range(MEMBERS):
            member = tl.load(sets + q * MEMBERS + k)
            where = (row + member) * d + c[None, :]
            others = tl.load(x + where, mask=mask, other=0).to(SUM)
            term *= tl.where(member == node, 1, others)
        summed += term
    tl.store(grad_x + (row + node) * d + c[None, :], summed, mask=mask)


@triton.jit
def _backward_weight(
    grad,
    x,
    sets,
    grad_weight,
    size,
    n,
    d,
    num,
    MEMBERS: tl.constexpr,
    ROWS: tl.constexpr,
    SETS: tl.constexpr,
    C: tl.constexpr,
    SUM: tl.constexpr,
):
    group = tl.program_id(0)
    q = tl.program_id(1) * SETS + tl.arange(0, SETS)
    c = tl.program_id(2) * C + tl.arange(0, C)
    summed = tl.zeros((SETS, C), SUM)
    for start in range(group * ROWS, size, tl.num_programs(0) * ROWS):
        b = start + tl.arange(0, ROWS)
        terms = _products(x, sets, b, q, c, size, n, d, num, MEMBERS, SUM)
        where = b.to(tl.int64)[:, None] * num + q[None, :]
        mask = (b < size)[:, None] & (q < num)[None, :]
        g = tl.load(grad + where, mask=mask, other=0).to(SUM)
        summed += tl.sum(terms * g[:, :, None], axis=0)
    place = tl.cast(group, tl.int64) * num + q
    mask = (q < num)[:, None] & (c < d)[None, :]
    tl.store(grad_weight + place[:, None] * d + c[None, :], summed, mask=mask)

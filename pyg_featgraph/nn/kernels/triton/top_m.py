r"""The m largest weights of each row on a GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton.common import arithmetic, on_its_device

# Entries of a program, and how many others they are compared with at a time:
_ENTRIES = 512
_OTHERS = 8


@on_its_device
def forward(weight: Tensor, m: int, keep_ties: bool) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.top_m`."""
    n = weight.size(-1)
    weight = weight.contiguous()
    out = torch.empty_like(weight)
    if m >= n or out.numel() == 0:
        return out.copy_(weight)
    size = weight.numel() // n
    columns = triton.next_power_of_2(n)
    rows = max(1, _ENTRIES // columns)
    _forward[(triton.cdiv(size, rows),)](
        weight,
        out,
        size,
        n,
        m,
        # Entries are equal if they differ by no more than that:
        SLACK=16 * torch.finfo(weight.dtype).eps,
        KEEP_TIES=keep_ties,
        ROWS=rows,
        N=columns,
        K=_OTHERS,
        SUM=arithmetic(weight)['SUM'],
    )
    return out


def backward(grad: Tensor, out: Tensor) -> Tensor:
    r"""The gradient of what :func:`forward` takes."""
    return torch.where(out != 0, grad, 0).contiguous()


@triton.jit
def _forward(
    weight,
    out,
    size,
    n,
    m,
    SLACK: tl.constexpr,
    KEEP_TIES: tl.constexpr,
    ROWS: tl.constexpr,
    N: tl.constexpr,
    K: tl.constexpr,
    SUM: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, N)[None, :]
    mask = (row < size)[:, None] & (column < n)
    place = row[:, None] * n + column
    w = tl.load(weight + place, mask=mask, other=0)
    score = tl.where(w == 0, float('-inf'), w.to(SUM))
    # How many are not less than each entry:
    count = tl.zeros((ROWS, N), tl.int32)
    for start in range(0, n, K):
        other = start + tl.arange(0, K)[None, :]
        mask_other = (row < size)[:, None] & (other < n)
        v = tl.load(weight + row[:, None] * n + other, mask=mask_other, other=0)
        v = tl.where(v == 0, float('-inf'), v.to(SUM))
        no_less = (v[:, None, :] >= score[:, :, None]).to(tl.int32)
        no_less = tl.where((other < n)[:, None, :], no_less, 0)
        count += tl.sum(no_less, axis=2)
    cut = tl.max(tl.where(count >= m, score, float('-inf')), axis=1)
    # The slack has the precision of the weights:
    gap = (SLACK * tl.abs(cut)).to(w.dtype).to(SUM)
    gap = tl.where(gap == float('inf'), 0, gap)
    low = (cut - gap).to(w.dtype).to(SUM)[:, None]
    high = (cut + gap).to(w.dtype).to(SUM)[:, None]
    above = (score > high).to(tl.int32)
    equal = (score >= low).to(tl.int32) - above
    room = m - tl.sum(above, axis=1)[:, None]
    keep = (above + equal) > 0
    if not KEEP_TIES:
        keep &= (above > 0) | (tl.cumsum(equal, axis=1) <= room)
    tl.store(out + place, tl.where(keep, w, 0), mask=mask)

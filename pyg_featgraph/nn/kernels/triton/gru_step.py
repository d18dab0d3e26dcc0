r"""A step of a gated recurrent unit with a residual on a GPU.

Where states are small, all of it is one pass over them (``narrow_gru.py``).
Beyond, the products wait for arithmetic rather than for memory: they are left
to torch, and all that is done to them is one pass.
"""

from __future__ import annotations

import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from pyg_featgraph.nn.kernels.triton import narrow_gru
from pyg_featgraph.nn.kernels.triton.common import (
    accumulator,
    on_its_device,
)
from pyg_featgraph.nn.kernels.triton.gru_gates import gates, gradients

_NARROW = 32
# Numbers of a program:
_SIZE = 512


@on_its_device
def forward(x: Tensor, state: Tensor, first: Tensor, *gru: Tensor) -> Tensor:
    r"""As :func:`~pyg_featgraph.nn.kernels.gru_step`."""
    if x.size(1) <= _NARROW:
        return narrow_gru.forward(x, state, first, *gru)
    by_input, by_state = _products(x, state, *gru)
    out = x.new_empty(x.size())
    if out.numel() > 0:
        _forward[(triton.cdiv(x.numel(), _SIZE),)](
            by_input,
            by_state,
            state.contiguous(),
            first.contiguous(),
            out,
            x.numel(),
            x.size(1),
            SIZE=_SIZE,
        )
    return out


@on_its_device
def backward(
    grad: Tensor, x: Tensor, state: Tensor, *gru: Tensor
) -> tuple[Tensor, ...]:
    r"""The gradients of what :func:`forward` takes but the residual."""
    if x.size(1) <= _NARROW:
        return narrow_gru.backward(grad, x, state, *gru)
    # From the kernel on they hold their gradients:
    by_input, by_state = _products(x, state, *gru)
    keep = by_input.new_empty(x.size())
    if grad.numel() > 0:
        _backward[(triton.cdiv(x.numel(), _SIZE),)](
            grad.contiguous(),
            by_input,
            by_state,
            state.contiguous(),
            keep,
            x.numel(),
            x.size(1),
            SIZE=_SIZE,
        )
    weight_ih, weight_hh = (v.to(keep.dtype) for v in gru[:2])
    grads = (
        by_input @ weight_ih,
        keep.addmm_(by_state, weight_hh),
        by_input.t() @ x.to(keep.dtype),
        by_state.t() @ state.to(keep.dtype),
        by_input.sum(dim=0),
        by_state.sum(dim=0),
    )
    return tuple(
        g.to(v.dtype) for g, v in zip(grads, (x, state, *gru), strict=True)
    )


def _products(x: Tensor, state: Tensor, *gru: Tensor) -> list[Tensor]:
    weights = gru[::2], gru[1::2]
    given = [
        [v.to(accumulator(x)) for v in (nodes, *some)]
        for nodes, some in zip((x, state), weights, strict=True)
    ]
    return [F.linear(*some) for some in given]


@triton.jit
def _places(numbers, d, SIZE: tl.constexpr):
    # Numbers of all nodes, where their products for the first gate are, and
    # which numbers there are.
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    return place, place // d * 3 * d + place % d, place < numbers


@triton.jit
def _load_products(pointer, d, mask):
    return (
        tl.load(pointer, mask=mask, other=0),
        tl.load(pointer + d, mask=mask, other=0),
        tl.load(pointer + 2 * d, mask=mask, other=0),
    )


@triton.jit
def _store_products(pointer, d, products, mask):
    tl.store(pointer, products[0], mask=mask)
    tl.store(pointer + d, products[1], mask=mask)
    tl.store(pointer + 2 * d, products[2], mask=mask)


@triton.jit
def _load(pointer, place, mask, like):
    return tl.load(pointer + place, mask=mask, other=0).to(like.dtype)


@triton.jit
def _forward(
    by_input, by_state, state, first, out, numbers, d, SIZE: tl.constexpr
):
    place, product, mask = _places(numbers, d, SIZE)
    _, update, candidate = gates(
        _load_products(by_input + product, d, mask),
        _load_products(by_state + product, d, mask),
    )
    before = _load(state, place, mask, update)
    after = candidate + update * (before - candidate)
    after += _load(first, place, mask, update)
    tl.store(out + place, after, mask=mask)


@triton.jit
def _backward(
    grad, by_input, by_state, state, keep, numbers, d, SIZE: tl.constexpr
):
    place, product, mask = _places(numbers, d, SIZE)
    by_x = _load_products(by_input + product, d, mask)
    by_h = _load_products(by_state + product, d, mask)
    g_x, g_h, past = gradients(
        _load(grad, place, mask, by_x[0]),
        by_x,
        by_h,
        _load(state, place, mask, by_x[0]),
    )
    _store_products(by_input + product, d, g_x, mask)
    _store_products(by_state + product, d, g_h, mask)
    tl.store(keep + place, past, mask=mask)

r"""A step of a gated recurrent unit, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call


def forward(x: Tensor, state: Tensor, first: Tensor, *gru: Tensor) -> Tensor:
    out = x.new_empty(x.size())
    call('gru_step', x, state, first, *gru, out, *x.size())
    return out


def backward(
    grad: Tensor, x: Tensor, state: Tensor, *gru: Tensor
) -> tuple[Tensor, ...]:
    grads = tuple(v.new_empty(v.size()) for v in (x, state, *gru))
    call('gru_step_backward', grad, x, state, *gru, *grads, *x.size())
    return grads

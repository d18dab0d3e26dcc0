r"""A step of a gated recurrent unit, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(x: Tensor, state: Tensor, first: Tensor, *gru: Tensor) -> Tensor:
    d = x.size(1)
    check_sizes((state, x.shape), (first, x.shape))
    check_sizes(*zip(gru, [(3 * d, d)] * 2 + [(3 * d,)] * 2, strict=True))
    out = x.new_empty(x.size())
    call('gru_step', x, state, first, *gru, out, *x.size())
    return out


def backward(
    grad: Tensor, x: Tensor, state: Tensor, *gru: Tensor
) -> tuple[Tensor, ...]:
    grads = tuple(v.new_empty(v.size()) for v in (x, state, *gru))
    call('gru_step_backward', grad, x, state, *gru, *grads, *x.size())
    return grads

r"""The m largest entries of each row of a matrix, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call


def forward(weight: Tensor, m: int, keep_ties: bool) -> Tensor:
    n = weight.size(-1)
    out = weight.new_empty(weight.size())
    call('top_m', weight, out, weight.numel() // max(n, 1), n, m, keep_ties)
    return out


def backward(grad: Tensor, out: Tensor) -> Tensor:
    grad_weight = out.new_empty(out.size())
    call('top_m_backward', grad, out, grad_weight, out.numel())
    return grad_weight

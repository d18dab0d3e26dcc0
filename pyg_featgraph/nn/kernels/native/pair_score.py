r"""The score of every pair of nodes of a row, in C++."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    size, n, d = x.size()
    h = weight.size(0)
    check_sizes((weight, (h, d)), (bias, (h,)), (att, (h,)), (att_bias, (1,)))
    out = x.new_empty(size, n, n)
    sizes = size, n, d, h
    call('pair_score', x, weight, bias, att, att_bias, out, *sizes)
    return out


def backward(
    grad: Tensor,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    att: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads = (
        x.new_empty(x.size()),
        torch.empty_like(weight, memory_format=torch.contiguous_format),
        torch.empty_like(bias),
        torch.empty_like(att),
        att.new_empty(1),
    )
    given = grad, out, x, weight, bias, att
    call('pair_score_backward', *given, *grads, *x.size(), att.numel())
    return grads

r"""Attention of queries over the nodes of weighted subsets, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    (size, n, d), (sets, count, _) = x.size(), query.size()
    check_sizes(
        (weight, (size, n, sets)),
        (query, (sets, count, d)),
        (threshold, (n, sets, count)),
    )
    out = x.new_empty(size, sets, count, d)
    sizes = *x.size(), *query.size()[:2]
    call('induced_set_attention', x, weight, query, threshold, out, *sizes)
    return out


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> tuple[Tensor, ...]:
    given = x, weight, query, threshold
    grads = tuple(v.new_empty(v.size()) for v in given)
    sizes = *x.size(), *query.size()[:2]
    # What perceptrons of the sets leave lies set by set in memory:
    by_set = grad.transpose(0, 1)
    grad = by_set if by_set.is_contiguous() else grad.contiguous()
    strides = (grad.stride(1), grad.stride(0))
    if grad is not by_set:
        strides = strides[::-1]
    sizes = *sizes, *strides
    call('induced_set_attention_backward', grad, *given, *grads, *sizes)
    return grads

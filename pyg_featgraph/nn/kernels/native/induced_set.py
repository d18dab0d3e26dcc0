r"""Attention of queries over the nodes of weighted subsets, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call


def forward(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    out = x.new_empty(x.size(0), *query.size())
    sizes = *x.size(), *query.size()[:2]
    call('induced_set_attention', x, weight, query, threshold, out, *sizes)
    return out


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> tuple[Tensor, ...]:
    given = x, weight, query, threshold
    grads = tuple(v.new_empty(v.size()) for v in given)
    sizes = *x.size(), *query.size()[:2]
    call('induced_set_attention_backward', grad, *given, *grads, *sizes)
    return grads

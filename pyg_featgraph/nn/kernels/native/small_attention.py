r"""Attention between the few nodes of a row, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    check_sizes((key, query.shape), (value, query.shape))
    out = query.new_empty(query.size())
    call('small_attention', query, key, value, out, *query.size())
    return out


def backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    size = query.size()
    grads = query.new_empty(size), query.new_empty(size), query.new_empty(size)
    call('small_attention_backward', grad, query, key, value, *grads, *size)
    return grads

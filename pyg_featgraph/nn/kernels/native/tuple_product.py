r"""Sums of products of node vectors for many sets of nodes, in C++."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
) -> Tensor:
    check_sizes((weight, (other.numel(), x.size(2))))
    out = x.new_empty(x.size(0), other.numel())
    sets = _sets(other, permutation, shared, ptr)
    call('tuple_product', x, weight, *sets, out, *x.size())
    return out


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
    grad_x = x.new_empty(x.size())
    grad_weight = x.new_empty(0 if weight is None else weight.size())
    sets = _sets(other, permutation, shared, ptr)
    given = grad, x, weight, *sets, grad_x, grad_weight
    call('tuple_product_backward', *given, *x.size())
    return grad_x, grad_weight


def _sets(
    other: Tensor, permutation: Tensor, shared: list[int], ptr: list[int]
) -> tuple[Tensor | int, ...]:
    groups = len(ptr) - 1
    lists = torch.tensor(shared), torch.tensor(ptr), other, permutation
    return *lists, other.numel(), groups, len(shared) // groups

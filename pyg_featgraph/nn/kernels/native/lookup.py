r"""Rows of a table, each times a value, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(weight: Tensor, index: Tensor, value: Tensor) -> Tensor:
    check_sizes((value, tuple(index.size())))
    rows, d = weight.size()
    if index.numel():
        for found in (int(v) for v in index.aminmax()):
            if not 0 <= found < rows:
                raise IndexError(
                    f'There are {rows} vectors, from 0 on (got id {found})'
                )
    out = weight.new_empty(*index.size(), d)
    call('lookup', weight, index.long(), value, out, index.numel(), d)
    return out


def backward(
    grad: Tensor, index: Tensor, value: Tensor, num_rows: int
) -> Tensor:
    d = grad.size(-1)
    out = grad.new_empty(num_rows, d)
    sizes = num_rows, index.numel(), d
    call('lookup_backward', grad, index.long(), value, out, *sizes)
    return out

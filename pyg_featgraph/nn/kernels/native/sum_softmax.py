r"""Attention by a sum of the scores of both ends, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    size, n = target.size()
    m = source.size(1)
    check_sizes((source, (size, m)))
    if keep is not None:
        check_sizes((keep, (min(keep.size(0), size), n, m)))
    out = target.new_empty(size, n, m)
    step = 0 if keep is None or keep.size(0) == 1 else n * m
    slope = float(negative_slope)
    call('sum_softmax', target, source, keep, step, slope, out, size, n, m)
    return out


def backward(
    grad: Tensor,
    out: Tensor,
    target: Tensor,
    source: Tensor,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    grads = target.new_empty(target.size()), source.new_empty(source.size())
    given = grad, out, target, source, float(negative_slope)
    sizes = *target.size(), source.size(1)
    call('sum_softmax_backward', *given, *grads, *sizes)
    return grads

r"""Linear maps of nodes by the weights of their fields, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(x: Tensor, weight: Tensor) -> Tensor:
    size, n, heads, inner = x.size()
    fields, outer = 1 if weight.size(0) == 1 else n, weight.size(3)
    check_sizes((weight, (fields, heads, inner, outer)))
    out = x.new_empty(size, n, heads, outer)
    sizes = size, n, fields, heads, inner, outer
    call('field_product', x, weight, out, *sizes)
    return out


def backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    size, n, heads, _ = x.size()
    fields, _, inner, outer = weight.size()
    grads = x.new_empty(x.size()), weight.new_empty(weight.size())
    sizes = size, n, fields, heads, inner, outer
    call('field_product_backward', grad, x, weight, *grads, *sizes)
    return grads

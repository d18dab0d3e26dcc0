r"""Products of the weights of pairs with the nodes of a row, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(weight: Tensor, x: Tensor) -> Tensor:
    size, n, m = x.size(0), weight.size(-2), x.size(1)
    check_sizes((weight, (n, m) if weight.dim() == 2 else (size, n, m)))
    out = x.new_empty(x.size(0), weight.size(-2), x.size(2))
    call('row_product', weight, x, out, *_sizes(weight, x))
    return out


def backward(grad: Tensor, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    grads = weight.new_empty(weight.size()), x.new_empty(x.size())
    sizes = _sizes(weight, x)
    call('row_product_backward', grad, weight, x, *grads, *sizes)
    return grads


def _sizes(weight: Tensor, x: Tensor) -> tuple[int, ...]:
    return weight.dim() == 2, x.size(0), weight.size(-2), *x.size()[1:]

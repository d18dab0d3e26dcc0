r"""Products of the weights of pairs with the nodes of a row, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(weight: Tensor, x: Tensor, gate: Tensor | None) -> Tensor:
    sizes = _sizes(weight, x, gate)
    out = x.new_empty(x.size(0), weight.size(-2), x.size(2))
    call('row_product', weight, x, gate, out, *sizes)
    return out


def backward(
    grad: Tensor, weight: Tensor, x: Tensor, gate: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    sizes = _sizes(weight, x, gate)
    grads = (
        weight.new_empty(weight.size()),
        x.new_empty(x.size()),
        x.new_empty(0 if gate is None else gate.size()),
    )
    call('row_product_backward', grad, weight, x, gate, *grads, *sizes)
    return grads


def _sizes(weight: Tensor, x: Tensor, gate: Tensor | None) -> tuple[int, ...]:
    (size, m, d), n, shared = x.size(), weight.size(-2), weight.dim() == 2
    check_sizes(
        (weight, (n, m) if shared else (size, n, m)), (gate, (size, n, d))
    )
    return shared, size, n, m, d

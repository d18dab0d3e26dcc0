r"""All steps of a gated graph network on rows of nodes, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    *gru: Tensor,
    num_steps: int,
) -> Tensor:
    given = x, weight, outgoing, incoming, *gru
    sizes = _sizes(*given, num_steps=num_steps)
    out = x.new_empty(x.size())
    call('gated_steps', *given, out, *sizes)
    return out


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    *gru: Tensor,
    num_steps: int,
) -> tuple[Tensor, ...]:
    given = x, weight, outgoing, incoming, *gru
    sizes = _sizes(*given, num_steps=num_steps)
    check_sizes((grad, tuple(x.size())))
    grads = tuple(v.new_empty(v.size()) for v in given)
    call('gated_steps_backward', grad, *given, *grads, *sizes)
    return grads


def _sizes(
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    *gru: Tensor,
    num_steps: int,
) -> tuple[int, ...]:
    size, n, d = x.size()
    shared = weight.dim() == 2
    own_steps = 1 if outgoing.size(0) == 1 else num_steps
    fields = 1 if outgoing.size(1) == 1 else n
    matrices = (own_steps, fields, d, d)
    check_sizes(
        (weight, (n, n) if shared else (size, n, n)),
        (outgoing, matrices),
        (incoming, matrices),
        *zip(gru, [(3 * d, d)] * 2 + [(3 * d,)] * 2, strict=True),
    )
    return shared, num_steps, own_steps, fields, size, n, d

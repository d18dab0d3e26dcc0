r"""A step of a gated recurrent unit with a residual.

Of its dozen operators each reads and writes all nodes, and their gradients
as often once more. Here a few nodes at a time stay in the cache of a core, and
the backward pass computes the gates again instead of storing them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def gru_step(
    x: Tensor,
    state: Tensor,
    first: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    r"""The next state of each node by :class:`torch.nn.GRUCell`, to which the
    first one is added.

    Args:
        x (torch.Tensor): What the nodes receive, with shape :math:`(N, d)`.
        state (torch.Tensor): Their states, of the same shape.
        first (torch.Tensor): Their first states, of the same shape.
        weight_ih (torch.Tensor): The weights of :math:`\mathbf{x}` for the
            reset gate, the update gate and the candidate, with shape
            :math:`(3 d, d)`.
        weight_hh (torch.Tensor): Those of the state, of the same shape.
        bias_ih (torch.Tensor): The biases, with shape :math:`(3 d)`.
        bias_hh (torch.Tensor): Those of the state, of the same shape.

    Returns:
        torch.Tensor: With shape :math:`(N, d)`.
    """
    out: Tensor = _gru_step(
        x, state, first, weight_ih, weight_hh, bias_ih, bias_hh
    )
    return out


def gru_step_formula(
    x: Tensor,
    state: Tensor,
    first: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    r"""What :func:`gru_step` computes, in plain operators."""
    gru = weight_ih, weight_hh, bias_ih, bias_hh
    return torch.gru_cell(x, state, *gru) + first


@torch.library.custom_op('pyg_featgraph::gru_step', mutates_args=())
def _gru_step(
    x: Tensor,
    state: Tensor,
    first: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    gru = weight_ih, weight_hh, bias_ih, bias_hh
    native = native_form('gru_step', x)
    if native is not None:
        return native.forward(x, state, first, *gru)  # type: ignore[no-any-return]
    return gru_step_formula(x, state, first, *gru)


@_gru_step.register_fake
def _(x: Tensor, *_: Tensor) -> Tensor:
    return x.new_empty(x.size())


@torch.library.custom_op('pyg_featgraph::gru_step_backward', mutates_args=())
def _gru_step_backward(
    grad: Tensor,
    x: Tensor,
    state: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    native = native_form('gru_step', x)
    if native is not None:
        gru = weight_ih, weight_hh, bias_ih, bias_hh
        return native.backward(grad, x, state, *gru)  # type: ignore[no-any-return]
    grad, d = grad.contiguous(), x.size(1)
    by_input, by_state = (
        F.linear(v, weight, bias)
        for v, weight, bias in (
            (x, weight_ih, bias_ih),
            (state, weight_hh, bias_hh),
        )
    )
    inner = by_state[:, 2 * d :]
    gates = (by_input[:, : 2 * d] + by_state[:, : 2 * d]).sigmoid_()
    reset, update = gates.chunk(2, dim=1)
    candidate = by_input[:, 2 * d :].addcmul(reset, inner).tanh_()
    # From here on the places of the products hold their gradients.
    keep = grad * update
    g_candidate = (grad - keep) * (1 - candidate * candidate)
    g_inner = g_candidate * reset
    g_gates = torch.cat([g_inner * inner, keep * (state - candidate)], dim=1)
    g_gates.mul_(1 - gates)
    by_input[:, : 2 * d] = by_state[:, : 2 * d] = g_gates
    by_input[:, 2 * d :] = g_candidate
    by_state[:, 2 * d :] = g_inner
    return (
        by_input @ weight_ih,
        keep.addmm_(by_state, weight_hh),
        by_input.t() @ x,
        by_state.t() @ state,
        by_input.sum(dim=0),
        by_state.sum(dim=0),
    )


@_gru_step_backward.register_fake
def _(grad: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    return tuple(v.new_empty(v.size()) for v in given)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, state, _, *gru = inputs
    ctx.save_for_backward(x, state, *gru)


def _backward(ctx: Any, grad: Tensor) -> Any:
    g_x, g_state, *g_gru = _gru_step_backward(grad, *ctx.saved_tensors)
    return g_x, g_state, grad, *g_gru


_gru_step.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights stay in single precision, and so must what
# they meet:
for _device in ('cpu', 'cuda'):
    _gru_step.register_autocast(_device, torch.float32)
    _gru_step_backward.register_autocast(_device, torch.float32)

r"""All steps of a gated graph network between the nodes of rows.

Every step reads and writes all nodes half a dozen times, and all steps share
the weights of the edges, whose gradient is as large as they are. Here a few
rows go through all steps in the cache of a core, and the backward pass takes
them through once more instead of storing what is in between.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form
from pyg_featgraph.nn.kernels.field_product import field_product_formula
from pyg_featgraph.nn.kernels.gru_step import gru_step_formula
from pyg_featgraph.nn.kernels.row_product import row_product_formula

_own = torch.ops.pyg_featgraph


def gated_steps(
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    num_steps: int,
) -> Tensor:
    r"""The states of all nodes after some steps,

    .. math::
        \mathbf{h}_i^{(k)} = \mathrm{GRU} \Big( \mathbf{W}^{(k)}_{\text{in}, i}
        \sum_j w_{ij} \, \mathbf{W}^{(k)}_{\text{out}, j} \,
        \mathbf{h}_j^{(k - 1)}, \; \mathbf{h}_i^{(k - 1)} \Big) +
        \mathbf{x}_i, \qquad \mathbf{h}_i^{(0)} = \mathbf{x}_i.

    Args:
        x (torch.Tensor): Node vectors, with shape :math:`(B, n, d)`.
        weight (torch.Tensor): The weights :math:`w_{ij}`, with shape
            :math:`(B, n, n)`, or :math:`(n, n)` where all rows share them.
        outgoing (torch.Tensor): The matrices of what nodes send, transposed,
            with shape :math:`(K, n, d, d)`, one for all where a dimension is
            one.
        incoming (torch.Tensor): Those of what they receive, of the same shape.
        weight_ih (torch.Tensor): See
            :func:`~pyg_featgraph.nn.kernels.gru_step`, as the next three.
        weight_hh (torch.Tensor): The weights of states.
        bias_ih (torch.Tensor): The biases.
        bias_hh (torch.Tensor): Those of states.
        num_steps (int): The number :math:`K` of steps.

    Returns:
        torch.Tensor: With shape :math:`(B, n, d)`.
    """
    gru = weight_ih, weight_hh, bias_ih, bias_hh
    out: Tensor = _gated_steps(x, weight, outgoing, incoming, *gru, num_steps)
    return out


def has_gated_steps(x: Tensor) -> bool:
    r"""Whether :func:`gated_steps` is worth its second forward pass: with
    native kernels, or where a graph is traced, which can be run with either.

    Args:
        x (torch.Tensor): Node vectors.
    """
    is_traced = torch.compiler.is_compiling()
    return is_traced or native_form('gated_steps', x) is not None


@torch.library.custom_op('pyg_featgraph::gated_steps', mutates_args=())
def _gated_steps(
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    num_steps: int,
) -> Tensor:
    given = x, weight, outgoing, incoming
    gru = weight_ih, weight_hh, bias_ih, bias_hh
    native = native_form('gated_steps', x)
    if native is not None:
        return native.forward(*given, *gru, num_steps=num_steps)  # type: ignore[no-any-return]
    h = x.contiguous()
    for k in range(num_steps):
        *_, h = _step(x, h, weight, *_of_step(k, outgoing, incoming), gru)
    return h.clone() if num_steps == 0 else h


def gated_steps_formula(
    x: Tensor, weight: Tensor, outgoing: Tensor, incoming: Tensor, *rest: Any
) -> Tensor:
    r"""What :func:`gated_steps` computes, in plain operators."""
    (*gru, num_steps), h = rest, x
    for k in range(num_steps):
        to, into = _of_step(k, outgoing, incoming)
        message = field_product_formula(h.unsqueeze(2), to).squeeze(2)
        total = row_product_formula(weight, message, None)
        received = field_product_formula(total.unsqueeze(2), into)
        into, state, first = (
            v.flatten(0, 1) for v in (received.squeeze(2), h, x)
        )
        h = gru_step_formula(into, state, first, *gru).view_as(x)
    return h


@_gated_steps.register_fake
def _(x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.size())


@torch.library.custom_op('pyg_featgraph::gated_steps_backward', mutates_args=())
def _gated_steps_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    num_steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    given = x, weight, outgoing, incoming
    gru = weight_ih, weight_hh, bias_ih, bias_hh
    native = native_form('gated_steps', x)
    if native is not None:
        return native.backward(grad, *given, *gru, num_steps=num_steps)  # type: ignore[no-any-return]
    h, steps = x.contiguous(), []
    for k in range(num_steps):
        part = _step(x, h, weight, *_of_step(k, outgoing, incoming), gru)
        steps.append((h, *part[:3]))
        h = part[3]
    up, g_x = grad.contiguous(), x.new_zeros(x.size())
    g_weight, g_out, g_in, *g_gru = (
        v.new_zeros(v.size()) for v in (*given[1:], *gru)
    )
    for k in reversed(range(num_steps)):
        h, message, total, received = steps[k]
        to, into = _of_step(k, outgoing, incoming)
        g_x += up
        g_received, g_h, *more = _own.gru_step_backward(
            *(v.flatten(0, 1) for v in (up, received, h)), *gru
        )
        for one, two in zip(g_gru, more, strict=True):
            one += two
        g_total, more_in = _own.field_product_backward(
            *(v.view(x.size()).unsqueeze(2) for v in (g_received, total)), into
        )
        more_weight, g_message, _ = _own.row_product_backward(
            g_total.squeeze(2), weight, message, None
        )
        g_more, more_out = _own.field_product_backward(
            g_message.unsqueeze(2), h.unsqueeze(2), to
        )
        g_weight += more_weight
        g_out[k % g_out.size(0)] += more_out.squeeze(1)
        g_in[k % g_in.size(0)] += more_in.squeeze(1)
        up = g_h.view(x.size()) + g_more.squeeze(2)
    return (g_x + up, g_weight, g_out, g_in, *g_gru)  # type: ignore[return-value]


@_gated_steps_backward.register_fake
def _(grad: Tensor, *given: Any) -> tuple[Tensor, ...]:
    *tensors, _ = given
    return tuple(v.new_empty(v.size()) for v in tensors)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.num_steps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = _gated_steps_backward(grad, *ctx.saved_tensors, ctx.num_steps)
    return *grads, None


_gated_steps.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the weights stay in single precision, and so must what
# they meet:
for _device in ('cpu', 'cuda'):
    _gated_steps.register_autocast(_device, torch.float32)
    _gated_steps_backward.register_autocast(_device, torch.float32)


def _of_step(k: int, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    # With one head, as kernels of fields have them.
    k %= one.size(0)
    return one[k].unsqueeze(1), two[k].unsqueeze(1)


def _step(
    x: Tensor,
    h: Tensor,
    weight: Tensor,
    outgoing: Tensor,
    incoming: Tensor,
    gru: tuple[Tensor, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # Messages, their sums, what nodes receive, and the next states.
    message = _own.field_product(h.unsqueeze(2), outgoing).squeeze(2)
    total = _own.row_product(weight, message, None)
    received = _own.field_product(total.unsqueeze(2), incoming).squeeze(2)
    nodes = (v.flatten(0, 1) for v in (received, h, x))
    return message, total, received, _own.gru_step(*nodes, *gru).view(x.size())

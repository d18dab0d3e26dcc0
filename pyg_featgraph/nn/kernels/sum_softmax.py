r"""Attention whose logits are a sum of a score of the target and one of the
source.

Its steps read and write all pairs of a row a dozen times; here this is done
once, and the backward pass needs the weights alone.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form
from pyg_featgraph.nn.layout import masked_softmax


def sum_softmax(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    r"""The softmax over sources of :math:`\mathrm{LeakyReLU}(t_i + s_j)`, zero
    for those that are left out; a target without sources has zeros only.

    Args:
        target (torch.Tensor): The scores :math:`t_i`, with shape
            :math:`(B, n)`.
        source (torch.Tensor): The scores :math:`s_j`, with shape
            :math:`(B, m)`.
        keep (torch.Tensor, optional): Which pairs take part, with shape
            :math:`(B, n, m)` or :math:`(1, n, m)`.
        negative_slope (float): LeakyReLU angle of the negative slope.

    Returns:
        torch.Tensor: With shape :math:`(B, n, m)`.
    """
    out: Tensor = _sum_softmax(target, source, keep, negative_slope)
    return out


def sum_softmax_formula(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    r"""What :func:`sum_softmax` computes, in plain operators."""
    logit = target.unsqueeze(2) + source.unsqueeze(1)
    logit = F.leaky_relu(logit, negative_slope)
    return masked_softmax(logit, keep)


@torch.library.custom_op('pyg_featgraph::sum_softmax', mutates_args=())
def _sum_softmax(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    native = native_form('sum_softmax', source)
    given = target, source, keep, negative_slope
    if native is not None:
        return native.forward(*given)  # type: ignore[no-any-return]
    return sum_softmax_formula(*given)


@_sum_softmax.register_fake
def _(
    target: Tensor, source: Tensor, keep: Tensor | None, negative_slope: float
) -> Tensor:
    return target.new_empty(*target.size(), source.size(1))


@torch.library.custom_op('pyg_featgraph::sum_softmax_backward', mutates_args=())
def _sum_softmax_backward(
    grad: Tensor,
    out: Tensor,
    target: Tensor,
    source: Tensor,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    native = native_form('sum_softmax', source)
    if native is not None:
        return native.backward(grad, out, target, source, negative_slope)  # type: ignore[no-any-return]
    # What is left out has a weight of zero and so no gradient.
    up = torch.ops.aten._softmax_backward_data(grad, out, -1, out.dtype)
    falls = target.unsqueeze(2) + source.unsqueeze(1) <= 0
    up = torch.where(falls, up * negative_slope, up)
    return up.sum(dim=2), up.sum(dim=1)


@_sum_softmax_backward.register_fake
def _(
    grad: Tensor,
    out: Tensor,
    target: Tensor,
    source: Tensor,
    negative_slope: float,
) -> tuple[Tensor, Tensor]:
    return target.new_empty(target.size()), source.new_empty(source.size())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    target, source, _, ctx.negative_slope = inputs
    ctx.save_for_backward(output, target, source)


def _backward(ctx: Any, grad: Tensor) -> Any:
    grads = _sum_softmax_backward(grad, *ctx.saved_tensors, ctx.negative_slope)
    return *grads, None, None


_sum_softmax.register_autograd(_backward, setup_context=_setup_context)
# A softmax is of single precision, under mixed precision as well:
for _device in ('cpu', 'cuda'):
    _sum_softmax.register_autocast(_device, torch.float32)
    _sum_softmax_backward.register_autocast(_device, torch.float32)

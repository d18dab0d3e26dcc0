r"""Attention over the products of all pairs of nodes of a row.

The weights and the products are never stored for a whole batch: rows are
taken in chunks that fit the cache, and the backward pass computes the weights
again. What makes it cheap is that both the logits :math:`\mathbf{a}^{\top}
(\mathbf{x}_i \odot \mathbf{x}_j)` and the weighted sums are matrix products of
a row with itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from pyg_featgraph.nn.kernels.backend import native_form
from pyg_featgraph.nn.layout import Pair, masked_softmax

# Bytes of the weights of a chunk of rows:
_CPU_CHUNK = 2**20
_GPU_CHUNK = 512 * 2**20


def attention_weights(
    x: Tensor | Pair,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    r"""The weights that :func:`hadamard_attention` sums with.

    With :math:`c_{ij} = \mathrm{LeakyReLU}(\mathbf{a}^{\top} (\mathbf{x}_i
    \odot \mathbf{x}_j) + b)`, they are :math:`s_{ij} \, \mathrm{softmax}_j
    \, c_{ij}`, or :math:`\mathrm{softmax}_j \, s_{ij} c_{ij}` if the scale is
    one of the logits. Unless it is, a scale of zero is no edge, and takes no
    part in the softmax.

    Args:
        x (torch.Tensor or tuple): Node vectors, with shape :math:`(B, n, d)`,
            or those of sources and targets.
        att (torch.Tensor): :math:`\mathbf{a}` of each head, with shape
            :math:`(H, d)`.
        bias (torch.Tensor): :math:`b` of each head, with shape :math:`(H)`.
        scale (torch.Tensor): :math:`s`, with shape :math:`(B, H, n, n)` or
            :math:`(B, 1, n, n)`.
        keep (torch.Tensor, optional): Which pairs take part at all, with any
            dimension before the last two being one where all share it.
        negative_slope (float): The slope of the LeakyReLU.
        scale_logits (bool): Whether :math:`s` scales the logits.

    Returns:
        torch.Tensor: With shape :math:`(B, H, n, n)`.
    """
    source, target = (x, x) if isinstance(x, Tensor) else x
    query = target.unsqueeze(1) * att.unsqueeze(1)
    logits = torch.matmul(query, source.mT.unsqueeze(1))
    logits = leaky_relu(logits + bias.view(-1, 1, 1), negative_slope)
    if scale_logits:
        return masked_softmax(logits * scale, keep)
    return masked_softmax(logits, _edges(scale, keep)) * scale


def _edges(scale: Tensor, keep: Tensor | None) -> Tensor:
    is_edge = scale != 0
    return is_edge if keep is None else keep & is_edge


def hadamard_attention(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
    dropout_mask: Tensor | None = None,
) -> Tensor:
    r"""Sums the products of pairs by their :func:`attention_weights`,
    :math:`\sum_j \alpha^h_{ij} \, \mathbf{x}_i \odot \mathbf{x}_j`.

    The arguments are those of :func:`attention_weights`, sources and targets
    being the same; a
    :obj:`dropout_mask` of shape :math:`(B, H, n, n)` multiplies the weights.

    Returns:
        torch.Tensor: With shape :math:`(B, n, H, d)`.
    """
    out: Tensor = _attention(
        x, att, bias, scale, keep, dropout_mask, negative_slope, scale_logits
    )
    return out


@torch.library.custom_op('pyg_featgraph::hadamard_attention', mutates_args=())
def _attention(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    native = native_form('hadamard_attention', x)
    if native is not None:
        out = native.forward(
            x,
            att,
            bias,
            scale,
            keep,
            dropout_mask,
            negative_slope,
            scale_logits,
        )
        return out  # type: ignore[no-any-return]
    size, n, d = x.size()
    heads = att.size(0)
    out = x.new_empty(size, n, heads, d)
    for rows, ends in _chunks(x, heads):
        part, target = x[rows], x[rows, ends]
        alpha = attention_weights(
            (part, target),
            att,
            bias,
            scale[rows, :, ends],
            _tile_of(keep, rows, ends),
            negative_slope,
            scale_logits,
        )
        if dropout_mask is not None:
            alpha = alpha.mul_(dropout_mask[rows, :, ends])
        summed = torch.bmm(alpha.flatten(1, 2), part)
        summed = summed.view(part.size(0), heads, -1, d).transpose(1, 2)
        torch.mul(summed, target.unsqueeze(2), out=out[rows, ends])
    return out


@_attention.register_fake
def _(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    return x.new_empty(x.size(0), x.size(1), att.size(0), x.size(2))


@torch.library.custom_op(
    'pyg_featgraph::hadamard_attention_backward', mutates_args=()
)
def _attention_backward(
    grad: Tensor,
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    native = native_form('hadamard_attention', x)
    if native is not None:
        grads = native.backward(
            grad,
            x,
            att,
            bias,
            scale,
            keep,
            dropout_mask,
            negative_slope,
            scale_logits,
        )
        return grads  # type: ignore[no-any-return]
    _, n, d = x.size()
    heads = att.size(0)
    grad_x = x.new_zeros(x.size())
    grad_scale = torch.empty_like(scale, memory_format=torch.contiguous_format)
    grad_att = att.new_zeros(att.size())
    grad_bias = torch.zeros_like(bias)
    for rows, ends in _chunks(x, heads):
        part, target = x[rows], x[rows, ends].unsqueeze(1)
        s = scale[rows, :, ends]
        k = _tile_of(keep, rows, ends)
        # The forward pass once more, with what is needed of it:
        query = (target * att.unsqueeze(1)).flatten(1, 2)
        raw = torch.bmm(query, part.mT).view(part.size(0), heads, -1, n)
        raw.add_(bias.view(-1, 1, 1))
        logits = leaky_relu(raw, negative_slope)
        # Zero where a pair is left out, so that no gradient passes it:
        if scale_logits:
            soft = masked_softmax(logits * s, k)
        else:
            soft = masked_softmax(logits, _edges(s, k))
        alpha = soft if scale_logits else soft * s
        drop = None if dropout_mask is None else dropout_mask[rows, :, ends]
        if drop is not None:
            alpha = alpha * drop
        alpha = alpha.flatten(1, 2)

        # Of the nodes as sources and as targets:
        g_source, g_target = grad_x[rows], grad_x[rows, ends]
        g = grad[rows, ends].transpose(1, 2)
        summed = torch.bmm(alpha, part).view(part.size(0), heads, -1, d)
        g_target.add_(summed.mul_(g).sum(dim=1))
        g_summed = (g * target).flatten(1, 2)
        g_source.baddbmm_(alpha.mT, g_summed)
        g_alpha = torch.bmm(g_summed, part.mT).view(raw.size())
        if drop is not None:
            g_alpha.mul_(drop)
        if not scale_logits:
            g_scale = (g_alpha * soft).sum_to_size(s.size())
            grad_scale[rows, :, ends] = g_scale
            g_alpha.mul_(s)
        g_logits = torch.ops.aten._softmax_backward_data(
            g_alpha, soft, -1, soft.dtype
        )
        if scale_logits:
            g_scale = (g_logits * logits).sum_to_size(s.size())
            grad_scale[rows, :, ends] = g_scale
            g_logits = g_logits.mul_(s)
        g_raw = torch.ops.aten.leaky_relu_backward(
            g_logits, raw, negative_slope, False
        )
        grad_bias += g_raw.sum(dim=(0, 2, 3))
        g_raw = g_raw.flatten(1, 2)
        g_source.baddbmm_(g_raw.mT, query)
        g_query = torch.bmm(g_raw, part).view(part.size(0), heads, -1, d)
        g_target.add_((g_query * att.unsqueeze(1)).sum(dim=1))
        grad_att += g_query.mul_(target).sum(dim=(0, 2))
    return grad_x, grad_att, grad_bias, grad_scale


@_attention_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        att.new_empty(att.size()),
        torch.empty_like(bias),
        torch.empty_like(scale, memory_format=torch.contiguous_format),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.negative_slope, ctx.scale_logits = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    grads = _attention_backward(
        grad, *ctx.saved_tensors, ctx.negative_slope, ctx.scale_logits
    )
    return (*grads, None, None, None, None)


_attention.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the parameters stay in single precision, and so must
# what they meet:
for _device in ('cpu', 'cuda'):
    _attention.register_autocast(_device, torch.float32)
    _attention_backward.register_autocast(_device, torch.float32)


def _chunks(x: Tensor, heads: int) -> Iterator[tuple[slice, slice]]:
    # Some rows at a time, or of a single one with many nodes some targets.
    size, n, _ = x.size()
    limit = _GPU_CHUNK if x.is_cuda else _CPU_CHUNK
    targets = max(1, limit // (heads * n * x.element_size()))
    step = max(1, targets // n)
    for start in range(0, size, step):
        rows = slice(start, min(start + step, size))
        for first in range(0, n, targets):
            yield rows, slice(first, min(first + targets, n))


def _tile_of(keep: Tensor | None, rows: slice, ends: slice) -> Tensor | None:
    if keep is None:
        return None
    return keep[rows if keep.size(0) > 1 else slice(None), :, ends]

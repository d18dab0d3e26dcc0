r"""Attention over the products of all pairs of nodes of a row, in C++."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    size, n, d = x.size()
    heads = att.size(0)
    check_sizes(
        (att, (heads, d)),
        (bias, (heads,)),
        (scale, (size, min(scale.size(1), heads), n, n)),
        (dropout_mask, (size, heads, n, n)),
    )
    if keep is not None:
        rows, own = min(keep.size(0), size), min(keep.size(1), heads)
        check_sizes((keep, (rows, own, n, n)))
    out = x.new_empty(size, n, heads, d)
    pairs = *_pairs(scale), *_pairs(keep), dropout_mask
    options = float(negative_slope), scale_logits
    sizes = size, n, d, heads
    call('hadamard_attention', x, att, bias, *pairs, *options, out, *sizes)
    return out


def backward(
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
    grads = (
        x.new_empty(x.size()),
        torch.empty_like(att, memory_format=torch.contiguous_format),
        torch.empty_like(bias),
        scale.new_empty(scale.size()),
    )
    call(
        'hadamard_attention_backward',
        grad,
        x,
        att,
        bias,
        *_pairs(scale),
        *_pairs(keep),
        dropout_mask,
        float(negative_slope),
        scale_logits,
        *grads,
        scale.size(1),
        *x.size(),
        att.size(0),
    )
    return grads


def _pairs(value: Tensor | None) -> tuple[Tensor | None, int, int]:
    # What is said of the pairs of each row and head, with the steps from one
    # row and head to the next; zero where they share it.
    if value is None:
        return None, 0, 0
    rows, heads, n, _ = value.size()
    shared = value.stride(0) == 0 or rows == 1
    value = (value[:1] if shared else value).contiguous()
    return value, 0 if shared else heads * n * n, 0 if heads == 1 else n * n

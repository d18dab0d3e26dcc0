r"""Score, selection and attention of a row in one go, in C++."""

from __future__ import annotations

from torch import Tensor

from pyg_featgraph.nn.kernels.native.library import call, check_sizes


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    score_att: Tensor,
    score_bias: Tensor,
    att: Tensor,
    att_bias: Tensor,
    dropout_mask: Tensor | None,
    m: int,
    keep_ties: bool,
    negative_slope: float,
    scale_logits: bool,
    has_backward: bool,
) -> tuple[Tensor, Tensor]:
    size, n, d = x.size()
    heads, h = att.size(0), weight.size(0)
    check_sizes(
        (weight, (h, d)),
        (bias, (h,)),
        (score_att, (h,)),
        (score_bias, (1,)),
        (att, (heads, d)),
        (att_bias, (heads,)),
        (dropout_mask, (size, heads, n, n)),
    )
    out = x.new_empty(size, n, heads, d)
    selected = x.new_empty(size if has_backward else 0, n, n)
    given = x, weight, bias, score_att, score_bias, att, att_bias, dropout_mask
    options = float(negative_slope), scale_logits, m, keep_ties
    sizes = size, n, d, weight.size(0), heads
    kept = selected if has_backward else None
    call('selected_attention', *given, *options, out, kept, *sizes)
    return out, selected


def backward(
    grad: Tensor,
    selected: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    score_att: Tensor,
    att: Tensor,
    att_bias: Tensor,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    grads = (
        x.new_empty(x.size()),
        weight.new_empty(weight.size()),
        bias.new_empty(bias.size()),
        score_att.new_empty(score_att.size()),
        score_att.new_empty(1),
        att.new_empty(att.size()),
        att_bias.new_empty(att_bias.size()),
    )
    given = grad, selected, x, weight, bias, score_att, att, att_bias
    options = dropout_mask, float(negative_slope), scale_logits
    sizes = *x.size(), weight.size(0), att.size(0)
    call('selected_attention_backward', *given, *options, *grads, *sizes)
    return grads

r"""The score of all pairs, the selection of the best ones and the attention
between them, row by row: what the kernels of each compute one after the other.
Of all that is passed between them, only the selected scores are stored for a
whole batch, if there is a backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form

_own = torch.ops.pyg_featgraph
# Bytes of the scores of a chunk of rows:
_CPU_CHUNK = 32 * 2**20
_GPU_CHUNK = 2**30


def selected_attention(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    score_att: Tensor,
    score_bias: Tensor,
    att: Tensor,
    att_bias: Tensor,
    m: int,
    keep_ties: bool,
    negative_slope: float,
    scale_logits: bool,
    dropout_mask: Tensor | None = None,
) -> Tensor:
    r"""The :func:`hadamard_attention` of :obj:`att` and :obj:`att_bias` whose
    scale are the :obj:`m` best of the scores that :func:`pair_score` makes of
    :obj:`weight`, :obj:`bias`, :obj:`score_att` and :obj:`score_bias`.

    The arguments are those of these functions and of :func:`top_m`.

    Returns:
        torch.Tensor: With shape :math:`(B, n, H, d)`.
    """
    given = x, weight, bias, score_att, score_bias, att, att_bias
    has_backward = torch.is_grad_enabled() and any(
        v.requires_grad for v in given
    )
    out: Tensor = _selected_attention(
        *given,
        dropout_mask,
        m,
        keep_ties,
        negative_slope,
        scale_logits,
        has_backward,
    )[0]
    return out


@torch.library.custom_op('pyg_featgraph::selected_attention', mutates_args=())
def _selected_attention(
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
    native = native_form('selected_attention', x)
    if native is not None:
        outs = native.forward(
            x,
            weight,
            bias,
            score_att,
            score_bias,
            att,
            att_bias,
            dropout_mask,
            m,
            keep_ties,
            negative_slope,
            scale_logits,
            has_backward,
        )
        return outs  # type: ignore[no-any-return]
    size, n, d = x.size()
    out = x.new_empty(size, n, att.size(0), d)
    kept = x.new_empty(size if has_backward else 0, n, n)
    for rows in _chunks(x):
        part = x[rows]
        selected = _own.pair_score(part, weight, bias, score_att, score_bias)
        if m < n:
            selected = _own.top_m(selected, m, keep_ties)
        out[rows] = _own.hadamard_attention(
            part,
            att,
            att_bias,
            selected.unsqueeze(1),
            None,
            None if dropout_mask is None else dropout_mask[rows],
            negative_slope,
            scale_logits,
        )
        if has_backward:
            kept[rows] = selected
    return out, kept


@_selected_attention.register_fake
def _(
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
    kept = size if has_backward else 0
    return x.new_empty(size, n, att.size(0), d), x.new_empty(kept, n, n)


@torch.library.custom_op(
    'pyg_featgraph::selected_attention_backward', mutates_args=()
)
def _selected_attention_backward(
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
    native = native_form('selected_attention', x)
    if native is not None:
        grads = native.backward(
            grad,
            selected,
            x,
            weight,
            bias,
            score_att,
            att,
            att_bias,
            dropout_mask,
            negative_slope,
            scale_logits,
        )
        return grads  # type: ignore[no-any-return]
    grad_x = x.new_empty(x.size())
    given = weight, bias, score_att, score_att[:1], att, att_bias
    totals = tuple(v.new_zeros(v.size()) for v in given)
    for rows in _chunks(x):
        part, chosen = x[rows], selected[rows]
        one, grad_att, grad_att_bias, grad_scale = (
            _own.hadamard_attention_backward(
                grad[rows],
                part,
                att,
                att_bias,
                chosen.unsqueeze(1),
                None,
                None if dropout_mask is None else dropout_mask[rows],
                negative_slope,
                scale_logits,
            )
        )
        # Nothing reaches a score that was not selected, also where the others
        # are edges of weight zero that take part:
        grad_score = _own.top_m_backward(grad_scale.squeeze(1), chosen)
        two, *grads = _own.pair_score_backward(
            grad_score, chosen, part, weight, bias, score_att
        )
        torch.add(one, two, out=grad_x[rows])
        for total, more in zip(
            totals, (*grads, grad_att, grad_att_bias), strict=True
        ):
            total.add_(more)
    return grad_x, *totals  # type: ignore[return-value]


@_selected_attention_backward.register_fake
def _(
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
    return (
        x.new_empty(x.size()),
        weight.new_empty(weight.size()),
        bias.new_empty(bias.size()),
        score_att.new_empty(score_att.size()),
        score_att.new_empty(1),
        att.new_empty(att.size()),
        att_bias.new_empty(att_bias.size()),
    )


def _setup_context(
    ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
) -> None:
    x, weight, bias, score_att, _, att, att_bias, drop, *options = inputs
    ctx.options = options[2:4]
    ctx.mark_non_differentiable(output[1])
    given = x, weight, bias, score_att, att, att_bias, drop
    ctx.save_for_backward(output[1], *given)


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    grads = _selected_attention_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (*grads, *[None] * 6)


_selected_attention.register_autograd(_backward, setup_context=_setup_context)
# Under mixed precision the parameters stay in single precision, and so must
# what they meet:
for _device in ('cpu', 'cuda'):
    _selected_attention.register_autocast(_device, torch.float32)
    _selected_attention_backward.register_autocast(_device, torch.float32)


def _chunks(x: Tensor) -> Iterator[slice]:
    limit = _GPU_CHUNK if x.is_cuda else _CPU_CHUNK
    step = max(1, limit // (x.size(1) ** 2 * x.element_size()))
    for start in range(0, x.size(0), step):
        yield slice(start, min(start + step, x.size(0)))

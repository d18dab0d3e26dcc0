r"""What the custom operators compute, in operators that any runtime has.

The kernels take rows in chunks, one after the other in the same memory, which
no file of a model can hold. Here the same formulas are written out for all
rows at once; who scores takes as many rows at a time as fit the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, pairwise, repeat
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyg_featgraph.nn.kernels.field_product import field_product_formula
from pyg_featgraph.nn.kernels.gated_steps import gated_steps_formula
from pyg_featgraph.nn.kernels.gru_step import gru_step_formula
from pyg_featgraph.nn.kernels.hadamard_attention import attention_weights
from pyg_featgraph.nn.kernels.lookup import lookup_formula
from pyg_featgraph.nn.kernels.pair_score import pair_places
from pyg_featgraph.nn.kernels.row_product import row_product_formula
from pyg_featgraph.nn.kernels.small_attention import small_attention_formula
from pyg_featgraph.nn.kernels.sum_softmax import sum_softmax_formula
from pyg_featgraph.nn.kernels.top_m import first_of_equal, slack


class Decomposed(TorchFunctionMode):
    r"""Within this context, each custom operator that a model in the dense
    layout can hold is its formula, also in what :func:`torch.export.export`
    traces.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        formula: Any = _FORMULAS.get(func, func)
        return formula(*args, **(kwargs or {}))


def _hadamard_attention(
    x: Tensor,
    att: Tensor,
    bias: Tensor,
    scale: Tensor,
    keep: Tensor | None,
    dropout_mask: Tensor | None,
    negative_slope: float,
    scale_logits: bool,
) -> Tensor:
    # There is no dropout in evaluation.
    alpha = attention_weights(
        x, att, bias, scale, keep, negative_slope, scale_logits
    )
    summed = torch.matmul(alpha, x.unsqueeze(1))
    return summed.transpose(1, 2) * x.unsqueeze(2)


def _induced_set_attention(
    x: Tensor, weight: Tensor, query: Tensor, threshold: Tensor
) -> Tensor:
    w = weight.unsqueeze(3)
    product = torch.matmul(x, query.flatten(0, 1).t())
    product = product.view(*x.size()[:2], *query.size()[:2])
    alpha = (product * w - threshold).relu() * w
    out = torch.matmul(alpha.flatten(2).mT, x)
    return out.view(x.size(0), *query.size())


def _pair_score(
    x: Tensor, weight: Tensor, bias: Tensor, att: Tensor, att_bias: Tensor
) -> Tensor:
    n = x.size(1)
    to_full, to_pairs = pair_places(n, x.device)
    first = to_pairs.div(n, rounding_mode='floor')
    product = x.index_select(1, first) * x.index_select(1, to_pairs % n)
    score = torch.matmul(F.linear(product, weight, bias).relu(), att)
    score = (score + att_bias).sigmoid()
    return score.index_select(1, to_full).view(-1, n, n)


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
    score = _pair_score(x, weight, bias, score_att, score_bias)
    score = _top_m(score, m, keep_ties)
    scale, form = score.unsqueeze(1), (negative_slope, scale_logits)
    out = _hadamard_attention(x, att, att_bias, scale, None, None, *form)
    return out, score


def _top_m(weight: Tensor, m: int, keep_ties: bool) -> Tensor:
    if m >= weight.size(-1):
        return weight
    score = weight.masked_fill(weight == 0, -torch.inf)
    cut = score.topk(m, dim=-1).values[..., -1:]
    gap = slack(cut)
    if keep_ties:
        return weight * (score >= cut - gap)
    return weight * first_of_equal(score, cut, gap, m)


def _tuple_product(
    x: Tensor,
    weight: Tensor | None,
    other: Tensor,
    permutation: Tensor,
    inverse: Tensor,
    shared: list[int],
    ptr: list[int],
    starts: list[int],
) -> Tensor:
    out = x.index_select(1, other)
    sizes = [end - begin for begin, end in pairwise(ptr)]
    num_shared = len(shared) // len(starts)
    for k in range(num_shared):
        # The k-th shared member of every set:
        nodes = chain(*map(repeat, shared[k::num_shared], sizes))
        out = out * x.index_select(1, torch.tensor([*nodes], device=x.device))
    if weight is not None:
        out = out * weight.index_select(0, permutation)
    return out.sum(dim=-1).index_select(1, inverse)


_own = torch.ops.pyg_featgraph
_FORMULAS: dict[Any, Callable[..., Any]] = {
    _own.field_product.default: field_product_formula,
    _own.gated_steps.default: gated_steps_formula,
    _own.gru_step.default: gru_step_formula,
    _own.hadamard_attention.default: _hadamard_attention,
    _own.induced_set_attention.default: _induced_set_attention,
    _own.lookup.default: lookup_formula,
    _own.pair_score.default: _pair_score,
    _own.row_product.default: row_product_formula,
    _own.selected_attention.default: _selected_attention,
    _own.small_attention.default: small_attention_formula,
    _own.sum_softmax.default: sum_softmax_formula,
    _own.top_m.default: _top_m,
    _own.tuple_product.default: _tuple_product,
}

r"""The m largest entries of each row of a matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.nn.kernels.backend import native_form


def top_m(weight: Tensor, m: int, keep_ties: bool = False) -> Tensor:
    r"""Keeps the :obj:`m` largest entries along the last dimension and sets
    all others to zero.

    :func:`torch.topk` leaves open which of several equal entries it takes;
    here the lowest index wins, so that the result is the same everywhere.
    Entries count as equal if they differ by no more than the order in which
    a sum is taken, which depends on the batch. The choice is a constant for
    the gradient.

    Args:
        weight (torch.Tensor): The weights, with shape :math:`(*, n)`; zero
            is less than any other.
        m (int): How many to keep; all if there are fewer.
        keep_ties (bool, optional): Whether to keep every entry that is not
            below the :obj:`m`-th largest, which are more than :obj:`m` if
            some are equal. (default: :obj:`False`)

    Returns:
        torch.Tensor: With shape :math:`(*, n)`.
    """
    out: Tensor = _top_m(weight, m, keep_ties)
    return out


def slack(cut: Tensor) -> Tensor:
    r"""What entries may differ by from a score that they are equal to.

    Args:
        cut (torch.Tensor): The score.
    """
    gap = 16 * torch.finfo(cut.dtype).eps * cut.abs()
    return gap.masked_fill(gap.isinf(), 0)


def first_of_equal(score: Tensor, cut: Tensor, gap: Tensor, m: int) -> Tensor:
    r"""Marks the :obj:`m` largest entries, the first ones of those that are
    equal to the :obj:`m`-th.

    Args:
        score (torch.Tensor): The scores, with shape :math:`(*, n)`.
        cut (torch.Tensor): The :obj:`m`-th largest, with shape :math:`(*, 1)`.
        gap (torch.Tensor): The :func:`slack` of it.
        m (int): How many to mark.
    """
    above = score > cut + gap
    equal = (score >= cut - gap) & ~above
    room = m - above.sum(-1, keepdim=True)
    return above | (equal & (equal.cumsum(-1) <= room))


@torch.library.custom_op('pyg_featgraph::top_m', mutates_args=())
def _top_m(weight: Tensor, m: int, keep_ties: bool) -> Tensor:
    native = native_form('top_m', weight)
    if native is not None:
        return native.forward(weight, m, keep_ties)  # type: ignore[no-any-return]
    n = weight.size(-1)
    if m >= n:
        return weight.clone(memory_format=torch.contiguous_format)
    score = weight.masked_fill(weight == 0, -torch.inf)
    cut = score.kthvalue(n - m + 1, dim=-1, keepdim=True).values
    gap = slack(cut)
    keep = score >= cut - gap
    if not keep_ties:
        # Few rows have ties at the cut, so only those are looked at again:
        tied = (keep.sum(-1) > m).nonzero(as_tuple=True)
        keep[tied] = first_of_equal(score[tied], cut[tied], gap[tied], m)
    # Times numbers costs a third of what times truth values does:
    return (weight * keep.to(weight.dtype)).contiguous()


@_top_m.register_fake
def _(weight: Tensor, m: int, keep_ties: bool) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


@torch.library.custom_op('pyg_featgraph::top_m_backward', mutates_args=())
def _top_m_backward(grad: Tensor, out: Tensor) -> Tensor:
    native = native_form('top_m', out)
    if native is not None:
        return native.backward(grad, out)  # type: ignore[no-any-return]
    return (grad * (out != 0).to(grad.dtype)).contiguous()


@_top_m_backward.register_fake
def _(grad: Tensor, out: Tensor) -> Tensor:
    return out.new_empty(out.size())


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (out,) = ctx.saved_tensors
    return _top_m_backward(grad, out), None, None


_top_m.register_autograd(_backward, setup_context=_setup_context)

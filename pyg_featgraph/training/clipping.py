r"""Clipping of gradients, of which some are sparse."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm


@torch.no_grad()
def clip(
    parameters: Iterable[Tensor], limit: float, by_value: bool = False
) -> None:
    r"""Limits gradients as :func:`torch.nn.utils.clip_grad_norm_` and
    :func:`torch.nn.utils.clip_grad_value_` do, which cannot take sparse ones;
    of those, rows that a batch has not touched are zero.

    Args:
        parameters (iterable of torch.Tensor): The parameters.
        limit (float): The largest norm of all, or the largest value.
        by_value (bool, optional): Whether each value is limited, instead of
            the norm of all. (default: :obj:`False`)
    """
    values = []
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()
            values.append(p.grad.values())
        elif p.grad is not None:
            values.append(p.grad)
    if by_value:
        for x in values:
            x.clamp_(-limit, limit)
        return
    scale = (limit / (get_total_norm(values) + 1e-6)).clamp(max=1.0)
    for x in values:
        x.mul_(scale)

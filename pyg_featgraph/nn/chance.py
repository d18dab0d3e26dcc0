r"""Whether a model knows more of labels than chance."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from torch import Tensor

from pyg_featgraph.data import FieldTable
from pyg_featgraph.nn.areas import area_of
from pyg_featgraph.nn.heads import Head, MulticlassHead
from pyg_featgraph.nn.logits import logits_of

#: What it means that it does not, and what may help.
ADVICE = (
    'what the model says of interactions and of new rows means nothing yet. '
    'Try a higher lr (5e-3), embedding_l2=10, more epochs (max_epochs, '
    'patience) or more rows'
)


def chance_error(y: Tensor, weight: Tensor) -> float:
    r"""The standard error of the :func:`concordance` of scores that know
    nothing of labels, whose mean is one half, from the `"A Distribution-Free
    k-Sample Test Against Ordered Alternatives"
    <https://doi.org/10.1093/biomet/41.1-2.133>`_ paper: with :math:`R` rows,
    and :math:`R_g` of each label,

    .. math::
        \frac{\sqrt{\left( R^2 (2R + 3) - \sum_g R_g^2 (2 R_g + 3) \right) /
        72}}{\left( R^2 - \sum_g R_g^2 \right) / 2}

    or, for two labels, :math:`\sqrt{(R + 1) / (12 R_0 R_1)}`. Weighted rows
    count for as many as say as much, :math:`(\sum w)^2 / \sum w^2`.

    Args:
        y (torch.Tensor): The labels, with shape :math:`(R)`.
        weight (torch.Tensor): The weights, with shape :math:`(R)`.
    """
    _, group = torch.unique(y, return_inverse=True)
    weight = weight.double()
    zero = weight.new_zeros(int(group.max()) + 1)
    squares = zero.index_add(0, group, weight.square())
    size = zero.index_add(0, group, weight).square() / squares
    total = size.sum()
    variance = (_spread(total) - _spread(size).sum()) / 72
    num_pairs = (total.square() - size.square().sum()) / 2
    return float(variance.sqrt() / num_pairs)


def warn_if_chance(
    head: Head, area: float, y: Tensor, weight: Tensor | None, rows: str
) -> None:
    r"""Warns if an AUC is not above one half by more than twice the standard
    error of chance, which is :func:`chance_error`; that of the mean over
    several classes is at most the mean of theirs.

    Args:
        head (Head): The head of the model.
        area (float): The AUC.
        y (torch.Tensor): The labels of its rows, with shape :math:`(R)`.
        weight (torch.Tensor, optional): Their weights, with shape :math:`(R)`.
        rows (str): What rows they are.
    """
    weight = torch.ones_like(y) if weight is None else weight
    y, weight = y[weight > 0], weight[weight > 0]
    parts = [y]
    if isinstance(head, MulticlassHead):
        parts = [y == c for c in torch.unique(y)]
    error = sum(chance_error(part, weight) for part in parts) / len(parts)
    if area <= 0.5 + 2 * error:
        warnings.warn(
            f'The AUC of {len(y)} {rows} is {area:.3f}, which chance gives as '
            f'well (one half, with a standard error of {error:.3f}): {ADVICE}',
            stacklevel=3,
        )


def warn_if_constant(
    head: Head, out: Tensor, y: Tensor, weight: Tensor | None, rows: str
) -> None:
    r"""Warns if the mean loss of rows is not below that of the same prediction
    for all of them, which their labels choose, by more than twice the standard
    error of the difference: of numbers and counts, which have no AUC. A head
    that knows of no such prediction is not looked at.

    Args:
        head (Head): The head of the model.
        out (torch.Tensor): The outputs, with shape :math:`(R)`.
        y (torch.Tensor): The labels, with shape :math:`(R)`.
        weight (torch.Tensor, optional): Their weights, with shape :math:`(R)`.
        rows (str): What rows they are.
    """
    out, y = out.double(), y.double()
    weight = torch.ones_like(y) if weight is None else weight.double()
    out, y, weight = (x[weight > 0] for x in (out, y, weight))
    constant = head.constant(y, weight)
    if constant is None:
        return
    share = weight / weight.sum()
    losses = head.losses(out, y)
    others = head.losses(constant.expand_as(out), y)
    gains = others - losses
    gain = (share * gains).sum()
    error = (share * (gains - gain)).square().sum().sqrt()
    if gain <= 2 * error:
        warnings.warn(
            f'The loss of {len(y)} {rows} is {(share * losses).sum():.4g}, and '
            f'{(share * others).sum():.4g} if all that is predicted is their '
            f'mean (the difference has a standard error of {error:.2g}): '
            f'{ADVICE}',
            stacklevel=3,
        )


def warn_if_chance_on(model: Any, table: FieldTable) -> None:
    r"""Warns if a model predicts the labels of rows no better than chance, or
    than their mean.

    Args:
        model (FieldModel): The model.
        table (FieldTable): The rows, with labels.
    """
    y, weight = cast(Tensor, table.y).double(), table.sample_weight
    weight = torch.ones_like(y) if weight is None else weight.double()
    if bool((y == y[0]).all()):
        return
    out = logits_of(model, table).cpu().double()
    area = area_of(model.head, out, y, weight)
    if area is None:
        warn_if_constant(model.head, out, y, weight, 'rows')
    else:
        warn_if_chance(model.head, area, y, weight, 'rows')


def _spread(size: Tensor) -> Tensor:
    return size.square() * (2 * size + 3)

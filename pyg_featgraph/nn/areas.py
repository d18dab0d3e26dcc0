r"""Areas under the ROC curve, and whether chance gives them as well."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from torch import Tensor

from pyg_featgraph.data import FieldTable
from pyg_featgraph.nn.heads import (
    BinaryHead,
    Head,
    MulticlassHead,
    RankingHead,
)
from pyg_featgraph.nn.logits import logits_of


def auc(scores: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The share of pairs of a positive and a negative row, by the product of
    their weights, that scores put in the right order, ties counting half: the
    area under the ROC curve. With a single class it is NaN.
    """
    _, value = torch.unique(scores, return_inverse=True)
    positive = y > 0.5
    zero = scores.new_zeros(int(value.max()) + 1)
    positives = zero.index_add(0, value, weight * positive)
    negatives = zero.index_add(0, value, weight * ~positive)
    num_pairs = positives.sum() * negatives.sum()
    if num_pairs == 0:
        warnings.warn(
            'The rows have a single class, so that they have no AUC',
            stacklevel=2,
        )
    # Of the negatives with a lower score, and with the same one:
    twice = (2 * negatives.cumsum(0) - negatives) * positives
    return twice.sum() / (2 * num_pairs)


def mean_auc(scores: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The mean over classes of the AUC of each against all others; a class
    without rows does not count.
    """
    areas = [
        auc(scores[:, int(c)], (y == c).double(), weight)
        for c in torch.unique(y)
    ]
    return torch.stack(areas).mean()


def concordance(scores: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The share of pairs of rows with different labels, by the product of
    their weights, that scores put in the right order, ties counting half; of
    labels 0 and 1 it is the AUC.
    """
    _, y = torch.unique(y, return_inverse=True)
    _, s = torch.unique(scores, return_inverse=True)
    # From the lowest label on, and of equal labels the highest score first,
    # so that no pair of equal labels is in order:
    order = torch.argsort(y * (int(s.max()) + 1) - s)
    y, s, w = y[order], s[order], weight[order]
    num_rows, size = len(y), 1
    row = torch.arange(num_rows, device=y.device)
    right = tied = w.new_zeros(())
    # Pairs of an earlier and a later row, by the smallest block of 2, 4, 8, ...
    # rows in which both are:
    while size < num_rows:
        key = (row // (2 * size)) * num_rows + s
        _, value = torch.unique(key, return_inverse=True)
        is_late = (row // size) % 2 == 1
        zero = w.new_zeros(int(value.max()) + 1)
        early = zero.index_add(0, value, w * ~is_late)
        late = zero.index_add(0, value, w * is_late)
        block = zero.long().index_copy(0, value, row // (2 * size))
        start = torch.searchsorted(block, block)
        below = torch.nn.functional.pad(early.cumsum(0), (1, 0))
        right = right + (late * (below[:-1] - below[start])).sum()
        tied = tied + (late * early).sum()
        size *= 2
    # Without ties of score between rows of equal labels:
    _, same = torch.unique(y * num_rows + s, return_inverse=True)
    tied = tied - (_square_of_sums(w, same) - w.square().sum()) / 2
    num_pairs = (w.sum().square() - _square_of_sums(w, y)) / 2
    return (right + tied / 2) / num_pairs


def area_of(head: Head, out: Tensor, y: Tensor, weight: Tensor) -> float | None:
    r"""The AUC of the outputs of a model, none if its head has no classes and
    no order.

    Args:
        head (Head): The head of the model.
        out (torch.Tensor): The outputs, with shape :math:`(R)` or
            :math:`(R, C)`.
        y (torch.Tensor): The labels, with shape :math:`(R)`.
        weight (torch.Tensor): The weights, with shape :math:`(R)`.
    """
    if isinstance(head, MulticlassHead):
        return float(mean_auc(head.predict(out), y, weight))
    if isinstance(head, BinaryHead):
        return float(auc(out, y, weight))
    if isinstance(head, RankingHead):
        return float(concordance(out, y, weight))
    return None


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
            f'well (one half, with a standard error of {error:.3f}): what the '
            'model says of interactions and of new rows means nothing yet. Try '
            'a higher lr (5e-3), embedding_l2=10, more epochs (max_epochs, '
            'patience) or more rows',
            stacklevel=3,
        )


def warn_if_chance_on(model: Any, table: FieldTable) -> None:
    r"""Warns if a model predicts the labels of rows no better than chance.

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
    if area is not None:
        warn_if_chance(model.head, area, y, weight, 'rows')


def _spread(size: Tensor) -> Tensor:
    return size.square() * (2 * size + 3)


def _square_of_sums(w: Tensor, group: Tensor) -> Tensor:
    sums = w.new_zeros(int(group.max()) + 1).index_add(0, group, w)
    return sums.square().sum()

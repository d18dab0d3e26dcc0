r"""Areas under the ROC curve, also of several classes and of grades."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from pyg_featgraph.nn.heads import (
    BinaryHead,
    Head,
    MulticlassHead,
    RankingHead,
)


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


def grouped_auc(scores: Tensor, y: Tensor, group: Tensor) -> Tensor:
    r"""The mean of the AUC of groups of rows, by their numbers of rows; groups
    with a single class do not count, and without any others it is NaN.

    Args:
        scores (torch.Tensor): The scores, with shape :math:`(R)`.
        y (torch.Tensor): The labels 0 and 1, with shape :math:`(R)`.
        group (torch.Tensor): The group of each row, integers with shape
            :math:`(R)`.
    """
    groups, group = torch.unique(group, return_inverse=True)
    values, value = torch.unique(scores, return_inverse=True)
    # What stands together: equal scores of a group, in their order.
    key, place = torch.unique(group * len(values) + value, return_inverse=True)
    owner = key // max(len(values), 1)
    positive = (y > 0.5).to(scores)
    zero = scores.new_zeros(len(key))
    positives = zero.index_add(0, place, positive)
    negatives = zero.index_add(0, place, 1 - positive)
    none = scores.new_zeros(len(groups))
    total = torch.stack(
        [none.index_add(0, owner, x) for x in (positives, negatives)]
    )
    # Of the negatives of the group with a lower score, and with the same one:
    before = total[1].cumsum(0) - total[1]
    below = negatives.cumsum(0) - negatives - before[owner]
    pairs = none.index_add(0, owner, (below + negatives / 2) * positives)
    area = pairs / total.prod(dim=0)
    size = total.sum(dim=0) * (total.prod(dim=0) > 0)
    return (area.nan_to_num() * size).sum() / size.sum()


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


def _square_of_sums(w: Tensor, group: Tensor) -> Tensor:
    sums = w.new_zeros(int(group.max()) + 1).index_add(0, group, w)
    return sums.square().sum()

r"""Figures of a whole table, in double precision."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ExactAUC(Metric):
    r"""The share of pairs of a positive and a negative row that the scores put
    in the right order, ties counting half: the area under the ROC curve,
    counted in whole numbers. With a single class it is NaN.
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state('scores', [], dist_reduce_fx='cat')
        self.add_state('labels', [], dist_reduce_fx='cat')

    def update(self, scores: Tensor, labels: Tensor) -> None:
        self.scores.append(scores.detach())
        self.labels.append(labels.detach() > 0.5)

    def compute(self) -> Tensor:
        # Other processes have sent theirs as one tensor:
        scores, labels = (
            torch.cat(x) if isinstance(x, list) else x
            for x in (self.scores, self.labels)
        )
        _, value, count = torch.unique(
            scores, return_inverse=True, return_counts=True
        )
        positives = torch.zeros_like(count).index_add_(0, value, labels.long())
        negatives = count - positives
        num_pairs = positives.sum() * negatives.sum()
        if num_pairs == 0:
            warnings.warn(
                'The rows have a single class, so that they have no AUC',
                stacklevel=2,
            )
        # Of the negatives with a lower score, and with the same one:
        twice = (2 * negatives.cumsum(0) - negatives) * positives
        out: Tensor = twice.sum().double() / (2 * num_pairs)
        return out


class ExactMean(Metric):
    r"""The mean of values over all rows."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zero = torch.zeros((), dtype=torch.double)
        self.add_state('total', zero, dist_reduce_fx='sum')
        self.add_state('count', zero.clone(), dist_reduce_fx='sum')

    def update(self, value: Tensor, num_rows: int) -> None:
        r"""Adds the mean of some rows."""
        self.total += value.detach().double() * num_rows
        self.count += num_rows

    def compute(self) -> Tensor:
        return self.total / self.count

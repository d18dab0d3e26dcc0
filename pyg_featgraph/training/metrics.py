r"""Figures of a whole table, in double precision, and which a head has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pyg_featgraph.nn.areas import auc, concordance, mean_auc
from pyg_featgraph.nn.heads import (
    BinaryHead,
    Head,
    MulticlassHead,
    PoissonHead,
    RankingHead,
    RegressionHead,
)
from pyg_featgraph.nn.heads.base import weighted_mean

#: A figure, of scores or predictions, labels and weights of all rows.
Figure = Callable[[Tensor, Tensor, Tensor], Tensor]


class ExactFigure(Metric):
    r"""A figure that is computed once from all rows.

    Args:
        figure (callable): A function of outputs :math:`(R)` or
            :math:`(R, C)`, labels :math:`(R)` and weights :math:`(R)`, all in
            double precision.
        predicts (bool, optional): Whether it wants what a head predicts in
            place of the outputs. (default: :obj:`False`)
    """

    full_state_update = False

    def __init__(
        self, figure: Figure, predicts: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.figure = figure
        self.predicts = predicts
        for name in ('outs', 'labels', 'weights'):
            self.add_state(name, [], dist_reduce_fx='cat')

    def update(
        self, out: Tensor, y: Tensor, weight: Tensor | None = None
    ) -> None:
        weight = torch.ones_like(y) if weight is None else weight
        values: Any = self
        values.outs.append(out.detach().double())
        values.labels.append(y.detach().double())
        values.weights.append(weight.detach().double())

    def compute(self) -> Tensor:
        # Other processes have sent theirs as one tensor:
        states: Any = (self.outs, self.labels, self.weights)
        columns = (torch.cat(x) if isinstance(x, list) else x for x in states)
        return self.figure(*columns)


class ExactMean(Metric):
    r"""The mean of values by the weight of their rows."""

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zero = torch.zeros((), dtype=torch.double)
        self.add_state('total', zero, dist_reduce_fx='sum')
        self.add_state('weight', zero.clone(), dist_reduce_fx='sum')

    def update(self, value: Tensor, weight: float | Tensor) -> None:
        r"""Adds the mean of some rows, with the sum of their weights."""
        self.total += value.detach().double() * weight
        self.weight += weight

    def compute(self) -> Tensor:
        return self.total / self.weight


def accuracy(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The share of rows whose class has the highest probability."""
    return weighted_mean(p.argmax(dim=1) == y, weight)


def rmse(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The root of the mean squared error."""
    return weighted_mean((p - y).square(), weight).sqrt()


def r2(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The share of the variance of the labels that is explained."""
    spread = (y - weighted_mean(y, weight)).square()
    error = weighted_mean((p - y).square(), weight)
    return 1 - error / weighted_mean(spread, weight)


def deviance(p: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    r"""The mean Poisson deviance."""
    each = 2 * (torch.xlogy(y, y / p) - y + p)
    return weighted_mean(each, weight)


#: The figures that each head has beside the loss.
FIGURES: dict[type[Head], dict[str, tuple[Figure, bool]]] = {
    BinaryHead: {'auc': (auc, False)},
    MulticlassHead: {'accuracy': (accuracy, True), 'auc': (mean_auc, True)},
    RegressionHead: {'rmse': (rmse, True), 'r2': (r2, True)},
    PoissonHead: {'deviance': (deviance, True)},
    RankingHead: {'auc': (concordance, False)},
}


def figures_of(head: Head) -> dict[str, ExactFigure]:
    r"""The figures of a head beside the loss, by name."""
    for kind, figures in FIGURES.items():
        if isinstance(head, kind):
            return {k: ExactFigure(*x) for k, x in figures.items()}
    return {}

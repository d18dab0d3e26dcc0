r"""A number."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_featgraph.nn.heads.base import Head, weighted_mean


class RegressionHead(Head):
    r"""A number: the output is the label in standard deviations from its mean
    over the training rows, and the loss is the squared error in this unit, so
    that predicting the mean has a loss of about one.
    """

    name = 'regression'
    unit = 'prediction, in standard deviations'
    wanted = 'a finite number'
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(()))
        self.register_buffer('std', torch.ones(()))

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return (out - (y - self.mean) / self.std).square()

    def predict(self, out: Tensor) -> Tensor:
        return out * self.std + self.mean

    def merge(self, outs: Tensor) -> Tensor:
        return outs.mean(dim=0)

    def constant(self, y: Tensor, weight: Tensor | None = None) -> Tensor:
        return (weighted_mean(y, weight) - self.mean) / self.std

    def adapt(self, y: Tensor, weight: Tensor | None = None) -> None:
        mean = weighted_mean(y, weight)
        std = weighted_mean((y - mean).square(), weight).sqrt()
        self.mean.copy_(mean)
        # Labels that are all alike have no unit:
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def wrong(self, y: Tensor) -> Tensor:
        return ~y.isfinite()

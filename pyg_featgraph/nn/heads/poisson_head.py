r"""A count."""

from __future__ import annotations

import torch
from torch import Tensor

from pyg_featgraph.nn.heads.base import Head, weighted_mean


class PoissonHead(Head):
    r"""A count, or another number that is not negative: the output is the
    logarithm of its mean, divided by that of the training rows, and the loss
    is the Poisson log loss :math:`\mu - y \log \mu`.
    """

    name = 'poisson'
    unit = 'logarithm of the mean'
    wanted = 'a finite number that is not negative'
    log_rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('log_rate', torch.zeros(()))

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        out = out + self.log_rate
        return out.exp() - y * out

    def predict(self, out: Tensor) -> Tensor:
        return (out + self.log_rate).exp()

    def merge(self, outs: Tensor) -> Tensor:
        return outs.exp().mean(dim=0).log()

    def constant(self, y: Tensor, weight: Tensor | None = None) -> Tensor:
        return weighted_mean(y, weight).log() - self.log_rate

    def adapt(self, y: Tensor, weight: Tensor | None = None) -> None:
        rate = weighted_mean(y, weight)
        # Without a single event the rate is unknown:
        self.log_rate.copy_(torch.where(rate > 0, rate, 1.0).log())

    def wrong(self, y: Tensor) -> Tensor:
        return y < 0

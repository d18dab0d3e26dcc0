r"""The callback that keeps a moving average of the weights."""

from __future__ import annotations

from functools import partial

import torch
from lightning import pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class AverageWeights(WeightAveraging):
    r"""Keeps the exponential moving average of the weights, with which the
    model is validated, tested and saved.

    The decay of step :math:`t` is :math:`\min(\beta, (1+t)/(10+t))`, so that
    the average soon forgets where the weights have started. Buffers of floating
    point numbers, such as running statistics, are averaged as well.

    Args:
        decay (float): The decay :math:`\beta`.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(avg_fn=partial(_average, decay=decay))

    def on_train_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        super().on_train_end(trainer, pl_module)
        # The module has the average from now on, or whatever is loaded into
        # it. It is not exchanged when that is evaluated:
        self._average_model = None


def _average(
    average: Tensor, value: Tensor, count: Tensor, decay: float
) -> Tensor:
    if not value.is_floating_point():
        return value
    t = float(count)
    return torch.lerp(average, value, 1 - min(decay, (1 + t) / (10 + t)))

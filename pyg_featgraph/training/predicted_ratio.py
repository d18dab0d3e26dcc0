r"""How far predictions are off as a whole."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class PredictedRatio(Metric):
    r"""The sum of what is predicted by the sum of the labels: above one if
    clicks, say, are predicted too often as a whole. A well calibrated model has
    one, and so may a bad one, so that it is shown beside
    :class:`torchmetrics.classification.BinaryCalibrationError`.
    """

    is_differentiable = False
    #: One is best.
    higher_is_better = None
    full_state_update = False
    predicted: Tensor
    observed: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zero = torch.zeros((), dtype=torch.double)
        self.add_state('predicted', zero, dist_reduce_fx='sum')
        self.add_state('observed', zero.clone(), dist_reduce_fx='sum')

    def update(self, preds: Tensor, target: Tensor) -> None:
        r"""Takes rows.

        Args:
            preds (torch.Tensor): Probabilities or means, with shape
                :math:`(B)`.
            target (torch.Tensor): The labels, with shape :math:`(B)`.
        """
        self.predicted += preds.detach().double().sum()
        self.observed += target.detach().double().sum()

    def compute(self) -> Tensor:
        return self.predicted / self.observed

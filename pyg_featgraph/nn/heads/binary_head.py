r"""Two classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.config import Rule, between
from pyg_featgraph.nn.heads.base import Head


class BinaryHead(Head):
    r"""Two classes, 0 and 1: the output is the logit of class 1, and the loss
    is the log loss.

    Args:
        label_smoothing (float, optional): In training, labels are moved by
            half of this share towards the other class. (default: :obj:`0`)
    """

    name = 'binary'
    unit = 'logit'
    wanted = '0 or 1: number the two classes so'
    rules: ClassVar[Mapping[str, Rule]] = {'label_smoothing': between(0, 1)}

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        if self.training and self.label_smoothing > 0:
            y = y + self.label_smoothing * (0.5 - y)
        return F.binary_cross_entropy_with_logits(out, y, reduction='none')

    def predict(self, out: Tensor) -> Tensor:
        return out.sigmoid()

    def merge(self, outs: Tensor) -> Tensor:
        # The logit of the mean of the probabilities:
        positive = F.logsigmoid(outs).logsumexp(dim=0)
        return positive - F.logsigmoid(-outs).logsumexp(dim=0)

    def wrong(self, y: Tensor) -> Tensor:
        return (y != 0) & (y != 1)

r"""Several classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.config import Rule, at_least, between
from pyg_featgraph.nn.heads.base import Head


class MulticlassHead(Head):
    r"""Several classes, numbered from 0: the outputs are their logits, and the
    loss is the cross entropy.

    Args:
        num_classes (int): The number :math:`C` of classes.
        label_smoothing (float, optional): In training, this share of each
            label is spread over all classes. (default: :obj:`0`)
    """

    name = 'multiclass'
    unit = 'logit of a class'
    rules: ClassVar[Mapping[str, Rule]] = {
        'num_classes': at_least(2),
        'label_smoothing': between(0, 1),
    }

    def __init__(self, num_classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.out_channels = num_classes
        self.label_smoothing = label_smoothing
        self.wanted = f'the number of a class, from 0 to {num_classes - 1}'

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        return F.cross_entropy(
            out, y.long(), reduction='none', label_smoothing=smoothing
        )

    def predict(self, out: Tensor) -> Tensor:
        return out.softmax(dim=-1)

    def merge(self, outs: Tensor) -> Tensor:
        # The logarithms of the mean of the probabilities, which are logits:
        mean = outs.log_softmax(dim=-1).logsumexp(dim=0)
        return mean - math.log(outs.size(0))

    def wrong(self, y: Tensor) -> Tensor:
        return (y < 0) | (y >= self.out_channels) | (y != y.floor())

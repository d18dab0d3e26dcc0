r"""A fast model that is a sum of one weight for each value of each block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, log_softmax, softmax

from pyg_featgraph.crossing.statistics import Target
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats

_PASSES = 5


class Block(NamedTuple):
    r"""One-hot columns of which a row has at most one.

    Args:
        at (numpy.ndarray): The column of each row, -1 if it has none, with
            shape :math:`(R)`.
        size (int): The number :math:`V` of columns.
    """

    at: Ids
    size: int


class AdditiveModel:
    r"""Logistic regression, of several classes too, or linear regression on
    blocks of one-hot columns, with an L2 penalty; one for each of :math:`K`
    folds, which has not seen the rows of that fold.

    A block has a diagonal Hessian, so a Newton step for all its weights is
    two sums over the rows; steps go round the blocks.

    Args:
        target (Target): The labels.
        folds (list): The other rows and the rows of each fold.
        l2 (float): The penalty.
    """

    def __init__(
        self, target: Target, folds: Sequence[tuple[Ids, Ids]], l2: float
    ) -> None:
        y = target.values
        self.is_linear = target.classes is None
        if self.is_linear:
            y = (y - y.mean()) / (y.std() or 1.0)
        self.y, self.l2 = y, l2
        self.fold = np.empty(len(y), np.int64)
        self.learns = np.ones((len(folds), len(y), 1))
        for k, (_, rows) in enumerate(folds):
            self.fold[rows] = k
            self.learns[k, rows] = 0
        self.logits = np.zeros((len(folds), *y.shape))
        self.blocks: list[tuple[Block, Floats, float]] = []
        self._derive()
        # The intercept, which is not penalised:
        self._add(Block(np.zeros(len(y), np.int32), 1), 0.0)

    def add(self, block: Block) -> None:
        r"""Adds a block, with weights of zero."""
        self._add(block, self.l2)

    def fit(self) -> None:
        r"""Goes round the blocks."""
        for _ in range(_PASSES):
            for block, weight, l2 in self.blocks:
                step = self._step(block, weight, l2)
                weight += step
                self.logits += step[:, block.at]
                self._derive()

    def gain(self, block: Block) -> tuple[float, float]:
        r"""By how much a new block lowers the loss of held-out rows: the mean
        for a row, and its standard error.
        """
        rows = np.arange(len(self.y))
        step = self._step(block, np.zeros(1), self.l2)
        before = self.logits[self.fold, rows]
        after = before + step[self.fold, block.at]
        gain = self._loss(before) - self._loss(after)
        return float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))

    def _add(self, block: Block, l2: float) -> None:
        shape = (len(self.logits), block.size + 1, self.y.shape[1])
        self.blocks.append((block, np.zeros(shape), l2))

    def _derive(self) -> None:
        r"""The derivatives of the loss of rows that are learned from."""
        if self.is_linear:
            p, curve = self.logits, np.ones_like(self.logits)
        else:
            several = self.y.shape[1] > 1
            p = softmax(self.logits, -1) if several else expit(self.logits)
            curve = p * (1 - p)
        self.slope = (self.y - p) * self.learns
        self.curve = curve * self.learns

    def _step(self, block: Block, weight: Floats, l2: float) -> Floats:
        r"""The Newton step [K, V + 1, C], zero for rows without a column."""
        slope = self._sums(block, self.slope) - l2 * weight
        curve = self._sums(block, self.curve) + l2
        # A value that no row has needs no step, with or without a penalty:
        step = slope / np.maximum(curve, 1e-12)
        step[:, -1] = 0
        return step

    def _sums(self, block: Block, x: Floats) -> Floats:
        size = block.size + 1
        at = np.where(block.at < 0, block.size, block.at)
        at = (at + size * np.arange(len(x))[:, None]).ravel()
        sums: list[Any] = [
            np.bincount(at, x[..., c].ravel(), size * len(x))
            for c in range(x.shape[2])
        ]
        out: Floats = np.stack(sums, axis=1).reshape(len(x), size, -1)
        return out

    def _loss(self, logits: Floats) -> Floats:
        if self.is_linear:
            loss = 0.5 * (self.y - logits) ** 2
        elif self.y.shape[1] > 1:
            loss = -self.y * log_softmax(logits, axis=-1)
        else:
            loss = np.logaddexp(0, logits) - self.y * logits
        return np.asarray(loss.sum(axis=-1))

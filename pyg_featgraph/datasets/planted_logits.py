r"""The logits of a table whose truth is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def bayes_metrics(
    logits: ArrayLike, y: ArrayLike | None = None
) -> dict[str, float]:
    r"""AUC and log loss of the true logits of some rows.

    With the probability :math:`w_i` that row :math:`i` is positive, a pair of
    rows has the weight :math:`w_i (1 - w_j)` in the AUC

    .. math::
        \frac{\sum_{i \neq j} w_i (1 - w_j) \big( [z_i > z_j] +
        \frac{1}{2} [z_i = z_j] \big)}{\sum_{i \neq j} w_i (1 - w_j)},

    and the log loss is :math:`-\frac{1}{n} \sum_i w_i \log \sigma(z_i) +
    (1 - w_i) \log \sigma(-z_i)`. Without labels, :math:`w_i =
    \sigma(z_i)` gives what is to be expected over all labels that these rows
    might have (for the AUC, as the ratio of the expected sums).

    Args:
        logits (numpy.ndarray): The true logits :math:`z_i`.
        y (numpy.ndarray, optional): The labels, which then are the
            :math:`w_i`. (default: :obj:`None`)

    Returns:
        dict: The entries :obj:`"auc"` and :obj:`"log_loss"`.
    """
    z = np.asarray(logits, dtype=np.float64)
    w = sigmoid(z) if y is None else np.asarray(y, dtype=np.float64)
    if z.shape != w.shape or z.ndim != 1:
        raise ValueError(
            f'One label for each logit is needed (got {w.shape} labels and '
            f'{z.shape} logits)'
        )
    # In this form no logit is too large for the logarithm:
    loss = w * np.logaddexp(0, -z) + (1 - w) * np.logaddexp(0, z)
    order = np.argsort(z)
    z, w = z[order], w[order]
    # Equal logits share one place in the ranking:
    start = np.flatnonzero(np.diff(z, prepend=np.nan) != 0)
    positive = np.add.reduceat(w, start)
    negative = np.add.reduceat(1 - w, start)
    below = np.cumsum(negative) - negative
    # A row makes no pair with itself:
    own = (w * (1 - w)).sum()
    right = (positive * below).sum()
    tied = (positive * negative).sum() - own
    pairs = positive.sum() * negative.sum() - own
    if pairs <= 0:
        raise ValueError('An AUC needs positive and negative rows')
    return {
        'auc': float((right + 0.5 * tied) / pairs),
        'log_loss': float(loss.mean()),
    }


def sigmoid(z: Floats) -> Floats:
    r"""The probabilities of logits."""
    # Beyond 700 the exponential would overflow, and the result is zero anyway:
    return 1 / (1 + np.exp(np.minimum(-z, 700)))


def solve_intercept(z: Floats, positive_rate: float) -> float:
    r"""What to add to logits so that this share of labels is positive."""
    high = 30.0
    while not (
        sigmoid(z - high).mean() < positive_rate < sigmoid(z + high).mean()
    ):
        high *= 2
    low = -high
    for _ in range(60):
        middle = (low + high) / 2
        too_many = sigmoid(z + middle).mean() > positive_rate
        low, high = (low, middle) if too_many else (middle, high)
    return (low + high) / 2

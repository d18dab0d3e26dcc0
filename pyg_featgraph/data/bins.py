r"""Where the axis of a number is cut into buckets.

Edges between training rows lie halfway between two neighbouring values, so
that a number that was not seen goes with the nearer one of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats

#: Labels by which to fit: numbers of classes, or numbers in floating point.
Labels = NDArray[np.int64] | Floats
#: How many training rows a leaf of a tree has at least, so that none is there
#: for the label of a few rows; as many as LightGBM has.
LEAF_ROWS = 20


def are_classes(y: Labels) -> bool:
    r"""Whether labels are classes, which have an integer type.

    Args:
        y (numpy.ndarray): The labels, with shape :math:`(R)`.
    """
    return y.dtype.kind == 'i'


def width_edges(values: Floats, bins: int) -> Floats:
    r"""The edges of buckets of equal width; one value has a single bucket.

    Args:
        values (numpy.ndarray): The distinct numbers in rising order.
        bins (int): The number of buckets.
    """
    if not len(values):
        return np.empty(0)
    return np.unique(np.linspace(values[0], values[-1], bins + 1)[1:-1])


def quantile_edges(
    values: Floats, counts: Ids, bins: int, min_count: int = 1
) -> Floats:
    r"""The edges of buckets of about equally many rows. Mass points (see
    :func:`has_mass`) have buckets of their own, and all others share the
    remaining ones, so that none is lost to quantiles that coincide. If there
    are no more distinct values than buckets, each has its own.

    Args:
        values (numpy.ndarray): The distinct numbers in rising order.
        counts (numpy.ndarray): The number of rows of each.
        bins (int): The number of buckets.
        min_count (int, optional): What has fewer rows is joined with the next
            bucket. (default: :obj:`1`)
    """
    if len(values) <= bins:
        return _halfway(values, counts, np.ones(len(values), bool), min_count)
    mass = has_mass(counts, bins)
    rest = np.where(mass, 0, counts)
    num_parts = max(1, bins - int(mass.sum()))
    middle = rest.cumsum() - rest / 2
    part = np.floor(middle * num_parts / max(1, rest.sum()))
    starts = np.append(True, part[1:] != part[:-1])
    # On both sides of a mass point:
    starts |= mass
    starts[1:] |= mass[:-1]
    return _halfway(values, counts, starts, min_count)


def tree_edges(
    values: Floats,
    counts: Ids,
    x: Floats,
    y: Labels,
    bins: int,
    min_count: int = 1,
) -> Floats:
    r"""The thresholds of a decision tree that tells the label from the number
    alone: by cross entropy for classes, by squared error for numbers.

    Args:
        values (numpy.ndarray): The distinct numbers in rising order.
        counts (numpy.ndarray): The number of rows of each.
        x (numpy.ndarray): The numbers of the training rows, :math:`(R)`.
        y (numpy.ndarray): Their labels, :math:`(R)`.
        bins (int): The largest number of leaves.
        min_count (int, optional): The least number of rows of a leaf, if it
            is more than :obj:`LEAF_ROWS`. (default: :obj:`1`)
    """
    if bins < 2 or len(values) < 2:
        return np.empty(0)
    options = {
        'max_leaf_nodes': bins,
        'min_samples_leaf': max(LEAF_ROWS, min_count),
        'random_state': 0,
    }
    if are_classes(y):
        tree = DecisionTreeClassifier(criterion='entropy', **options)
    else:
        tree = DecisionTreeRegressor(**options)
    # Trees of scikit-learn see single precision, which holds the ranks:
    tree.fit(np.searchsorted(values, x)[:, None], y)
    leaf = tree.apply(np.arange(len(values), dtype=np.float32)[:, None])
    starts = np.append(True, leaf[1:] != leaf[:-1])
    return _halfway(values, counts, starts, 1)


def has_mass(counts: Ids, bins: int) -> NDArray[np.bool_]:
    r"""Which values are mass points: they fill at least one of :obj:`bins`
    equal shares of the rows, where the shares of the others are those of the
    rows that these leave.

    Args:
        counts (numpy.ndarray): The number of rows of each distinct number.
        bins (int): The number of shares.
    """
    mass = np.zeros(len(counts), bool)
    while True:
        rest, left = counts[~mass].sum(), bins - mass.sum()
        # Those with mass leave smaller shares to the others:
        more = ~mass & (counts * left >= rest)
        if not more.any():
            return mass
        mass |= more


def _halfway(
    values: Floats, counts: Ids, starts: NDArray[np.bool_], min_count: int
) -> Floats:
    r"""The edges before the values at which buckets start, but for those that
    would leave fewer than :obj:`min_count` rows in a bucket.
    """
    below = np.append(0, counts.cumsum())
    kept, last = [], 0
    for start in np.flatnonzero(starts):
        if start and below[start] - last >= min_count:
            kept.append(int(start))
            last = below[start]
    if kept and below[-1] - last < min_count:
        kept.pop()
    low, high = values[[i - 1 for i in kept]], values[kept]
    middle = low + (high - low) / 2
    # Between neighbours in double precision there is no number:
    return np.where(middle > low, middle, high)

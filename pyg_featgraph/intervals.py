r"""Intervals of what is a mean over rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def bootstrap_intervals(
    values: ArrayLike,
    num_bootstraps: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""Intervals of means over independent rows, which are drawn anew with
    replacement, the same ones for all means: the percentile method of
    `"Bootstrap Methods: Another Look at the Jackknife"
    <https://doi.org/10.1214/aos/1176344552>`_.

    Args:
        values (array): What the means are of.
        num_bootstraps (int, optional): How often rows are drawn.
            (default: :obj:`200`)
        level (float, optional): The share of intervals that shall hold the
            mean over all rows that there could be. (default: :obj:`0.95`)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)

    Shapes:
        - **input:** values :math:`(K, R)` of :math:`R` rows
        - **output:** lower and upper ends :math:`(K, 2)`

    Raises:
        ValueError: If nothing is to be drawn, or no row is there.
    """
    values = np.asarray(values, dtype=np.float64)
    size = values.shape[1]
    if num_bootstraps < 1 or size < 1:
        raise ValueError(
            f'An interval needs draws and rows (got {num_bootstraps} draws of '
            f'{size} rows)'
        )
    if not 0 < level < 1:
        raise ValueError(f"'level' must lie in (0, 1) (got {level})")
    counts = np.random.default_rng(seed).multinomial(
        size, np.full(size, 1 / size), num_bootstraps
    )
    means = values @ counts.T / size
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail], axis=1)
    return np.column_stack([low, high])

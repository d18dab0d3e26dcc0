r"""The values of a column as a few levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def find_levels(
    column: pd.Series, num_levels: int
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    r"""The levels of a column, and which one each row has.

    A column of few values has one for each. Other numbers and dates have
    ranges of about as many rows each, anything else its most frequent values
    and :obj:`"(others)"`. Missing entries are :obj:`"(missing)"`.

    Args:
        column (pandas.Series): The column.
        num_levels (int): The number of levels at most, those in brackets
            aside.

    Shapes:
        - **output:** the names of :math:`L` levels, and the level of each row
          :math:`(R)`
    """
    # Models work without it:
    import pandas as pd
    from pandas.api import types

    numbers = types.is_numeric_dtype(column) and not types.is_bool_dtype(column)
    ordered = numbers or types.is_datetime64_any_dtype(column)
    missing = column.isna().to_numpy()
    present = column[~missing]
    if not ordered:
        present = present.astype(str)
    values, counts = np.unique(present.to_numpy(), return_counts=True)
    names: list[str]
    if ordered and len(values) > num_levels:
        # By the middle rank, so that a value of many rows is one by itself:
        middle = (counts.cumsum() - counts / 2) / counts.sum()
        parts = np.floor(middle * num_levels)
        part_of = np.unique(parts, return_inverse=True)[1]
        codes = part_of[np.searchsorted(values, present)]
        groups = pd.Series(values).groupby(part_of)
        ends = zip(groups.min(), groups.max(), strict=True)
        names = [
            _text(low) if low == high else f'{_text(low)} to {_text(high)}'
            for low, high in ends
        ]
    else:
        if not ordered:
            values = values[np.argsort(-counts, kind='stable')[:num_levels]]
        codes = pd.Index(values).get_indexer(pd.Index(present))
        names = [_text(x) for x in values]
        if (codes < 0).any():
            codes = np.where(codes < 0, len(names), codes)
            names.append('(others)')
    out = np.full(len(column), len(names))
    out[~missing] = codes
    if missing.any():
        names.append('(missing)')
    return tuple(names), out


def _text(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)

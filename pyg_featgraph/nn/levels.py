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
        ranges = pd.qcut(present, num_levels, duplicates='drop').cat
        # A range between two ends that are no values may have no rows:
        used, codes = np.unique(ranges.codes.to_numpy(), return_inverse=True)
        names = [
            f'{_text(x.left)} to {_text(x.right)}'
            for x in ranges.categories[used]
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

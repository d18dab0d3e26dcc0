r"""Tables of other kinds as data frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def to_frame(table: Any) -> pd.DataFrame:
    r"""A table as a :class:`~pandas.DataFrame` with texts as names of columns.

    Args:
        table (pandas.DataFrame or numpy.ndarray): The table.
    """
    if isinstance(table, pd.DataFrame):
        return table.set_axis([str(name) for name in table.columns], axis=1)
    table = np.asarray(table)
    names = [f'x{i}' for i in range(table.shape[1])]
    return pd.DataFrame(table, columns=names)

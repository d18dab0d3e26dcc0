r"""Points in time: the parts of a date, and how long ago it was, as numbers.

A point in time is the same as an object of any type and as a text in ISO
form, by the rules of :mod:`pyg_featgraph.data.values`: with a time zone it is
in UTC, without one it is taken as it stands.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from pyg_featgraph.data.texts import to_texts
from pyg_featgraph.data.values import Floats, raise_at
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import ISO

#: What a field can be of a date. A week starts with Monday, which is 0, and
#: the last one is the days since 1970-01-01 with their fraction.
PARTS = ('year', 'month', 'day', 'weekday', 'hour', 'minute', 'elapsed')

_ATTRIBUTES = {'weekday': 'day_of_week'}
_DAY = 24 * 3600 * 10**6  # In microseconds.


def to_times(column: pd.Series) -> pd.DatetimeIndex:
    r"""A column as points in time without a zone, missing ones as NaT.

    Raises:
        DataError: If an entry is neither a point in time nor a text of one in
            ISO form.
    """
    if dtypes.is_datetime64_any_dtype(column.dtype):
        times = pd.DatetimeIndex(column)
        if times.tz is not None:
            times = times.tz_convert(None)
        return _in_microseconds(times, column)
    codes, keys = to_texts(column)
    known = keys.where(keys.str.fullmatch(ISO))
    parsed = pd.to_datetime(known, format='ISO8601', utc=True, errors='coerce')
    # A zone may take the first and the last days out of the years that there
    # are. And a time apart for code -1, which marks missing entries:
    beyond = (parsed.year < 1) | (parsed.year > 9999)
    wrong = np.append(parsed.isna() | beyond, False)[codes]
    if wrong.any():
        what = 'is no point in time such as 2020-01-31 or 2020-01-31 12:30:00'
        raise_at(column, wrong, what)
    distinct = _in_microseconds(parsed.tz_localize(None), column).to_numpy()
    return pd.DatetimeIndex(np.append(distinct, np.datetime64('NaT'))[codes])


def _in_microseconds(
    times: pd.DatetimeIndex, column: pd.Series
) -> pd.DatetimeIndex:
    try:
        return times.as_unit('us')
    except pd.errors.OutOfBoundsDatetime as error:
        raise DataError(
            f"Column '{column.name}' holds points in time that are too far "
            f'away ({error})'
        ) from error


def date_part(column: pd.Series, part: str) -> pd.Series:
    r"""One part of the dates of a column as numbers, missing ones as NaN.

    Args:
        column (pandas.Series): The dates.
        part (str): One of :obj:`PARTS`.

    Raises:
        DataError: As by :func:`to_times`.
    """
    numbers = _part(to_times(column), part)
    return pd.Series(numbers, column.index, name=column.name)


def varying_parts(column: pd.Series) -> list[str]:
    r"""The parts in which the dates of a column differ, or at least
    :obj:`"elapsed"`; none if it does not hold dates.
    """
    if dtypes.is_numeric_dtype(column) or dtypes.is_bool_dtype(column):
        return []
    known = column.dropna()
    try:
        if not len(known) or to_times(known[:1]).isna().all():
            return []
        times = to_times(known).dropna()
    except DataError:
        return []
    varying = [part for part in PARTS if len(np.unique(_part(times, part))) > 1]
    return varying or ['elapsed']


def _part(times: pd.DatetimeIndex, part: str) -> Floats:
    if part != 'elapsed':
        numbers = getattr(times, _ATTRIBUTES.get(part, part))
        return np.asarray(numbers, np.float64)
    days: Floats = times.to_numpy().view(np.int64) / _DAY
    days[times.isna()] = np.nan
    return days

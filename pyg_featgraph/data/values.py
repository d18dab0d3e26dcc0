r"""What an entry of a table is: missing, a text as a category, or a number.

An entry is the same wherever it comes from, a DataFrame of any dtype or a text
file, alone or among others. The rules for **missing** entries:

* :obj:`None`, NaN, NaT and :obj:`pandas.NA`, and the texts :obj:`""`,
  :obj:`"nan"` and :obj:`"NaN"`, as text files have them.

For **categories**, which are compared as texts:

* Space around a text does not count.
* A number is its value in decimals without zeros at the end, of any type and
  also as a text: 3, 3.0 and :obj:`"3.0"` are :obj:`"3"`, 1e-5 is
  :obj:`"0.00001"`. Texts that no program writes for a number are none, such as
  :obj:`"007"`, :obj:`"+3"` and :obj:`"1e5"` (which may be a hash).
* A truth value is 1 or 0, also as a text: :obj:`"true"`, :obj:`"True"` and
  :obj:`"TRUE"`, and likewise for false.
* A point in time is :obj:`"2020-01-31 12:30:00.5"`, without the time if it is
  midnight, also as a text in that form or with a :obj:`"T"`; with a time zone
  it is in UTC and ends with :obj:`"+00:00"`.
* Periods, intervals, times of the day and UUIDs are what :obj:`str` gives.
* Anything else is refused, as is text that is no valid Unicode and a whole
  number in floating point that is too large to be told from its neighbours.

For **numbers**: integers, floating point numbers, truth values, decimals, and
texts of them. What is not finite in single precision is refused, as are
complex numbers and points in time.

In single precision, .1 is 0.100000001490116. A fraction that single precision
holds exactly hence stands for the shortest decimal number that it is the
nearest to, in categories and numbers alike.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.api import types as dtypes

from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import LARGEST, read_number, shown

Floats = NDArray[np.float64]

# What pandas.to_numeric turns into the numbers that are meant:
_PLAIN = ('floating', 'integer', 'mixed-integer-float', 'boolean', 'string')


def check_frame(df: pd.DataFrame, names: Iterable[str]) -> None:
    r"""Checks that a table has columns.

    Args:
        df (pandas.DataFrame): The table.
        names (list of str): The names of the columns.

    Raises:
        DataError: If one is missing or occurs twice.
    """
    names = list(names)
    missing = [name for name in names if name not in df.columns]
    if missing:
        raise DataError(
            f'The table lacks the columns {missing}; it has {list(df.columns)}'
        )
    twice = df.columns[df.columns.duplicated()].intersection(names)
    if len(twice):
        raise DataError(
            f'Names of columns must be distinct (got {list(df.columns)}); '
            'rename or drop some'
        )


def raise_at(column: pd.Series, wrong: NDArray[np.bool_], what: str) -> None:
    r"""Raises a :class:`DataError` that names the first wrong entry."""
    at = int(np.flatnonzero(wrong)[0])
    raise DataError(
        f"Column '{column.name}', row {column.index[at]!r}: "
        f'{shown(column.iloc[at])} {what} '
        f'({int(wrong.sum())} such of {len(column)} rows). Correct or drop '
        'these rows, or leave the value empty if it is missing'
    )


def to_objects(column: pd.Series) -> pd.Series:
    r"""The entries as objects of Python.

    Raises:
        DataError: If Python has no object for one of them.
    """
    try:
        return column.astype(object)
    except (OverflowError, ValueError) as error:
        raise DataError(
            f"Column '{column.name}' of type {column.dtype} holds what Python "
            f'has no object for ({error}); turn it into text'
        ) from error


def to_numbers(column: pd.Series) -> Floats:
    r"""A column as numbers by the rules above, missing ones as NaN.

    Raises:
        DataError: If an entry is no number or not finite in single precision.
    """
    dtype = column.dtype
    if dtypes.is_complex_dtype(dtype) or dtypes.is_datetime64_any_dtype(dtype):
        raise DataError(
            f"Column '{column.name}' holds {dtype}, which is no number; turn "
            'it into one, such as a real part or days since some day'
        )
    if dtypes.is_numeric_dtype(dtype) or dtypes.is_bool_dtype(dtype):
        x = column.to_numpy(np.float64, na_value=np.nan)
    else:
        x = _parse(column)
    infinite = np.abs(x) > LARGEST
    if infinite.any():
        raise_at(column, infinite, 'is not finite in single precision')
    return shorten(x)


def check_single(
    column: pd.Series,
    x: Floats,
    what: str = 'is not finite in single precision',
) -> Floats:
    r"""The numbers of the rows of a column, if single precision holds them.

    Args:
        column (pandas.Series): The column.
        x (numpy.ndarray): The numbers.
        what (str, optional): What to say of an entry with other ones.

    Raises:
        DataError: If one is not finite in single precision.
    """
    fits = np.abs(x) <= LARGEST
    if not fits.all():
        fits = fits.reshape(len(x), -1)
        raise_at(column, np.asarray(~fits.all(axis=1), bool), what)
    return x


def shorten(x: Floats) -> Floats:
    r"""Fractions that are exact in single precision as the shortest decimal
    numbers that they are the nearest to, all others as they are.
    """
    single = x.astype(np.float32)
    at = np.flatnonzero((single == x) & (x != np.floor(x)))
    if not len(at):
        return x
    out, rest = x.copy(), x[at]
    digits = np.floor(np.log10(np.abs(rest)))
    # Beyond, powers of ten are not exact; there are few such numbers:
    tiny = digits < -12
    out[at[tiny]] = [float(str(y)) for y in single[at[tiny]]]
    at, rest, digits = at[~tiny], rest[~tiny], digits[~tiny]
    for length in range(6, 10):
        scale = 10.0 ** (length - 1 - digits)
        short = np.round(rest * scale) / scale
        found = short.astype(np.float32) == rest.astype(np.float32)
        out[at[found]] = short[found]
        at, rest, digits = at[~found], rest[~found], digits[~found]
        if not len(at):
            break
    return out


def _parse(column: pd.Series) -> Floats:
    if not isinstance(column.dtype, pd.StringDtype):
        column = to_objects(column)
    elif (plain := _parse_plain(column)) is not None:
        return plain
    x = np.full(len(column), np.nan)
    if dtypes.infer_dtype(column, skipna=True) in _PLAIN:
        try:
            numbers = pd.to_numeric(column, errors='coerce')
            x = numbers.to_numpy(np.float64, copy=True, na_value=np.nan)
        except OverflowError:
            pass  # An integer, which is found below.
    wrong = np.zeros(len(column), bool)
    for i in np.flatnonzero(np.isnan(x) & column.notna().to_numpy()):
        try:
            x[i] = read_number(column.iloc[i])
        except (OverflowError, TypeError, ValueError):
            wrong[i] = True
    if wrong.any():
        raise_at(column, wrong, 'is not a number')
    return x


def _parse_plain(column: pd.Series) -> Floats | None:
    r"""Texts as numbers, if nothing but plain decimals are among them."""
    texts = pa.array(column, pa.large_string())
    try:
        numbers = pc.cast(texts, pa.float64())
    except pa.ArrowInvalid:
        try:
            texts = pc.if_else(pc.equal(texts, ''), None, texts)
            numbers = pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            return None
    # Arrow takes more spellings than these for what is not a number:
    if pc.any(pc.is_nan(numbers)).as_py():
        return None
    x: Floats = np.asarray(numbers)  # With NaN where they are missing.
    return x

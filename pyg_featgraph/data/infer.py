r"""What a column holds, and what its labels ask for, as far as a person would
say so who looks at the names and the values.

**Identifiers.** A column of whole numbers is one of categories if

* the last word of its name says so (:obj:`"id"`, :obj:`"code"`,
  :obj:`"zip"`, :obj:`"user"`, ...), or a number has more than 15 digits; or
* its values look so: there are more than 16, seen at least four times on
  average, none of them below -1; the most frequent one is none of -1, 0 and 1,
  as with counts and amounts; the others span more than a year has days, unlike
  ages, hours and shares; they are not round ones, as prices and salaries are;
  and how often one is seen has little to do with how often its neighbours are.
  Of quantities, near ones are about equally frequent. So for each row the
  count :math:`c` of its value is compared with the mean :math:`m` of those of
  the four next to it: the mean of :math:`(c - m) / (c + m)` has to be above
  .15, beyond what chance gives. (All this leaves out the most frequent value,
  which may stand for something else.)

A name that says that it is a quantity (:obj:`"price"`, :obj:`"num_rooms"`,
...) rules that out, and up to 16 values have a vector each either way.

**Useless columns** are those with a single value, with another text (or
identifier) in every row, with free text (five words on average, most of them
not repeated), or without a name of their own, as an index has that pandas has
saved. Of fewer than 30 rows, only the last is believed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from pyg_featgraph.data.dates import varying_parts
from pyg_featgraph.data.values import Floats, to_numbers, to_objects
from pyg_featgraph.errors import DataError

#: The number of rows from which on a column is said to be useless.
MIN_ROWS = 30
#: Labels with more values than these are numbers, not classes.
MAX_CLASSES = 20

# The last word of a name that says so, alone or glued to its noun:
_ID = re.compile(
    'ids?|uid|uuid|guid|codes?|zip|zipcode|postcode|postal|key|hash|sku|isbn|'
    'ean|ip|phone|user|item|movie|product|customer|client|store|shop|seller|'
    'device|site|app|brand|category|region|city|country|state|'
    '(user|item|movie|product|customer|client|store|shop|seller|device|site|'
    'app|order|session|account|passenger|patient|employee|person|member)'
    '(id|code|no|nr|number)'
)
_QUANTITY = re.compile(
    'age|amount|amt|area|balance|bytes|clicks|cost|counts?|cnt|days?|depth|'
    'distance|duration|elevation|fee|gain|height|hours?|income|length|loss|'
    'mileage|mins?|minutes?|months?|percent|pct|population|price|qty|quantity|'
    'rate|ratio|revenue|salary|sales|score|seconds|size|speed|sum|temperature|'
    'tenure|times?|timestamp|total|value|views|visits|volume|wage|weight|'
    'width|years?'
)
# The first word of one:
_NUMBER_OF = re.compile('n|num|number|count|total|sum|avg|mean|max|min')
_DECIMAL = re.compile(r'\s*(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]\d+)?)?\s*')
_FEW = 16


class Reading(NamedTuple):
    r"""What a column holds.

    Args:
        kind (str): The kind of its field, or fields.
        parts (list of str): Of dates, the parts that vary.
        useless (str): Why it tells nothing, if so.
    """

    kind: str
    parts: tuple[str, ...] = ()
    useless: str = ''


def read_kind(column: pd.Series) -> Reading:
    r"""What a column holds, by the rules of this module.

    Args:
        column (pandas.Series): The column.
    """
    first = [*to_objects(column.dropna().head(1))]
    if first and _is_list(first[0]):
        floats = [isinstance(x, float | np.floating) for x in first[0]]
        return Reading('vector' if floats and all(floats) else 'multi')
    distinct, known = _num_distinct(column), int(column.count())
    useless = ''
    if re.fullmatch(r'Unnamed: \d+', str(column.name)):
        useless = 'without a name, as a saved index is'
    elif len(column) >= MIN_ROWS and distinct + (known < len(column)) < 2:
        useless = 'the same in all rows'
    if _is_told(column):
        return Reading('categorical', (), useless)
    numbers = _numbers(column, distinct)
    if numbers is not None:
        if not looks_like_ids(str(column.name), numbers):
            return Reading('numeric', (), useless)
    elif parts := varying_parts(column):
        return Reading('numeric', (*parts,), useless)
    if not useless and known >= MIN_ROWS:
        if distinct == known:
            useless = 'another one in every row'
        elif distinct > known / 2 and _num_spaces(column) >= 4:
            useless = 'free text'
    return Reading('categorical', (), useless)


def infer_task(column: pd.Series) -> str:
    r"""What a column of labels asks for: two values are :obj:`"binary"`, texts,
    truth values, categories and up to 20 whole numbers :obj:`"multiclass"`,
    other numbers :obj:`"regression"`.

    Args:
        column (pandas.Series): The labels.
    """
    distinct = _num_distinct(column)
    if distinct <= 2:
        return 'binary'
    numbers = None if _is_told(column) else _numbers(column, distinct)
    if numbers is None or (_are_whole(numbers) and distinct <= MAX_CLASSES):
        return 'multiclass'
    return 'regression'


def looks_like_ids(name: str, x: Floats) -> bool:
    r"""Whether numbers are identifiers, by the rules of this module.

    Args:
        name (str): The name of the column.
        x (numpy.ndarray): The numbers, with NaN where one is missing.
    """
    x = x[~np.isnan(x)]
    if not len(x) or not _are_whole(x):
        return False
    said = _says_id(name)
    if said is not None:
        return said
    if np.abs(x).max() >= 1e15:
        return True
    values, counts = np.unique(x, return_counts=True)
    mode = counts.argmax()
    if len(values) <= _FEW or values[0] < -1 or values[mode] in (-1, 0, 1):
        return False
    values, counts = np.delete(values, mode), np.delete(counts, mode)
    rows = int(counts.sum())
    if rows < 4 * len(values) or values[-1] - values[0] <= 366:
        return False
    last_digit = np.bincount((values % 5).astype(int), counts)
    return bool(last_digit.max() <= 0.4 * rows and _jumps(counts) > 0.15)


def _jumps(counts: np.ndarray) -> float:
    r"""How much more frequent the value of a row is than the four next to it,
    beyond what chance gives.
    """
    padded = np.pad(counts.astype(float), 2, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 5)
    near = np.nanmean(around[:, [0, 1, 3, 4]], axis=1)
    excess = np.average((counts - near) / (counts + near), weights=counts)
    # A row is more often in a value with many, by one row if chance rules:
    return float(excess - 1 / (2 * counts.mean() + 1))


def _says_id(name: str) -> bool | None:
    words = [
        word.lower()
        for word in re.findall(r'[A-Z]+(?![a-z])|[A-Z]?[a-z]+', name)
    ]
    if not words:
        return None
    if _QUANTITY.fullmatch(words[-1]) or _NUMBER_OF.fullmatch(words[0]):
        return False
    return True if _ID.fullmatch(words[-1]) else None


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple | set) or (
        isinstance(value, np.ndarray) and bool(value.ndim)
    )


def _is_told(column: pd.Series) -> bool:
    r"""Whether the type of a column says that it holds categories."""
    return isinstance(
        column.dtype, pd.CategoricalDtype
    ) or dtypes.is_bool_dtype(column)


def _num_distinct(column: pd.Series) -> int:
    try:
        return int(column.nunique())
    except TypeError:  # Some entries have no hash.
        return len(column)


def _numbers(column: pd.Series, distinct: int) -> Floats | None:
    r"""The numbers that a column holds, none if it holds others."""
    if not dtypes.is_numeric_dtype(column):
        known = column.dropna()
        kind = dtypes.infer_dtype(known, skipna=True)
        if kind == 'string':
            # Whole numbers that someone has written as text are categories:
            few = known.head(100)
            if distinct <= _FEW or not all(map(_DECIMAL.fullmatch, few)):
                return None
            if not few.str.contains('.', regex=False).any():
                return None
        elif kind not in (
            'integer',
            'floating',
            'mixed-integer-float',
            'decimal',
        ):
            return None
    try:
        return to_numbers(column)
    except DataError:
        # Numbers that no field can have are refused where they are encoded:
        return np.empty(0) if dtypes.is_numeric_dtype(column) else None


def _are_whole(x: Floats) -> bool:
    x = x[~np.isnan(x)]
    return bool((x == np.floor(x)).all())


def _num_spaces(column: pd.Series) -> float:
    r"""How many spaces a text has on average."""
    texts = column.dropna().head(1000).astype(str)
    return float(texts.str.strip().str.count(r'\s+').mean())

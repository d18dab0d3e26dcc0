r"""Categories as texts, by the rules of :mod:`pyg_featgraph.data.values`."""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.api import types as dtypes

from pyg_featgraph.data.values import (
    MISSING_TEXTS,
    TRUTH_TEXTS,
    is_broken,
    raise_at,
    to_objects,
)
from pyg_featgraph.errors import DataError

Ids = NDArray[np.int64]

_INTEGER = r'-?(?:0|[1-9][0-9]*)'
# Without a sign, it may be part of a hash:
_EXPONENT = r'[eE][+-][0-9]{1,3}'
_DECIMAL = rf'{_INTEGER}(?:\.[0-9]+(?:{_EXPONENT})?|{_EXPONENT})|-0'
_TIME = (
    r'([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})'
    r'(?:\.([0-9]+))?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?'
)
# The texts that are not their own category:
_SPECIAL = '|'.join((*MISSING_TEXTS, *TRUTH_TEXTS, _DECIMAL, _TIME))
_AS_STR = (datetime.time, pd.Period, pd.Interval, uuid.UUID)


def to_texts(column: pd.Series, strict: bool = False) -> tuple[Ids, pd.Index]:
    r"""The categories of a column.

    Args:
        column (pandas.Series): The column.
        strict (bool, optional): Whether texts that look different must not be
            the same category. (default: :obj:`False`)

    Returns:
        For each entry the position of its category, -1 if it is missing; and
        the distinct categories.

    Raises:
        DataError: If an entry has no text, or looks like another category.
    """
    if column.dtype == np.float16:
        raise DataError(
            f"Column '{column.name}': half precision is too coarse for "
            'categories; turn it into text'
        )
    codes, entries = _factorize(column)
    changed = True
    if dtypes.is_integer_dtype(entries.dtype):
        texts, changed = pc.cast(pa.array(entries), pa.large_string()), False
    else:
        is_text = isinstance(entries.dtype, pd.StringDtype)
        if not is_text:
            entries = pd.Index(_written(column, codes, entries), dtype=object)
        try:
            strings = pa.array(entries, pa.large_string())
        except UnicodeEncodeError:
            broken = np.array([is_broken(x) for x in entries], bool)
            wrong = np.append(broken, False)[codes]
            raise_at(column, wrong, 'is no valid Unicode')
        texts = _rewritten(strings)
        changed = not (is_text and texts.equals(strings))
    keys = texts.to_pandas()
    if changed:
        recode, keys = pd.factorize(keys)
        if strict and len(keys) < len(entries):
            _check_alike(column, entries, recode)
        # A value apart for code -1, which marks missing entries:
        codes = np.append(recode, -1)[codes]
    return codes, pd.Index(keys, dtype='str')


def _factorize(column: pd.Series) -> tuple[Ids, pd.Index]:
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.astype(column.dtype.subtype)
    try:
        codes, entries = pd.factorize(column)
    except (TypeError, NotImplementedError):
        wrong = ~np.array([_is_single(x) for x in column], bool)
        if wrong.any():
            raise_at(column, wrong, 'is not a single value')
        codes, entries = pd.factorize(column.astype(object))
    entries = pd.Index(entries)
    if isinstance(entries, pd.CategoricalIndex):
        entries = entries.astype(entries.categories.dtype)
    return codes, entries


def _is_single(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _written(column: pd.Series, codes: Ids, entries: pd.Index) -> list[str]:
    r"""The entries as texts, each by itself."""
    single = str(entries.dtype).lower() in ('float32', 'float[pyarrow]')
    limit = 2**24 if single else 2**53
    texts = []
    named = pd.Series(entries, name=column.name)
    for i, value in enumerate(to_objects(named)):
        try:
            texts.append(_write(value, limit))
        except _NoTextError as error:
            raise_at(column, codes == i, str(error))
    return texts


class _NoTextError(Exception):
    pass


def _write(value: Any, limit: int) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | np.integer):
        try:
            return str(int(value))
        except ValueError as error:
            raise _NoTextError('has too many digits') from error
    if isinstance(value, float | np.floating):
        number = float(value)
        if not number.is_integer():
            return str(value)
        if abs(number) >= limit:
            raise _NoTextError(
                'is too large to be told from its neighbours in floating '
                'point (is it an identifier that should be an integer?)'
            )
        return str(int(number))
    if isinstance(value, Decimal):
        # Infinity is spelled like that of a float, which it is equal to:
        return str(value if value.is_finite() else float(value))
    if isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            try:
                value = value.astimezone(datetime.UTC)
            except OverflowError as error:
                raise _NoTextError('has no time in UTC') from error
        return str(value.isoformat(' '))
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, _AS_STR):
        return str(value)
    raise _NoTextError(
        f'is a {type(value).__name__}, which has no text as a category'
    )


def _rewritten(texts: pa.Array) -> pa.Array:
    r"""The one text for all that mean the same."""
    texts = pc.utf8_trim_whitespace(texts)
    special = pc.match_substring_regex(texts, f'^(?:{_SPECIAL})$')
    at = pc.indices_nonzero(special)
    if not len(at):
        return texts
    found = [_rewrite(text) for text in texts.take(at).to_pylist()]
    found = pa.array(found, pa.large_string())
    return pc.replace_with_mask(texts, special, found)


def _rewrite(text: str) -> str | None:
    if text in MISSING_TEXTS:
        return None
    if text in TRUTH_TEXTS:
        return TRUTH_TEXTS[text]
    time = re.fullmatch(_TIME, text)
    return _time(*time.groups(default='')) if time else _decimal(text)


def _decimal(text: str) -> str:
    number = Decimal(text)
    if number != number.to_integral_value():
        double, single = float(text), np.float32(text)
        number = Decimal(str(single if single == double else double))
    text = f'{number:f}'
    if '.' in text:
        text = text.rstrip('0').rstrip('.')
    return '0' if text == '-0' else text


def _time(day: str, clock: str, fraction: str, zone: str) -> str:
    fraction = fraction.rstrip('0')
    if zone:
        try:
            local = datetime.datetime.fromisoformat(f'{day}T{clock}{zone}')
            text = str(local.astimezone(datetime.UTC).replace(tzinfo=None))
        except (OverflowError, ValueError):
            text = f'{day} {clock}'  # A time that there is not.
        else:
            zone = '+00:00'
    elif clock == '00:00:00' and not fraction:
        return day
    else:
        text = f'{day} {clock}'
    return text + (f'.{fraction}' if fraction else '') + zone


def _check_alike(column: pd.Series, texts: pd.Index, codes: Ids) -> None:
    r"""Raises an error if texts of a category mean different things to the
    eye: decimals with and without zeros at the end, or a truth value and its
    number.
    """
    known: dict[int, tuple[str, str]] = {}
    twice = np.append(np.bincount(codes[codes >= 0]) > 1, False)[codes]
    for text, code in zip(texts[twice], codes[twice], strict=True):
        look = _look(text.strip())
        other, first = known.setdefault(code, (look, text))
        if other != look:
            raise DataError(
                f"Column '{column.name}': {first!r} and {text!r} cannot be "
                'told apart as categories. Write them alike if they mean the '
                'same, else as texts that are neither numbers nor truth values'
            )


def _look(text: str) -> str:
    if text in TRUTH_TEXTS:
        return text.lower()
    if re.fullmatch(_DECIMAL, text):
        number = Decimal(text)
        if number != number.to_integral_value():
            return str(number.as_tuple())
    return ''

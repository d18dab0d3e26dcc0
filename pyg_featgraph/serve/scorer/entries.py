r"""What one entry of a table is, by the rules of
:mod:`pyg_featgraph.data.values`.

This package needs NumPy alone, since it goes wherever models are served.
"""

from __future__ import annotations

import datetime
import re
import uuid
import zlib
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np

#: What to say of a number whose value single precision cannot hold.
TOO_FAR = 'is too far from the training rows for single precision'
#: The texts of missing entries.
MISSING_TEXTS = ('', 'nan', 'NaN')
#: The texts of truth values, and their numbers as texts.
TRUTH_TEXTS = {
    **dict.fromkeys(('true', 'True', 'TRUE'), '1'),
    **dict.fromkeys(('false', 'False', 'FALSE'), '0'),
}
INTEGER = r'-?(?:0|[1-9][0-9]*)'
# Without a sign, it may be part of a hash:
EXPONENT = r'[eE][+-][0-9]{1,3}'
DECIMAL = rf'{INTEGER}(?:\.[0-9]+(?:{EXPONENT})?|{EXPONENT})|-0'
TIME = (
    r'([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})'
    r'(?:\.([0-9]+))?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?'
)
#: The texts that are not their own category.
SPECIAL = '|'.join((*MISSING_TEXTS, *TRUTH_TEXTS, DECIMAL, TIME))
#: A point in time.
ISO = (
    r'[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}'
    r'(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?'
)
_FIND_SPECIAL = re.compile(SPECIAL).fullmatch
_FIND_ISO = re.compile(ISO).fullmatch
#: The largest number that single precision holds.
LARGEST = float(np.finfo(np.float32).max)
_NAN = float('nan')
_EPOCH = datetime.datetime(1970, 1, 1)
# Types of which an entry that differs from itself is missing:
_MAY_MISS = (
    *(float, complex, Decimal, datetime.datetime),
    *(np.inexact, np.datetime64, np.timedelta64),
)


class EntryError(Exception):
    r"""What is wrong with an entry, without saying where it stands."""


def shown(value: Any) -> str:
    r"""An entry as messages show it."""
    try:
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except ValueError:  # An integer with thousands of digits.
        text = f'an entry of type {type(value).__name__}'
    return text if len(text) <= 80 else text[:80] + '…'


def is_missing(value: Any) -> bool:
    r"""Whether an entry, which is no text, is missing."""
    if value is None or type(value).__name__ == 'NAType':
        return True
    return isinstance(value, _MAY_MISS) and bool(value != value)


def write(value: Any, limit: int = 2**53) -> str:
    r"""An entry that is not missing as a text, which is yet to be
    :func:`rewrite`-n.

    Args:
        value (Any): The entry.
        limit (int, optional): From where on whole numbers in floating point
            have neighbours that they cannot be told from.
            (default: :obj:`2**53`)

    Raises:
        EntryError: If it has no text.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, int | np.integer):
        try:
            return str(int(value))
        except ValueError as error:
            raise EntryError('has too many digits') from error
    if isinstance(value, float | np.floating):
        number = float(value)
        if not number.is_integer():
            return str(value)
        if abs(number) >= limit:
            raise EntryError(
                'is too large to be told from its neighbours in floating '
                'point (is it an identifier that should be an integer?)'
            )
        return str(int(number))
    if isinstance(value, Decimal):
        # Infinity is spelled like that of a float, which it is equal to:
        return str(value if value.is_finite() else float(value))
    if isinstance(value, np.datetime64):
        if value != value.astype('M8[s]'):
            return str(value)  # With the fraction of the second.
        value = value.astype('M8[s]').item()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            try:
                value = value.astimezone(datetime.UTC)
            except OverflowError as error:
                raise EntryError('has no time in UTC') from error
        return str(value.isoformat(' '))
    if isinstance(value, datetime.date):
        return value.isoformat()
    kind = type(value).__name__
    if isinstance(value, datetime.time | uuid.UUID) or (
        kind in ('Period', 'Interval') and 'pandas' in type(value).__module__
    ):
        return str(value)
    try:
        hash(value)
    except TypeError as error:
        raise EntryError('is not a single value') from error
    raise EntryError(f'is a {kind}, which has no text as a category')


def rewrite(text: str) -> str | None:
    r"""The one text for all that mean the same as a :obj:`SPECIAL` text,
    :obj:`None` if it is that of a missing entry.
    """
    if text in MISSING_TEXTS:
        return None
    if text in TRUTH_TEXTS:
        return TRUTH_TEXTS[text]
    time = re.fullmatch(TIME, text)
    return _time(*time.groups(default='')) if time else _decimal(text)


def _decimal(text: str) -> str:
    number = Decimal(text)
    if number != number.to_integral_value():
        number = Decimal(_shorten(float(text)))
    text = f'{number:f}'
    if '.' in text:
        text = text.rstrip('0').rstrip('.')
    return '0' if text == '-0' else text


def _shorten(number: float) -> str:
    r"""A fraction in decimals; one that single precision holds exactly as the
    shortest decimal number that it is the nearest to.
    """
    single = np.float32(number)
    return str(single if float(single) == number else number)


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


def to_text(value: Any, limit: int = 2**53) -> str | None:
    r"""An entry as the text of its category, :obj:`None` if it is missing.

    Args:
        value (Any): The entry.
        limit (int, optional): As of :func:`write`. (default: :obj:`2**53`)

    Raises:
        EntryError: If it has no text.
    """
    if type(value) is not str:
        if is_missing(value):
            return None
        value = write(value, limit)
    if not value.isascii() and is_broken(value):
        raise EntryError('is no valid Unicode')
    text: str = value.strip()
    return rewrite(text) if _FIND_SPECIAL(text) else text


def hash_text(text: str, size: int) -> int:
    r"""The number of a text among as many as there are, the same everywhere:
    its CRC-32, modulo their number.

    Args:
        text (str): The text.
        size (int): How many numbers there are.
    """
    return zlib.crc32(text.encode()) % size


def is_broken(text: str) -> bool:
    r"""Whether a text holds half of a pair of code units of UTF-16."""
    return any('\ud800' <= letter <= '\udfff' for letter in text)


def read_number(value: Any) -> float:
    r"""A number of any type or in a text, NaN if it is missing.

    Raises:
        OverflowError, TypeError, ValueError: If it is none.
    """
    if isinstance(value, str):
        text = value.strip()
        if text in MISSING_TEXTS:
            return _NAN
        number = float(TRUTH_TEXTS.get(text, text))
        # Python also takes 1_000, digits of any script and other NaNs:
        if number != number or '_' in text or not text.isascii():
            raise ValueError(text)
        return number
    kinds = (bool, np.bool_, int, float, np.integer, np.floating, Decimal)
    if isinstance(value, kinds):
        return float(value)
    raise TypeError(value)


def to_number(value: Any) -> float:
    r"""An entry as a number that single precision holds, NaN if it is missing.

    Raises:
        EntryError: If it is none.
    """
    if type(value) is not float:
        if is_missing(value):
            return _NAN
        try:
            value = read_number(value)
        except (OverflowError, TypeError, ValueError) as error:
            raise EntryError('is not a number') from error
    if value != value:
        return _NAN
    if not abs(value) <= LARGEST:
        raise EntryError('is not finite in single precision')
    return float(value if value.is_integer() else _shorten(value))


def to_part(value: Any, part: str) -> float:
    r"""A part of a point in time, NaN if it is missing.

    Raises:
        EntryError: If the entry is no point in time.
    """
    text = to_text(value)
    if text is None:
        return _NAN
    try:
        # Some versions of Python take hour 24 as that of the next day:
        if not _FIND_ISO(text) or text[11:13] == '24':
            raise ValueError(text)
        time = datetime.datetime.fromisoformat(text)
        if time.tzinfo is not None:
            time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    except (OverflowError, ValueError) as error:
        raise EntryError(
            'is no point in time such as 2020-01-31 or 2020-01-31 12:30:00'
        ) from error
    if part == 'elapsed':
        # In days; the number of microseconds may be more than doubles hold.
        microseconds = (time - _EPOCH) // datetime.timedelta(microseconds=1)
        return float(microseconds) / (24 * 3600 * 10**6)
    return float(time.weekday() if part == 'weekday' else getattr(time, part))


def members(entry: Any, separator: str) -> list[Any]:
    r"""The members of an entry that holds several.

    Args:
        entry (Any): A list, an array, a set or a text of them, or a single
            one.
        separator (str): What separates them in a text.
    """
    if isinstance(entry, str):
        return [*entry.split(separator)]
    if isinstance(entry, set | frozenset):
        # Its order is another one in each process:
        with suppress(ValueError):  # A member too long for a text.
            return sorted(entry, key=lambda x: (str(type(x)), str(x)))
        return [*entry]
    if isinstance(entry, np.ndarray) and entry.ndim:
        return [*entry]
    return [*entry] if isinstance(entry, list | tuple) else [entry]

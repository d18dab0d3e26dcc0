r"""Categories as texts, by the rules of :mod:`pyg_featgraph.data.values`."""

from __future__ import annotations

import re
import zlib
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pandas.api import types as dtypes

from pyg_featgraph.data.values import raise_at, to_objects
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import (
    DECIMAL,
    MISSING_TEXTS,
    SPECIAL,
    TRUTH_TEXTS,
    EntryError,
    hash_text,
    is_broken,
    rewrite,
    write,
)

Ids = NDArray[np.int64]

# What CRC-32 makes of each byte, and the longest text whose bytes are taken
# one by one with those of all others:
_CRC = np.array(
    [~zlib.crc32(bytes([i]), 0xFFFFFFFF) & 0xFFFFFFFF for i in range(256)],
    np.uint32,
)
_SHORT = 64


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
        at, found = rewritten(strings)
        texts = strings
        if len(at):
            mask = np.zeros(len(strings), bool)
            mask[at] = True
            texts = pc.replace_with_mask(strings, pa.array(mask), found)
        changed = not is_text or len(at) > 0
    keys = texts.to_pandas()
    if changed:
        recode, keys = pd.factorize(keys)
        if strict and len(keys) < len(entries):
            _check_alike(column, entries, recode)
        # A value apart for code -1, which marks missing entries:
        codes = np.append(recode, -1)[codes]
    return codes, pd.Index(keys, dtype='str')


def hash_texts(texts: pd.Index, size: int) -> Ids:
    r"""What :func:`~pyg_featgraph.serve.scorer.entries.hash_text` makes of
    each text.

    Args:
        texts (pandas.Index): The texts.
        size (int): How many numbers there are.
    """
    strings = joined(pa.array(texts, pa.large_string()))
    length = pc.binary_length(strings).to_numpy()
    if length.max(initial=0) > _SHORT:
        return np.array([hash_text(x, size) for x in texts], np.int64)
    _, offsets, data = strings.buffers()
    start = np.frombuffer(offsets, np.int64)[strings.offset :][: len(length)]
    letters = np.frombuffer(data or b'', np.uint8)
    # The longest come first, so that those with another letter are a slice:
    order = np.argsort(-length, kind='stable')
    start, code = start[order], np.full(len(length), 0xFFFFFFFF, np.uint32)
    rest = np.bincount(length)[:0:-1].cumsum()[::-1]
    for i, number in enumerate(rest.tolist()):
        at = code[:number]
        letter = letters[start[:number] + i]
        at[:] = _CRC[(at ^ letter) & 0xFF] ^ (at >> 8)
    out = np.empty(len(length), np.int64)
    out[order] = ~code
    return out % size


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
            texts.append(write(value, limit))
        except EntryError as error:
            raise_at(column, codes == i, str(error))
    return texts


def joined(x: pa.Array | pa.ChunkedArray) -> pa.Array:
    r"""A column in one piece."""
    return x.combine_chunks() if isinstance(x, pa.ChunkedArray) else x


def is_missing(texts: pa.Array) -> pa.Array:
    r"""Which texts are those of missing entries, or missing.

    Args:
        texts (pyarrow.Array): The texts.
    """
    missing = pa.array([*MISSING_TEXTS, None], pa.large_string())
    return pc.is_in(pc.utf8_trim_whitespace(texts), value_set=missing)


def rewritten(texts: pa.Array) -> tuple[Ids, pa.Array]:
    r"""The texts that are not their own category: where they stand, and the
    one text for all that mean the same.

    Args:
        texts (pyarrow.Array): The texts, none of which is missing.
    """
    found = pc.utf8_trim_whitespace(texts)
    special = pc.match_substring_regex(found, f'^(?:{SPECIAL})$')
    if pc.any(special).as_py():
        written = [rewrite(text) for text in found.filter(special).to_pylist()]
        written = pa.array(written, pa.large_string())
        found = pc.replace_with_mask(found, special, written)
    changed = pc.invert(pc.equal(texts, found).fill_null(False))
    return np.flatnonzero(changed), found.filter(changed)


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
    if re.fullmatch(DECIMAL, text):
        number = Decimal(text)
        if number != number.to_integral_value():
            return str(number.as_tuple())
    return ''

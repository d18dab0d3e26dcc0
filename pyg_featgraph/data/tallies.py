r"""What is counted of a column to fit its codec: block by block, in parts that
can be merged, in the memory that its distinct values take.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.texts import (
    Ids,
    is_missing,
    joined,
    rewritten,
    to_texts,
)
from pyg_featgraph.data.values import (
    Floats,
    check_single,
    raise_at,
    to_numbers,
    to_objects,
)
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import members

#: The largest number of distinct numbers that are counted apart. Beyond, the
#: mantissas of all are rounded to as many bits as that leaves, whatever the
#: order of the rows.
MAX_NUMBERS = 2**20
# Counts are added up when there are three times as many, but not for a few:
_FEW = 2**16


class Tally(ABC):
    r"""What is counted of a column.

    Args:
        field (Field): The options of the field.
    """

    def __init__(self, field: Field) -> None:
        self.field = field
        self.num_rows = 0
        self.num_missing = 0

    @property
    def missing(self) -> float:
        r"""The share of the rows in which the field is missing."""
        return self.num_missing / self.num_rows if self.num_rows else np.nan

    @abstractmethod
    def add(self, column: pd.Series) -> None:
        r"""Counts the entries of some rows.

        Args:
            column (pandas.Series): The entries.

        Raises:
            DataError: If one is none that the field can have.
        """

    def compact(self) -> None:  # noqa: B027
        r"""Adds up what has been counted so far, if that takes less memory."""

    def merge(self, other: Any) -> None:
        r"""Adds what was counted of other rows.

        Args:
            other (Tally): The counts, of the same field.
        """
        self.num_rows += other.num_rows
        self.num_missing += other.num_missing


class TextTally(Tally):
    r"""How many rows have which text, as it is written; of a field that is
    hashed only how many have none.
    """

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._parts: list[tuple[pa.Array, Ids]] = []
        self._pending = self._distinct = 0

    def add(self, column: pd.Series) -> None:
        self.num_rows += len(column)
        self.num_missing += self._count(column)

    def _count(self, column: pd.Series) -> int:
        r"""Counts entries, and tells how many are missing."""
        dtype = column.dtype
        hashed = self.field.hash_size > 0
        if isinstance(dtype, pd.StringDtype) and dtype.storage == 'pyarrow':
            texts = pa.array(column, pa.large_string())
            if hashed:
                return int(pc.sum(is_missing(texts)).as_py() or 0)
            found = pc.value_counts(texts.drop_null())
            self.add_counts(
                found.field('values'), found.field('counts').to_numpy()
            )
            return int(texts.null_count)
        codes, keys = to_texts(column, strict=not hashed)
        there = codes[codes >= 0]
        if not hashed:
            counts = np.bincount(there, minlength=len(keys))
            self.add_counts(pa.array(keys, pa.large_string()), counts)
        return len(codes) - len(there)

    def add_counts(self, texts: pa.Array, counts: Ids) -> None:
        r"""Adds counts of texts."""
        self._parts.append((texts, counts))
        self._pending += len(texts)
        if self._pending > max(3 * self._distinct, _FEW):
            self.compact()

    def merge(self, other: TextTally) -> None:
        super().merge(other)
        for part in other._parts:
            self.add_counts(*part)

    def counts(self) -> pd.Series:
        r"""The number of rows by category, in no order.

        Raises:
            DataError: If texts that look different are one category.
        """
        self.compact()
        if not self._parts:
            return pd.Series([], pd.Index([], dtype='str'), dtype=np.int64)
        texts, number = self._parts[0]
        entries = pd.Series(texts.to_pandas(), dtype='str')
        if not len(rewritten(texts)[0]):
            return pd.Series(number, pd.Index(entries))
        codes, keys = to_texts(entries.rename(self.field.column), strict=True)
        there = codes >= 0
        # Doubles are exact here:
        out = np.bincount(codes[there], number[there], len(keys))
        return pd.Series(out.astype(np.int64), keys)

    def compact(self) -> None:
        if len(self._parts) > 1:
            texts, numbers = zip(*self._parts, strict=True)
            counts = np.concatenate(numbers)
            # Several times as fast as a group-by of Arrow:
            coded = pa.chunked_array(texts).dictionary_encode().chunks
            codes = np.concatenate([x.indices for x in coded])
            distinct = coded[-1].dictionary
            total = np.bincount(codes, counts, len(distinct))
            self._parts = [(distinct, total.astype(np.int64))]
        self._pending = self._distinct = sum(len(x) for x, _ in self._parts)


class MultiTally(TextTally):
    r"""How many rows have which member, and the length of the longest list."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.longest = 0

    def add(self, column: pd.Series) -> None:
        row, flat = explode(column, self.field.separator)
        codes, _ = to_texts(flat)
        length = np.bincount(row[codes >= 0], minlength=len(column))
        self.num_rows += len(column)
        self.num_missing += int((length == 0).sum())
        self.longest = max(self.longest, int(length.max(initial=0)))
        self._count(flat)

    def merge(self, other: TextTally) -> None:
        super().merge(other)
        if isinstance(other, MultiTally):
            self.longest = max(self.longest, other.longest)


class NumberTally(Tally):
    r"""How many rows have which number."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self._counts_any = field.transform not in ('log1p', 'log_square')
        self._parts: list[tuple[Floats, Ids]] = []
        self._pending = self._distinct = 0
        self._bits = 52

    def add(self, column: pd.Series) -> None:
        x = to_numbers(column)
        there = ~np.isnan(x)
        self.num_rows += len(x)
        self.num_missing += int((~there).sum())
        if self._counts_any:
            # There is but one zero:
            self._append(*np.unique(x[there] + 0.0, return_counts=True))

    def merge(self, other: NumberTally) -> None:
        super().merge(other)
        self._bits = min(self._bits, other._bits)
        for part in other._parts:
            self._append(*part)

    def counts(self) -> tuple[Floats, Ids]:
        r"""The distinct numbers in rising order, and the rows of each."""
        self.compact()
        if not self._parts:
            return np.empty(0), np.empty(0, np.int64)
        return self._parts[0]

    def _append(self, values: Floats, counts: Ids) -> None:
        self._parts.append((values, counts))
        self._pending += len(values)
        if self._pending > max(3 * self._distinct, _FEW):
            self.compact()

    def compact(self) -> None:
        if not self._parts:
            return
        values, counts = (
            np.concatenate(x) for x in zip(*self._parts, strict=True)
        )
        values, counts = _added(round_mantissa(values, self._bits), counts)
        while len(values) > MAX_NUMBERS and self._bits > 0:
            self._bits -= 1
            values, counts = _added(round_mantissa(values, self._bits), counts)
        self._parts = [(values, counts)]
        self._pending = self._distinct = len(values)


def round_mantissa(x: Floats, bits: int) -> Floats:
    r"""Numbers rounded towards zero to mantissas of fewer bits, which changes
    each by less than :math:`2^{-\mathrm{bits}}` of it. Rounding to many bits
    first and to few later comes to the same as to few at once.

    Args:
        x (numpy.ndarray): The numbers.
        bits (int): The bits that are kept, of 52.
    """
    if bits >= 52:
        return x
    raw = x.view(np.int64)
    kept = (raw >> (52 - bits)) << (52 - bits)
    return kept.view(np.float64)


def _added(values: Floats, counts: Ids) -> tuple[Floats, Ids]:
    order = np.argsort(values, kind='stable')
    values, counts = values[order], counts[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    if not len(values):
        return values, counts
    return values[starts], np.add.reduceat(counts, starts)


class VectorTally(Tally):
    r"""Means and variances of the components of vectors."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.slots = 0
        self.mean = self.var = np.empty(0)

    def add(self, column: pd.Series) -> None:
        kept = column[column.notna()]
        self.num_rows += len(column)
        self.num_missing += len(column) - len(kept)
        if len(kept):
            self.slots = self.slots or max((1, *(_shape(kept.iloc[0]) or ())))
            x = stack(kept, self.slots)
            self._pool(len(x), x.mean(axis=0), x.var(axis=0))

    def merge(self, other: VectorTally) -> None:
        if self.slots and other.slots and self.slots != other.slots:
            raise DataError(
                f"Column '{self.field.column}': vectors of {self.slots} and of "
                f'{other.slots} numbers'
            )
        self.slots = self.slots or other.slots
        super().merge(other)
        if other.slots:
            number = other.num_rows - other.num_missing
            self._pool(number, other.mean, other.var)

    def _pool(self, number: int, mean: Floats, var: Floats) -> None:
        # Those of all rows, among which the new ones are.
        share = number / (self.num_rows - self.num_missing)
        if share == 1:
            self.mean, self.var = mean, var
            return
        apart = mean - self.mean
        self.mean = self.mean + share * apart
        self.var = (
            (1 - share) * self.var
            + share * var
            + share * (1 - share) * apart**2
        )


def stack(column: pd.Series, slots: int) -> Floats:
    r"""The vectors of a column as a matrix.

    Args:
        column (pandas.Series): The vectors.
        slots (int): Their length.

    Raises:
        DataError: If an entry is no vector of so many numbers.
    """
    values, shape = column.tolist(), (len(column), slots)
    try:
        x = np.array(values)
    except ValueError:  # They are not equally long.
        x = np.empty(0)
    if x.shape != shape:
        wrong = np.array([_shape(x) != shape[1:] for x in values], bool)
        if wrong.any():
            raise_at(column, wrong, f'is no vector of {slots} numbers')
        x = np.empty(shape)  # Of no rows.
    try:
        if x.dtype.kind in 'cmM':
            raise TypeError(f'they are {x.dtype}')
        x = x.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"Column '{column.name}' holds vectors that are not numbers: "
            f'{error}'
        ) from error
    return check_single(column, x)


def _shape(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(np.shape(value))
    except ValueError:  # A list of unequal lists.
        return None


def explode(column: pd.Series, separator: str) -> tuple[Ids, pd.Series]:
    r"""The members of all entries, and the position of each one's row."""
    dtype = column.dtype
    if isinstance(dtype, pd.StringDtype) and dtype.storage == 'pyarrow':
        texts = joined(pa.array(column, pa.large_string()))
        parts = pc.split_pattern(texts, separator)
        length = pc.list_value_length(parts).fill_null(0).to_numpy()
        flat = parts.flatten().to_pandas()
    else:
        lists = [members(x, separator) for x in to_objects(column)]
        length = np.array([len(x) for x in lists], np.int64)
        flat = pd.Series([*chain(*lists)], dtype=object)
    row = np.repeat(np.arange(len(column)), length)
    # So that an error names the row:
    flat.index, flat.name = column.index[row], column.name
    return row, flat


def make_tally(field: Field) -> Tally:
    r"""What counts the entries of a field."""
    kinds: dict[str, type[Any]] = {
        'categorical': TextTally,
        'multi': MultiTally,
        'vector': VectorTally,
        'numeric': NumberTally,
    }
    tally: Tally = kinds[field.kind](field)
    return tally

r"""How the entries of a column become the ids and values of a field: what the
codecs of :mod:`pyg_featgraph.data.codecs` do, one entry at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .entries import (
    LARGEST,
    TOO_FAR,
    EntryError,
    hash_text,
    is_missing,
    members,
    shown,
    to_number,
    to_part,
    to_text,
    write,
)

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
#: The ids and values of one entry.
Slots = tuple[Sequence[int], Sequence[float]]

_ONE = (1.0,)
# From how many numbers on arrays of them are faster than each by itself:
_MANY = 32


class ServingError(ValueError):
    r"""A folder or rows cannot be used as they are; the message says why."""


class Codec:
    r"""How entries of a column become the ids and values of a field.

    Args:
        spec (dict): The field, as an exported folder describes it.
        offset (int): The first of its ids.
    """

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        self.column: str = spec['column']
        #: What the field is of a date, if it is a part of one.
        self.part: str | None = spec['part']
        #: Whether an entry may be a list.
        self.takes_lists = False
        self.offset, self.slots = offset, int(spec['slots'])
        self.missing: Slots = (
            [offset] * self.slots,
            [1.0] + [0.0] * (self.slots - 1),
        )

    @property
    def readers(self) -> Sequence[Codec]:
        r"""The codecs that read columns for the field: itself."""
        return (self,)

    def read(self, row: Mapping[str, Any]) -> Slots:
        r"""The ids and values of a row.

        Raises:
            ServingError: If the field can have no such entry.
        """
        value = row.get(self.column)
        try:
            return self.one(value)
        except EntryError as error:
            raise row_error(self.column, 0, value, error) from None

    def read_all(
        self, columns: Mapping[str, Sequence[Any]]
    ) -> tuple[Ids, Floats]:
        r"""The ids and values of the columns of a table, both with shape
        :math:`(R, L)`.

        Raises:
            ServingError: If the field cannot have one of the entries.
        """
        return self.many(columns[self.column])

    def one(self, value: Any) -> Slots:
        r"""The ids and values of an entry.

        Raises:
            EntryError: If the field can have none such.
        """
        raise NotImplementedError

    def many(self, values: Sequence[Any]) -> tuple[Ids, Floats]:
        r"""The ids and values of entries, both with shape :math:`(R, L)`.

        Raises:
            ServingError: If the field cannot have one of them.
        """
        index: list[int] = []
        value: list[float] = []
        if isinstance(values, np.ndarray):
            values = values.tolist()
        row = 0
        try:
            for row, entry in enumerate(values):  # noqa: B007
                ids, slots = self.one(entry)
                index += ids
                value += slots
        except EntryError as error:
            raise row_error(self.column, row, values[row], error) from None
        shape = (len(values), self.slots)
        return (
            np.array(index, np.int64).reshape(shape),
            np.array(value, np.float64).reshape(shape),
        )

    def check_type(self, values: Sequence[Any], dtype: str) -> None:
        r"""Checks what a type says of all entries of a column.

        Args:
            values (list): The entries.
            dtype (str): The name of the type.
        """


class CategoricalCodec(Codec):
    r"""A category; all but those of the vocabulary are rare."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        first, keys = offset + 2, spec['keys']
        self.ids = dict(zip(keys, range(first, first + len(keys)), strict=True))
        self.rare = offset + 1
        #: Into how many ids texts are hashed, if they are.
        self.hash_size = int(spec['hash_size'])

    def find(self, text: str) -> int:
        r"""The id of a category."""
        if self.hash_size:
            return self.offset + 2 + hash_text(text, self.hash_size)
        found: int = self.ids.get(text, self.rare)
        return found

    def one(self, value: Any) -> Slots:
        if self.part is not None:
            value = to_part(value, self.part)
        # Keys are what they are as a text, most entries hence found at once:
        found = self.ids.get(value) if type(value) is str else None
        if found is None:
            text = to_text(value)
            if text is None:
                return self.missing
            found = self.find(text)
        return (found,), _ONE

    def check_type(self, values: Sequence[Any], dtype: str) -> None:
        if self.part is not None:
            return
        if dtype in ('float16', 'halffloat'):
            raise ServingError(
                f"Column '{self.column}': half precision is too coarse for "
                'categories; turn it into text'
            )
        if dtype not in ('float32', 'float', 'float[pyarrow]'):
            return
        for row, value in enumerate(values):
            try:
                if not is_missing(value):
                    write(value, 2**24)
            except EntryError as error:
                raise row_error(self.column, row, value, error) from None


class MultiCodec(CategoricalCodec):
    r"""Several categories, of which the mean is taken."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        self.separator: str = spec['separator']
        self.takes_lists = True

    def one(self, value: Any) -> Slots:
        texts = [to_text(x) for x in members(value, self.separator)]
        ids = [self.find(x) for x in texts if x is not None]
        if not ids:
            return self.missing
        # Members beyond the longest list of the training rows are dropped:
        ids = ids[: self.slots]
        rest = self.slots - len(ids)
        values = [1 / len(ids)] * len(ids) + [0.0] * rest
        return ids + [self.offset] * rest, values

    def check_type(self, values: Sequence[Any], dtype: str) -> None:
        pass


class NumberCodec(Codec):
    r"""A number; subclasses encode those that are there."""

    def one(self, value: Any) -> Slots:
        if self.part is not None:
            value = to_part(value, self.part)
        x = to_number(value)
        return self.missing if x != x else self.encode(x)

    def encode(self, x: float) -> Slots:
        r"""The ids and values of a number."""
        raise NotImplementedError

    def many(self, values: Sequence[Any]) -> tuple[Ids, Floats]:
        is_single = self.part is not None or len(values) < _MANY
        x = None if is_single else _as_array(values)
        if x is None:
            return super().many(values)
        missing = np.isnan(x)
        if not (missing | (np.abs(x) <= LARGEST)).all():
            return super().many(values)  # It says which one does not fit.
        single = x.astype(np.float32)
        for i in np.flatnonzero((single == x) & (x != np.floor(x))):
            x[i] = float(str(single[i]))
        ids, value = self.encode_all(np.where(missing, 0.0, x))
        if not (np.abs(value[~missing]) <= LARGEST).all():
            return super().many(values)
        ids[missing], value[missing] = self.missing
        return ids, value

    def encode_all(self, x: Floats) -> tuple[Ids, Floats]:
        r"""The same as :meth:`encode` of numbers :math:`(R)`."""
        raise NotImplementedError

    def check_type(self, values: Sequence[Any], dtype: str) -> None:
        if not self.part and dtype.startswith(('complex', 'datetime64')):
            raise ServingError(
                f"Column '{self.column}' holds {dtype}, which is no number; "
                'turn it into one, such as a real part or days since some day'
            )


class BucketCodec(NumberCodec):
    r"""A number that picks a bucket in each of one or more granularities."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        ids = [[offset + i for i in ids] for ids in spec['bucket_ids']]
        self.cuts = [*zip(spec['edges'], ids, strict=True)]
        self.values = [1 / self.slots] * self.slots

    def encode(self, x: float) -> Slots:
        return [ids[bisect_right(e, x)] for e, ids in self.cuts], self.values

    def encode_all(self, x: Floats) -> tuple[Ids, Floats]:
        columns = [
            np.asarray(ids)[np.searchsorted(edges, x, side='right')]
            for edges, ids in self.cuts
        ]
        out = np.stack(columns, axis=1)
        return out, np.full(out.shape, 1 / self.slots)


class PiecewiseLinearCodec(NumberCodec):
    r"""A number between two knots, whose vectors it interpolates."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        self.pieces: list[tuple[list[float], int]] = []
        first = offset + 2
        for knots in spec['knots']:
            self.pieces.append((knots, first if knots else offset + 1))
            first += len(knots)

    def encode(self, x: float) -> Slots:
        ids: list[int] = []
        values: list[float] = []
        for knots, first in self.pieces:
            left, step, share = 0, 0, 0.0
            if len(knots) > 1:
                step = 1
                left = bisect_right(knots, x, 1, len(knots) - 1) - 1
                low, high = knots[left], knots[left + 1]
                share = (min(max(x, low), high) - low) / (high - low)
            ids += (first + left, first + left + step)
            values += ((1 - share) / len(self.pieces), share / len(self.pieces))
        return ids, values

    def encode_all(self, x: Floats) -> tuple[Ids, Floats]:
        ids = np.empty((len(x), self.slots), np.int64)
        value = np.empty(ids.shape)
        for i, (knots, first) in enumerate(self.pieces):
            left, step, share = np.zeros(len(x), np.int64), 0, np.zeros(len(x))
            if len(knots) > 1:
                step = 1
                left = np.searchsorted(knots[1:-1], x, side='right')
                low, high = np.array(knots)[left], np.array(knots)[left + 1]
                share = (np.clip(x, low, high) - low) / (high - low)
            ids[:, 2 * i], ids[:, 2 * i + 1] = first + left, first + left + step
            value[:, 2 * i], value[:, 2 * i + 1] = 1 - share, share
        return ids, value / len(self.pieces)


class NumericCodec(NumberCodec):
    r"""A number that scales the vector of its field."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        self.ids = [offset + 1]
        mean, std = spec['mean'], spec['std']
        scales: dict[str, Callable[[Any], Any]] = {
            'standard': lambda x: (x - mean) / std,
            'log1p': lambda x: np.sign(x) * np.log1p(np.abs(x)),
            'log_square': _log_square,
        }
        self.scale = scales[spec['transform']]

    def encode(self, x: float) -> Slots:
        value = self.scale(x)
        if not abs(value) <= LARGEST:
            raise EntryError(TOO_FAR)
        return self.ids, [value]

    def encode_all(self, x: Floats) -> tuple[Ids, Floats]:
        return np.full((len(x), 1), self.ids[0]), self.scale(x)[:, None]


class VectorCodec(Codec):
    r"""A vector of numbers from elsewhere."""

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        self.takes_lists = True
        self.mean, self.std = np.array(spec['mean']), np.array(spec['std'])
        self.ids = [*range(offset + 1, offset + 1 + self.slots)]

    def one(self, value: Any) -> Slots:
        if is_missing(value):
            return self.missing
        try:
            x = np.array(value)
        except ValueError:  # A list of unequal lists.
            x = np.empty(0)
        if x.shape != (self.slots,):
            raise EntryError(f'is no vector of {self.slots} numbers')
        try:
            if x.dtype.kind in 'cmM':
                raise TypeError(f'they are {x.dtype}')
            x = x.astype(np.float64)
        except (OverflowError, TypeError, ValueError) as error:
            raise EntryError(f'is no vector of numbers: {error}') from error
        if not (np.abs(x) <= LARGEST).all():
            raise EntryError('is not finite in single precision')
        x = (x - self.mean) / self.std / np.sqrt(self.slots)
        if not (np.abs(x) <= LARGEST).all():
            raise EntryError(TOO_FAR)
        return self.ids, x.tolist()


def row_error(
    column: str, row: int, value: Any, what: EntryError
) -> ServingError:
    r"""An error that names an entry.

    Args:
        column (str): Its column.
        row (int): The number of its row.
        value (Any): The entry.
        what (EntryError): What is wrong with it.
    """
    return ServingError(
        f"Column '{column}', row {row}: {shown(value)} {what}. Correct it, or "
        'leave it empty if it is missing'
    )


def _log_square(x: Any) -> Any:
    log = np.log(np.maximum(x, 2))
    return np.where(x > 2, np.floor(log * log), x)


def _as_array(values: Sequence[Any]) -> Floats | None:
    # Numbers that need no look at each of them.
    if isinstance(values, np.ndarray):
        is_number = values.dtype.kind in 'biuf'
    else:
        is_number = {*map(type, values)} <= {int, float, bool, type(None)}
    try:
        return np.array(values, np.float64) if is_number else None
    except OverflowError:  # An integer that is too large.
        return None

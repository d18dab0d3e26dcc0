r"""How one column becomes ids and values, one class for each way.

All of them number the ids of their field from zero: 0 stands for "missing",
1 for "rare or unseen" (categories, buckets) or "a number" (numeric values),
and the vocabulary follows. In a vector, each component has an id from 1 on.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import chain
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.texts import Ids, to_texts
from pyg_featgraph.data.values import (
    Floats,
    check_single,
    raise_at,
    to_numbers,
    to_objects,
)
from pyg_featgraph.errors import DataError

MISSING, RARE, NUMBER = 0, 1, 1
NUM_SPECIAL = 2
_TOO_FAR = 'is too far from the training rows for single precision'


class Codec(ABC):
    r"""Turns a column into slots; fitted on the training rows only.

    Args:
        field (Field): The options of the field.
    """

    def __init__(self, field: Field) -> None:
        self.field = field

    #: What the field is in :class:`FieldInfo`.
    kind: ClassVar[str]
    #: The number of ids, including the special ones.
    size: int = NUM_SPECIAL
    #: The number of slots.
    slots: int = 1

    @abstractmethod
    def fit(self, column: pd.Series) -> None:
        r"""Learns vocabulary and statistics from the training rows."""

    @abstractmethod
    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        r"""The ids and values of a column, both with shape :math:`(R, L)`."""

    #: The fitted attributes that are stored as JSON.
    state_names: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        r"""The fitted statistics as JSON-compatible values."""
        return {name: getattr(self, name) for name in self.state_names}

    @property
    def vocabulary(self) -> pd.Series | None:
        r"""The counts by key in the order of their ids, where there are any."""
        return None

    def load_state(self, state: dict[str, Any], vocabulary: pd.Series) -> None:
        r"""Restores what :meth:`fit` learned.

        Raises:
            DataError: If that cannot be what it learned.
        """
        for name in self.state_names:
            setattr(self, name, state[name])
        if not self._makes_sense():
            raise DataError(f"the state of '{self.field.name}' is impossible")

    def _makes_sense(self) -> bool:
        return True


class NumericCodec(Codec):
    r"""A number that scales the vector of its field."""

    kind = 'numeric'
    state_names = ('mean', 'std')
    mean: float = 0.0
    std: float = 1.0

    def _makes_sense(self) -> bool:
        return _are_floats([self.mean, self.std], 2) and self.std > 0

    def fit(self, column: pd.Series) -> None:
        x = to_numbers(column)
        x = x[~np.isnan(x)]
        if self.field.transform == 'standard' and len(x):
            self.mean = float(x.mean())
            self.std = float(x.std()) or 1.0

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        x = to_numbers(column)
        missing = np.isnan(x)
        x = np.where(missing, 0.0, x)
        if self.field.transform == 'standard':
            value = (x - self.mean) / self.std
        elif self.field.transform == 'log1p':
            value = np.sign(x) * np.log1p(np.abs(x))
        else:
            value = np.where(x > 2, np.floor(np.log(np.maximum(x, 2)) ** 2), x)
        ids = np.where(missing, MISSING, NUMBER)
        value = np.where(missing, 1.0, value)[:, None]
        return ids[:, None], check_single(column, value, _TOO_FAR)


class BucketCodec(Codec):
    r"""A number that picks a bucket in each of one or more granularities."""

    kind = 'bucket'
    state_names = ('edges', 'bucket_ids')

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.edges: list[list[float]] = []
        # The id of each bucket of each granularity; rare buckets share one:
        self.bucket_ids: list[list[int]] = []

    def _makes_sense(self) -> bool:
        kept = [i for ids in self.bucket_ids for i in ids if i != RARE]
        return (
            len(self.edges) == len(self.bucket_ids) == self.slots
            and all(
                _are_floats(edges, len(ids) - 1) and edges == sorted(edges)
                for edges, ids in zip(self.edges, self.bucket_ids, strict=True)
            )
            and kept == list(range(NUM_SPECIAL, NUM_SPECIAL + len(kept)))
        )

    @property
    def size(self) -> int:  # type: ignore[override]
        return 1 + max(
            (max(ids) for ids in self.bucket_ids), default=NUM_SPECIAL - 1
        )

    @property
    def slots(self) -> int:  # type: ignore[override]
        return len(self.field.bins)

    def fit(self, column: pd.Series) -> None:
        x = to_numbers(column)
        x = x[~np.isnan(x)]
        self.edges, self.bucket_ids = [], []
        next_id = NUM_SPECIAL
        for bins in self.field.bins:
            edges = self._cut(x, bins)
            count = np.bincount(
                np.searchsorted(edges, x, side='right'),
                minlength=len(edges) + 1,
            )
            kept = count >= self.field.min_count
            ids = np.full(len(count), RARE)
            ids[kept] = next_id + np.arange(kept.sum())
            next_id += int(kept.sum())
            self.edges.append(edges.tolist())
            self.bucket_ids.append(ids.tolist())

    def _cut(self, x: Floats, bins: int) -> Floats:
        if not len(x):
            return np.empty(0)
        if self.field.transform == 'equal_width':
            # A constant column has no width and gets a single bucket:
            return np.unique(np.linspace(x.min(), x.max(), bins + 1)[1:-1])
        return np.unique(np.quantile(x, np.arange(1, bins) / bins))

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        x = to_numbers(column)
        missing = np.isnan(x)
        ids = np.stack(
            [
                np.asarray(bucket_ids)[np.searchsorted(edges, x, side='right')]
                for edges, bucket_ids in zip(
                    self.edges, self.bucket_ids, strict=True
                )
            ],
            axis=1,
        )
        value = np.full(ids.shape, 1 / self.slots)
        ids[missing] = MISSING
        value[missing] = [1.0] + [0.0] * (self.slots - 1)
        return ids, value


class CategoricalCodec(Codec):
    r"""A category with a vocabulary of those seen often enough."""

    kind = 'categorical'

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.keys: pd.Index = pd.Index([], dtype='str')
        self.counts: Ids = np.empty(0, dtype=np.int64)

    @property
    def size(self) -> int:  # type: ignore[override]
        return NUM_SPECIAL + len(self.keys)

    def fit(self, column: pd.Series) -> None:
        self._learn(*to_texts(column, strict=True))

    def _learn(self, codes: Ids, keys: pd.Index) -> None:
        count = pd.Series(
            np.bincount(codes[codes >= 0], minlength=len(keys)),
            index=keys,
        )
        count = count[count >= max(self.field.min_count, 1)].sort_index()
        count = count.sort_values(ascending=False, kind='stable')
        self.keys = pd.Index(count.index)
        self.counts = count.to_numpy(np.int64)

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        ids = self._lookup(*to_texts(column))
        return ids[:, None], np.ones((len(ids), 1))

    def _lookup(self, codes: Ids, keys: pd.Index) -> Ids:
        found = self.keys.get_indexer(keys)
        # A value apart for code -1, which marks missing entries:
        table = np.append(
            np.where(found < 0, RARE, found + NUM_SPECIAL), MISSING
        )
        if len(keys) >= 10 and len(self.keys) and not (found >= 0).any():
            warnings.warn(
                f"Column '{self.field.name}': none of its {len(keys)} "
                'distinct values is in the vocabulary; is this the table '
                'that the encoder was fitted for?',
                stacklevel=4,
            )
        return table[codes]

    @property
    def vocabulary(self) -> pd.Series:
        return pd.Series(self.counts, self.keys)

    def load_state(self, state: dict[str, Any], vocabulary: pd.Series) -> None:
        self.keys = vocabulary.index
        self.counts = vocabulary.to_numpy()
        super().load_state(state, vocabulary)


class MultiCodec(CategoricalCodec):
    r"""Several categories, of which the mean is taken."""

    kind = 'multi'
    state_names = ('slots',)

    def fit(self, column: pd.Series) -> None:
        row, members = self._explode(column)
        codes, keys = to_texts(members, strict=True)
        self._learn(codes, keys)
        length = np.bincount(row[codes >= 0])
        self.slots = max(1, int(length.max(initial=0)))

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        row, members = self._explode(column)
        member = self._lookup(*to_texts(members))
        row, member = row[member != MISSING], member[member != MISSING]
        length = np.bincount(row, minlength=len(column))
        slot = np.arange(len(row)) - (length.cumsum() - length)[row]
        # Members beyond the longest list of the training rows are dropped:
        kept = slot < self.slots
        row, slot, member = row[kept], slot[kept], member[kept]
        length = np.minimum(length, self.slots)
        ids = np.full((len(column), self.slots), MISSING, dtype=np.int64)
        value = np.zeros(ids.shape)
        value[length == 0, 0] = 1.0
        ids[row, slot] = member
        value[row, slot] = 1 / length[row]
        return ids, value

    def _makes_sense(self) -> bool:
        return type(self.slots) is int and self.slots >= 1

    def _explode(self, column: pd.Series) -> tuple[Ids, pd.Series]:
        r"""The members of all entries, and the position of each one's row."""
        dtype = column.dtype
        if isinstance(dtype, pd.StringDtype) and dtype.storage == 'pyarrow':
            texts = pa.array(column, pa.large_string())
            parts = pc.split_pattern(texts, self.field.separator)
            length = pc.list_value_length(parts).fill_null(0).to_numpy()
            members = parts.flatten().to_pandas()
        else:
            lists = [self._members(x) for x in to_objects(column)]
            length = np.array([len(x) for x in lists], np.int64)
            members = pd.Series([*chain(*lists)], dtype=object)
        row = np.repeat(np.arange(len(column)), length)
        # So that an error names the row:
        members.index, members.name = column.index[row], column.name
        return row, members

    def _members(self, entry: Any) -> list[Any]:
        if isinstance(entry, str):
            return entry.split(self.field.separator)
        if isinstance(entry, set | frozenset):
            # Its order is another one in each process:
            with suppress(ValueError):  # A member too long for a text.
                return sorted(entry, key=lambda x: (str(type(x)), str(x)))
            return [*entry]
        if isinstance(entry, np.ndarray) and entry.ndim:
            return [*entry]
        return [*entry] if isinstance(entry, list | tuple) else [entry]


class VectorCodec(Codec):
    r"""A vector of numbers from elsewhere, mapped by a learned matrix: each
    component is a standardised number with a vector of its own.
    """

    kind = 'vector'
    state_names = ('slots', 'mean', 'std')
    mean: list[float]
    std: list[float]

    def _makes_sense(self) -> bool:
        return (
            type(self.slots) is int
            and self.slots >= 1
            and _are_floats(self.mean, self.slots)
            and _are_floats(self.std, self.slots)
            and min(self.std) > 0
        )

    @property
    def size(self) -> int:  # type: ignore[override]
        return 1 + self.slots

    def fit(self, column: pd.Series) -> None:
        kept = column[column.notna()]
        if kept.empty:
            raise DataError(
                f"Column '{column.name}' holds no vector; leave it out"
            )
        self.slots = max((1, *(_shape(kept.iloc[0]) or ())))
        x = self._stack(kept)
        self.mean, std = x.mean(axis=0).tolist(), x.std(axis=0)
        self.std = np.where(std > 0, std, 1.0).tolist()

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        there = column.notna().to_numpy()
        ids = np.full((len(column), self.slots), MISSING, dtype=np.int64)
        value = np.zeros(ids.shape)
        value[~there, 0] = 1.0
        ids[there] = NUMBER + np.arange(self.slots)
        x = (self._stack(column[there]) - self.mean) / self.std
        # The vector of the node is as long as that of a single number:
        value[there] = x / np.sqrt(self.slots)
        return ids, check_single(column, value, _TOO_FAR)

    def _stack(self, column: pd.Series) -> Floats:
        values, shape = column.tolist(), (len(column), self.slots)
        try:
            x = np.array(values)
        except ValueError:  # They are not equally long.
            x = np.empty(0)
        if x.shape != shape:
            wrong = np.array([_shape(x) != shape[1:] for x in values], bool)
            if wrong.any():
                what = f'is no vector of {self.slots} numbers'
                raise_at(column, wrong, what)
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


def _are_floats(values: list[float], length: int) -> bool:
    return len(values) == length and all(
        type(x) in (int, float) and isfinite(x) for x in values
    )


def make_codec(field: Field) -> Codec:
    r"""The codec of a field."""
    if field.kind == 'multi':
        return MultiCodec(field)
    if field.kind == 'vector':
        return VectorCodec(field)
    if field.kind == 'categorical':
        return CategoricalCodec(field)
    return BucketCodec(field) if field.is_bucketised else NumericCodec(field)

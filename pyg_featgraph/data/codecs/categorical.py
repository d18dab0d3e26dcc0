r"""One category, or several of which the mean is taken."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.codecs.base import MISSING, NUM_SPECIAL, RARE, Codec
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.tallies import MultiTally, TextTally, explode
from pyg_featgraph.data.texts import (
    Ids,
    hash_texts,
    joined,
    rewritten,
    to_texts,
)
from pyg_featgraph.data.values import Floats


class CategoricalCodec(Codec):
    r"""A category with a vocabulary of those seen often enough."""

    kind = 'categorical'

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.keys: pd.Index = pd.Index([], dtype='str')
        self.counts: Ids = np.empty(0, dtype=np.int64)
        #: The rows of those that are too rare, if they are kept.
        self.rare: pd.Series | None = None

    @property
    def size(self) -> int:  # type: ignore[override]
        return NUM_SPECIAL + (self.field.hash_size or len(self.keys))

    def learn(
        self, tally: TextTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        if self.field.hash_size:
            self.missing = tally.missing
            return
        count = tally.counts()
        # Some texts say that there is none:
        num_missing = tally.num_rows - int(count.sum())
        self.missing = num_missing / max(tally.num_rows, 1)
        self._learn(count)

    def _learn(self, count: pd.Series) -> None:
        new = self._often_enough(count)
        self.keys = pd.Index(new.index)
        self.counts = new.to_numpy(np.int64)

    def _often_enough(self, count: pd.Series) -> pd.Series:
        r"""What becomes part of the vocabulary, in the order of its ids; the
        others are kept as rare, if that is asked for.
        """
        kept = count.to_numpy() >= max(self.field.min_count, 1)
        if self.rare is not None:
            self.rare = count.iloc[np.flatnonzero(~kept)]
        count = count.iloc[np.flatnonzero(kept)].sort_index()
        return count.sort_values(ascending=False, kind='stable')

    def update(self, count: pd.Series, evict: int = 0) -> Ids:
        r"""Adds the categories of new rows to the vocabulary: those that are
        there keep their ids.

        Args:
            count (pandas.Series): The number of new rows of each category.
            evict (int, optional): A category with fewer new rows gives its id
                to a new one, if there is one. (default: :obj:`0`)

        Returns:
            numpy.ndarray: The ids that have changed hands.
        """
        now = count.reindex(self.keys, fill_value=0).to_numpy(np.int64)
        self.counts = self.counts + now
        others = count[~count.index.isin(self.keys)]
        if self.rare is not None:
            others = self.rare.add(others, fill_value=0).astype(np.int64)
        new = self._often_enough(others)
        free = np.flatnonzero(now < evict)
        free = free[np.argsort(now[free], kind='stable')][: len(new)]
        keys, counts = self.keys.to_numpy(object), self.counts.copy()
        keys[free] = new.index[: len(free)]
        counts[free] = new.iloc[: len(free)]
        rest = new.iloc[len(free) :]
        self.keys = pd.Index([*keys, *rest.index], dtype='str')
        self.counts = np.concatenate([counts, rest.to_numpy(np.int64)])
        return np.sort(free) + NUM_SPECIAL

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        ids = self._encode(column)
        return ids[:, None], np.broadcast_to(1.0, (len(ids), 1))

    def _encode(self, column: pd.Series) -> Ids:
        ids: Ids
        if self.field.hash_size:
            codes, keys = to_texts(column)
            ids = hash_texts(keys, self.field.hash_size) + NUM_SPECIAL
            return np.append(ids, MISSING)[codes]
        # Arrow would build its table of many keys anew each time:
        few = 0 < len(self.keys) <= len(column)
        if not (isinstance(column.dtype, pd.StringDtype) and few):
            return self._lookup(*to_texts(column))
        # Most entries are texts as they stand in the vocabulary:
        texts = pa.array(column, pa.large_string())
        keys = pa.array(self.keys, pa.large_string())
        found = pc.index_in(texts, value_set=keys)
        if found.null_count == len(found):
            return self._lookup(*to_texts(column))
        # Arrow's are of 32 bits, in which keys of crosses would overflow:
        ids = np.asarray(found.fill_null(RARE - NUM_SPECIAL), np.int64)
        ids = ids + NUM_SPECIAL
        rest = np.flatnonzero(ids == RARE)
        others = joined(texts.take(pa.array(rest)))
        there = np.asarray(others.is_valid())
        ids[rest[~there]] = MISSING
        # They are rare, but for those that can be written otherwise:
        at = rest[there][rewritten(others.drop_null())[0]]
        if len(at):
            ids[at] = self._lookup(*to_texts(column.iloc[at]), warn=False)
        return ids

    def _lookup(self, codes: Ids, keys: pd.Index, warn: bool = True) -> Ids:
        found = self.keys.get_indexer(keys)
        # A value apart for code -1, which marks missing entries:
        table = np.append(
            np.where(found < 0, RARE, found + NUM_SPECIAL), MISSING
        )
        warn &= len(keys) >= 10 and len(self.keys) > 0
        if warn and not (found >= 0).any():
            warnings.warn(
                f"Column '{self.field.name}': none of its {len(keys)} "
                'distinct values is in the vocabulary; is this the table '
                'that the encoder was fitted for?',
                stacklevel=5,
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
    state_names = ('missing', 'slots')

    def learn(  # type: ignore[override]
        self, tally: MultiTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        self._learn(tally.counts())
        self.missing = tally.missing
        self.slots = max(1, tally.longest)

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        row, members = explode(column, self.field.separator)
        member = self._encode(members)
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

r"""One category, or several of which the mean is taken."""

from __future__ import annotations

import warnings
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.codecs.base import MISSING, NUM_SPECIAL, RARE, Codec
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.texts import Ids, to_texts
from pyg_featgraph.data.values import Floats, to_objects
from pyg_featgraph.serve.scorer.entries import members


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

    def fit(self, column: pd.Series, y: Labels | None = None) -> None:
        codes, keys = to_texts(column, strict=True)
        self.missing = float((codes < 0).mean())
        self._learn(codes, keys)

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
    state_names = ('missing', 'slots')

    def fit(self, column: pd.Series, y: Labels | None = None) -> None:
        row, members = self._explode(column)
        codes, keys = to_texts(members, strict=True)
        self._learn(codes, keys)
        length = np.bincount(row[codes >= 0], minlength=len(column))
        self.missing = float((length == 0).mean())
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
            flat = parts.flatten().to_pandas()
        else:
            separator = self.field.separator
            lists = [members(x, separator) for x in to_objects(column)]
            length = np.array([len(x) for x in lists], np.int64)
            flat = pd.Series([*chain(*lists)], dtype=object)
        row = np.repeat(np.arange(len(column)), length)
        # So that an error names the row:
        flat.index, flat.name = column.index[row], column.name
        return row, flat

r"""A vector of numbers from elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.codecs.base import (
    MISSING,
    NUMBER,
    Codec,
    are_floats,
)
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, check_single, raise_at
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import TOO_FAR


class VectorCodec(Codec):
    r"""A vector of numbers from elsewhere, mapped by a learned matrix: each
    component is a standardised number with a vector of its own.
    """

    kind = 'vector'
    state_names = ('missing', 'slots', 'mean', 'std')
    mean: list[float]
    std: list[float]

    def _makes_sense(self) -> bool:
        return (
            type(self.slots) is int
            and self.slots >= 1
            and are_floats(self.mean, self.slots)
            and are_floats(self.std, self.slots)
            and min(self.std) > 0
        )

    @property
    def size(self) -> int:  # type: ignore[override]
        return 1 + self.slots

    def fit(self, column: pd.Series, y: Labels | None = None) -> None:
        self.missing = float(column.isna().mean())
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
        return ids, check_single(column, value, TOO_FAR)

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

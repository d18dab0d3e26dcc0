r"""A vector of numbers from elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.codecs.base import (
    MISSING,
    NUMBER,
    Codec,
    are_floats,
)
from pyg_featgraph.data.tallies import VectorTally, stack
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, check_single
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

    def learn(
        self, tally: VectorTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        self.missing = tally.missing
        if not tally.slots:
            raise DataError(
                f"Column '{self.field.column}' holds no vector; leave it out"
            )
        self.slots, std = tally.slots, np.sqrt(tally.var)
        self.mean = tally.mean.tolist()
        self.std = np.where(std > 0, std, 1.0).tolist()

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        there = column.notna().to_numpy()
        ids = np.full((len(column), self.slots), MISSING, dtype=np.int64)
        value = np.zeros(ids.shape)
        value[~there, 0] = 1.0
        ids[there] = NUMBER + np.arange(self.slots)
        x = (stack(column[there], self.slots) - self.mean) / self.std
        # The vector of the node is as long as that of a single number:
        value[there] = x / np.sqrt(self.slots)
        return ids, check_single(column, value, TOO_FAR)

r"""A number that scales a vector."""

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
from pyg_featgraph.data.tallies import NumberTally
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, check_single, to_numbers
from pyg_featgraph.serve.scorer.entries import TOO_FAR


class NumericCodec(Codec):
    r"""A number that scales the vector of its field."""

    kind = 'numeric'
    state_names = ('missing', 'mean', 'std')
    mean: float = 0.0
    std: float = 1.0

    def _makes_sense(self) -> bool:
        return are_floats([self.mean, self.std], 2) and self.std > 0

    def learn(
        self, tally: NumberTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        self.missing = tally.missing
        x, counts = tally.counts()
        if self.field.transform == 'standard' and len(x):
            number = counts.sum()
            self.mean = float((x * counts).sum() / number)
            variance = ((x - self.mean) ** 2 * counts).sum() / number
            self.std = float(np.sqrt(variance)) or 1.0

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        x = to_numbers(column)
        missing = np.flatnonzero(np.isnan(x))
        if self.field.transform == 'standard':
            value = (x - self.mean) / self.std
        elif self.field.transform == 'log1p':
            value = np.sign(x) * np.log1p(np.abs(x))
        else:
            value = np.where(x > 2, np.floor(np.log(np.maximum(x, 2)) ** 2), x)
        ids = np.full(len(x), NUMBER)
        ids[missing], value[missing] = MISSING, 1.0
        check_single(column, value, TOO_FAR)
        return ids[:, None], value[:, None]

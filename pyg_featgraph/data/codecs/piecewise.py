r"""A number between two knots, whose vectors it interpolates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.codecs.base import (
    MISSING,
    NUM_SPECIAL,
    RARE,
    Codec,
    are_floats,
)
from pyg_featgraph.data.codecs.cuts import Cuts
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.tallies import NumberTally
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, to_numbers


class PiecewiseLinearCodec(Codec):
    r"""The piecewise linear encoding of `"On Embeddings for Numerical Features
    in Tabular Deep Learning" <https://arxiv.org/abs/2203.05556>`_ (Eq. 1),
    with a linear layer behind it, in other coordinates.

    There, a number :math:`b_t \le x < b_{t+1}` becomes :math:`\mathbf{e} =
    (1, \ldots, 1, f, 0, \ldots, 0)` with :math:`f = (x - b_t) / (b_{t+1} -
    b_t)`, of which the layer makes :math:`\mathbf{u} + \sum_s e_s
    \mathbf{w}_s`. With the partial sums :math:`\mathbf{v}_t = \mathbf{u} +
    \sum_{s < t} \mathbf{w}_s` as the vectors of the knots, this is
    :math:`(1 - f) \mathbf{v}_t + f \mathbf{v}_{t+1}`: two slots rather than
    one for each bin.

    .. note::
        A number beyond the training rows counts as the nearest of theirs. In
        the paper, the first and the last piece go on, so that one that is far
        away has a vector of any length.

    The knots are the edges of the buckets, the smallest and the largest
    number, and the mass points, which hence have vectors of their own.
    """

    kind = 'bucket'
    state_names = ('missing', 'mass', 'knots')

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.knots: list[list[float]] = []
        #: The mass points, of any granularity.
        self.mass: list[float] = []

    def _makes_sense(self) -> bool:
        return (
            len(self.knots) == len(self.field.bins)
            and are_floats(self.mass, len(self.mass))
            and all(
                are_floats(knots, len(knots)) and knots == sorted({*knots})
                for knots in self.knots
            )
        )

    @property
    def size(self) -> int:  # type: ignore[override]
        return NUM_SPECIAL + sum(map(len, self.knots))

    @property
    def slots(self) -> int:  # type: ignore[override]
        return 2 * len(self.field.bins)

    def learn(
        self, tally: NumberTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        cuts = Cuts(self.field, tally, column, y)
        self.missing, self.mass = cuts.missing, cuts.all_mass
        ends = [*cuts.values[:1], *cuts.values[-1:]]
        self.knots = [
            np.unique([*ends, *edges, *mass]).tolist()
            for edges, mass in zip(cuts.edges, cuts.mass, strict=True)
        ]

    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        x = to_numbers(column)
        missing = np.isnan(x)
        ids = np.full((len(x), self.slots), MISSING, dtype=np.int64)
        value = np.zeros(ids.shape)
        first = NUM_SPECIAL
        for i, knots in enumerate(self.knots):
            pair = slice(2 * i, 2 * i + 2)
            ids[:, pair], value[:, pair] = _interpolate(x, np.array(knots))
            ids[:, pair] += np.where(len(knots), first, RARE)
            first += len(knots)
        value /= len(self.knots)
        ids[missing] = MISSING
        value[missing] = np.eye(1, self.slots)
        return ids, value


def _interpolate(x: Floats, knots: Floats) -> tuple[Ids, Floats]:
    r"""The two knots of each number, and how much it has of their vectors."""
    if len(knots) < 2:
        return np.zeros((len(x), 2), np.int64), np.tile([1.0, 0.0], (len(x), 1))
    left = np.searchsorted(knots[1:-1], x, side='right')
    low, high = knots[left], knots[left + 1]
    share = (np.clip(x, low, high) - low) / (high - low)
    return np.stack([left, left + 1], 1), np.stack([1 - share, share], 1)

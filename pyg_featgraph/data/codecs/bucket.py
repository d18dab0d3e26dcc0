r"""A number that picks vectors of its buckets."""

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


class BucketCodec(Codec):
    r"""A number that picks a bucket in each of one or more granularities."""

    kind = 'bucket'
    state_names = ('missing', 'mass', 'edges', 'bucket_ids')

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.edges: list[list[float]] = []
        #: The mass points, of any granularity.
        self.mass: list[float] = []
        # The id of each bucket of each granularity; rare buckets share one:
        self.bucket_ids: list[list[int]] = []

    def _makes_sense(self) -> bool:
        kept = [i for ids in self.bucket_ids for i in ids if i != RARE]
        return (
            len(self.edges) == len(self.bucket_ids) == self.slots
            and all(
                are_floats(edges, len(ids) - 1) and edges == sorted(edges)
                for edges, ids in zip(self.edges, self.bucket_ids, strict=True)
            )
            and are_floats(self.mass, len(self.mass))
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

    def learn(
        self, tally: NumberTally, column: pd.Series, y: Labels | None = None
    ) -> None:
        cuts = Cuts(self.field, tally, column, y)
        self.missing, self.mass = cuts.missing, cuts.all_mass
        self.edges = [edges.tolist() for edges in cuts.edges]
        self.bucket_ids = []
        next_id = NUM_SPECIAL
        for edges in self.edges:
            count = np.bincount(
                np.searchsorted(edges, cuts.values, side='right'),
                cuts.counts,
                len(edges) + 1,
            )
            kept = count >= self.field.min_count
            ids = np.full(len(count), RARE)
            ids[kept] = next_id + np.arange(kept.sum())
            next_id += int(kept.sum())
            self.bucket_ids.append(ids.tolist())

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

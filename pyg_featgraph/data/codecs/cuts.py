r"""What a column of numbers is cut into."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyg_featgraph.data.bins import (
    Labels,
    has_mass,
    quantile_edges,
    tree_edges,
    width_edges,
)
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.tallies import NumberTally
from pyg_featgraph.data.values import Floats, to_numbers
from pyg_featgraph.errors import DataError


class Cuts:
    r"""The distinct numbers of a column, and where the transform of its field
    cuts between them.

    Args:
        field (Field): The options of the field.
        tally (NumberTally): The numbers of the training rows.
        column (pandas.Series): The entries of these rows, or of some.
        y (numpy.ndarray, optional): The labels of the latter, with shape
            :math:`(R)`.

    Raises:
        DataError: If an entry is no number, or if the buckets are chosen by
            the label and there is none.
    """

    def __init__(
        self,
        field: Field,
        tally: NumberTally,
        column: pd.Series,
        y: Labels | None,
    ) -> None:
        self.field = field
        #: The share of the rows in which the field is missing.
        self.missing = tally.missing
        #: The distinct numbers in rising order, and the rows of each.
        self.values, self.counts = tally.counts()
        if field.transform == 'tree' and y is None:
            raise DataError(
                f"Column '{column.name}': the transform 'tree' is fitted to "
                'the label, which the training rows lack; name it in the '
                "schema, or use the transform 'quantile'"
            )
        self.column, self.y = column, y

    @property
    def edges(self) -> list[Floats]:
        r"""The edges between the buckets of each granularity."""
        return [self._edges(bins) for bins in self.field.bins]

    @property
    def mass(self) -> list[Floats]:
        r"""The mass points at each granularity."""
        return [
            self.values[has_mass(self.counts, bins)] for bins in self.field.bins
        ]

    @property
    def all_mass(self) -> list[float]:
        r"""The mass points of any granularity, in rising order."""
        points: list[float] = np.unique(np.concatenate(self.mass)).tolist()
        return points

    def _edges(self, bins: int) -> Floats:
        values, counts, least = self.values, self.counts, self.field.min_count
        if self.field.transform == 'equal_width':
            return width_edges(values, bins)
        if self.field.transform == 'tree' and self.y is not None:
            x = to_numbers(self.column)
            there = ~np.isnan(x)
            return tree_edges(
                values, counts, x[there], self.y[there], bins, least
            )
        return quantile_edges(values, counts, bins, least)

r"""What all ways of turning a column into ids and values have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isfinite
from typing import Any, ClassVar

import pandas as pd

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.tallies import make_tally
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats
from pyg_featgraph.errors import DataError

MISSING, RARE, NUMBER = 0, 1, 1
NUM_SPECIAL = 2


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
    #: The share of the training rows in which the field is missing.
    missing: float = 0.0

    def fit(self, column: pd.Series, y: Labels | None = None) -> None:
        r"""Learns vocabulary and statistics from the training rows.

        Args:
            column (pandas.Series): The entries.
            y (numpy.ndarray, optional): The labels, with shape :math:`(R)`;
                integers if they are classes.
                (default: :obj:`None`)
        """
        tally = make_tally(self.field)
        tally.add(column)
        self.learn(tally, column, y)

    @abstractmethod
    def learn(
        self, tally: Any, column: pd.Series, y: Labels | None = None
    ) -> None:
        r"""Learns the same from what was counted of the training rows.

        Args:
            tally (Tally): The counts.
            column (pandas.Series): The training rows, or some of them, by
                which a transform is fitted to the label.
            y (numpy.ndarray, optional): The labels of these rows.
                (default: :obj:`None`)
        """

    @abstractmethod
    def encode(self, column: pd.Series) -> tuple[Ids, Floats]:
        r"""The ids and values of a column, both with shape :math:`(R, L)`."""

    #: The fitted attributes that are stored as JSON.
    state_names: ClassVar[tuple[str, ...]] = ('missing',)

    def state(self) -> dict[str, Any]:
        r"""The fitted statistics as JSON-compatible values."""
        return {name: getattr(self, name) for name in self.state_names}

    def describe(self) -> dict[str, Any]:
        r"""All that it takes to encode entries, as JSON-compatible values: see
        :func:`~pyg_featgraph.serve.export`.
        """
        options = (
            *('name', 'column', 'part', 'separator', 'transform'),
            'hash_size',
        )
        out = {
            'codec': type(self).__name__,
            **{name: getattr(self.field, name) for name in options},
            'size': self.size,
            **self.state(),
            'slots': self.slots,
        }
        if self.vocabulary is not None:
            out['keys'] = self.vocabulary.index.tolist()
        return out

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
        share = self.missing
        if not (are_floats([share], 1) and 0 <= share <= 1):
            raise DataError(f"'{self.field.name}' is missing in {share} rows")
        if not self._makes_sense():
            raise DataError(f"the state of '{self.field.name}' is impossible")

    def _makes_sense(self) -> bool:
        return True


def are_floats(values: list[float], length: int) -> bool:
    r"""Whether values from a file are finite numbers of some count."""
    return len(values) == length and all(
        type(x) in (int, float) and isfinite(x) for x in values
    )

r"""Which encoding a column of numbers gets, where that is left to the data.

Each candidate is fitted to some training rows, with a linear model on top of
it that tells the label from this column alone, and scored on others: log loss
for classes, squared error (of the standardised label) for numbers. They come
from the simple to the rich ones, and a later one has to beat both the one that
is kept so far and the label's distribution, by two standard errors of the
paired difference, so that what is chosen by chance is the simple one. (Such
scores favour fine buckets, which cost a network that has all columns more than
they show.)
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array, eye_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge

from pyg_featgraph.data.bins import Labels, are_classes
from pyg_featgraph.data.codecs import make_codec
from pyg_featgraph.data.codecs.base import are_floats
from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats, to_numbers
from pyg_featgraph.errors import DataError

#: What is tried, from the simple to the rich. The first one is the choice
#: without a label.
CANDIDATES: tuple[dict[str, Any], ...] = (
    {'transform': 'quantile', 'bins': (16,), 'interpolate': True},
    {'transform': 'quantile', 'bins': (16,)},
    {'transform': 'tree', 'bins': (16,), 'interpolate': True},
    {'transform': 'quantile', 'bins': (50,)},
    {'transform': 'quantile', 'bins': (50,), 'interpolate': True},
)
#: The largest number of training rows that are looked at.
MAX_ROWS = 20_000
NUM_FOLDS = 4
NUM_ERRORS = 2.0


@dataclass
class Choice:
    r"""The field that was chosen, why, and the loss of each candidate."""

    field: Field
    reason: str
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        r"""What was chosen, and why, as JSON-compatible values."""
        options = {name: getattr(self.field, name) for name in CANDIDATES[0]}
        return {'reason': self.reason, 'scores': self.scores, **options}

    @classmethod
    def from_dict(cls, field: Field, values: Mapping[str, Any]) -> Choice:
        r"""The inverse of :meth:`to_dict`.

        Args:
            field (Field): The field as it was told.
            values (dict): The values.

        Raises:
            DataError: If they are no choice.
        """
        options = {name: values[name] for name in CANDIDATES[0]}
        options['bins'] = tuple(options['bins'])
        reason, scores = values['reason'], values['scores']
        losses = list(scores.values())
        if not (isinstance(reason, str) and are_floats(losses, len(losses))):
            raise DataError(f"the choice for '{field.name}' is impossible")
        return cls(dataclasses.replace(field, **options), reason, scores)


def choose(
    field: Field,
    train: tuple[pd.Series, Labels | None],
    valid: tuple[pd.Series, Labels | None] | None = None,
) -> Choice:
    r"""Chooses the transform of a field with the transform :obj:`"auto"`.

    Args:
        field (Field): The options of the field.
        train (tuple): The column in the training rows and their labels.
        valid (tuple, optional): The same in the rows by which to choose.
            (default: training rows in turns)

    Raises:
        DataError: If an entry is no number.
    """
    fields = [dataclasses.replace(field, **x) for x in CANDIDATES]
    (column, x), y = _as_numbers(train[0]), train[1]
    num_values = len(np.unique(x[~np.isnan(x)]))
    plain = dataclasses.replace(fields[0], interpolate=False)
    if num_values <= min(plain.bins):
        return Choice(plain, f'{num_values} distinct values', {})
    if y is None:
        return Choice(fields[0], 'no label to choose by', {})
    if valid is not None and valid[1] is not None:
        base, *losses = _losses(
            fields, (column, y), (_as_numbers(valid[0])[0], valid[1])
        )
    else:
        base, *losses = _cross_losses(fields, column, y)
    best = 0
    for i in range(1, len(fields)):
        if all(_beats(losses[i], other) for other in (losses[best], base)):
            best = i
    names = [describe(x) for x in fields]
    scores = {
        name: float(loss.mean())
        for name, loss in zip(names, losses, strict=True)
    }
    if best:
        reason = f'beats {names[0]} by more than chance'
    else:
        reason = 'none beats it by more than chance'
    return Choice(fields[best], reason, scores)


def _as_numbers(column: pd.Series) -> tuple[pd.Series, Floats]:
    r"""A column that need not be read again for each candidate."""
    x = to_numbers(column)
    return pd.Series(x, column.index, name=column.name), x


def describe(field: Field) -> str:
    r"""The encoding of a field in short, such as :obj:`"tree(16)"`."""
    if field.transform is None:
        return field.kind
    counts = ', '.join(map(str, field.bins))
    name = f'{field.transform}({counts})' if counts else field.transform
    return f'interpolated {name}' if field.interpolate else name


def _cross_losses(fields: list[Field], column: pd.Series, y: Labels) -> Floats:
    order = np.random.default_rng(0).permutation(len(y))[:MAX_ROWS]
    parts = np.array_split(order, NUM_FOLDS)
    losses = []
    for k, held in enumerate(parts):
        rest = np.concatenate([*parts[:k], *parts[k + 1 :]])
        train, test = (
            (column.iloc[at], y[at]) for at in (np.sort(rest), np.sort(held))
        )
        losses.append(_losses(fields, train, test))
    return np.concatenate(losses, axis=1)


def _losses(
    fields: list[Field],
    train: tuple[pd.Series, Labels],
    test: tuple[pd.Series, Labels],
) -> Floats:
    r"""The loss of each test row without the column, and by each candidate."""
    labels = train[1], test[1]
    nothing = csr_array((1, 1))
    rows = [np.zeros(len(y), np.int64) for y in labels]
    losses = [_loss(nothing, (rows[0], rows[1]), *labels)]
    # Whatever many rows have is encoded once:
    both = pd.concat([train[0], test[0]])
    codes, values = pd.factorize(both, use_na_sentinel=False)
    distinct = pd.Series(values, name=both.name)
    for field in fields:
        codec = make_codec(field)
        codec.fit(*train)
        ids, value = codec.encode(distinct)
        design, at = _design(ids, value, codec.size), codes
        if ids.shape[1] == 1:
            # Nor do numbers in one bucket differ:
            design, at = eye_array(codec.size, format='csr'), ids[codes, 0]
        places = at[: len(labels[0])], at[len(labels[0]) :]
        losses.append(_loss(design, places, *labels))
    return np.stack(losses)


def _loss(
    design: csr_array, at: tuple[Ids, Ids], y: Labels, target: Labels
) -> Floats:
    r"""The loss of each test row by a linear model of the training rows.

    Args:
        design (csr_array): What rows can be.
        at (tuple): Which of these the training rows are, and the test rows.
        y (numpy.ndarray): The labels of the training rows.
        target (numpy.ndarray): Those of the test rows.
    """
    if not are_classes(y):
        scale = y.std() or 1.0
        model = Ridge(solver='lsqr').fit(design[at[0]], y / scale)
        error: Floats = (model.predict(design)[at[1]] - target / scale) ** 2
        return error
    known, classes = np.unique(y, return_inverse=True)
    if len(known) < 2:
        return np.zeros(len(target))
    # Rows that agree in all are one, with a weight:
    kinds, counts = np.unique(at[0] * len(known) + classes, return_counts=True)
    places, of = np.divmod(kinds, len(known))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        model = LogisticRegression(max_iter=100)
        model.fit(design[places], of, counts)
    # A class that the training rows lack is as unlikely as can be:
    shares = np.pad(model.predict_proba(design), ((0, 0), (0, 1)))
    label = np.where(np.isin(target, known), np.searchsorted(known, target), -1)
    of_label: Floats = shares[at[1], label]
    return -np.log(np.maximum(of_label, 1e-7))


def _design(ids: Ids, value: Floats, size: int) -> csr_array:
    r"""Encoded rows as a sparse matrix with a column for each id."""
    start = np.arange(0, ids.size + 1, ids.shape[1])
    return csr_array((value.ravel(), ids.ravel(), start), (len(ids), size))


def _beats(loss: Floats, other: Floats) -> bool:
    gain = other - loss
    return bool(gain.mean() > NUM_ERRORS * gain.std() / np.sqrt(len(gain)))

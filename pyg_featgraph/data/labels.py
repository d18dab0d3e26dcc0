r"""Labels and weights of rows: the numbers that columns become."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyg_featgraph.data.texts import to_texts
from pyg_featgraph.data.values import check_frame, raise_at, to_numbers
from pyg_featgraph.errors import DataError

#: What labels are: two classes, several, or numbers.
TASKS = ('binary', 'multiclass', 'regression')
_HOW_MANY = (
    "but a binary task has two: see 'task' of FieldSchema if there are more, "
    'or if labels are numbers'
)


class LabelCodec:
    r"""Turns a column of labels into numbers: classes are numbered in their
    order, that of numbers if all of them are some, and numbers stay what they
    are.

    Classes are told apart as categories are, see
    :mod:`pyg_featgraph.data.values`: 1, 1.0, :obj:`True` and :obj:`"1"` are
    one.

    Args:
        task (str): :obj:`"binary"`, :obj:`"multiclass"` or
            :obj:`"regression"`.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        #: The names of the classes, by their numbers.
        self.classes: tuple[str, ...] = ('0', '1') if task == 'binary' else ()

    def fit(self, column: pd.Series) -> None:
        r"""Learns the classes from training rows.

        Args:
            column (pandas.Series): The labels.

        Raises:
            DataError: If a label is missing or none that the task has, or if
                there is a single one.
        """
        self.learn(self.count(column))

    def count(self, column: pd.Series) -> pd.Series:
        r"""The rows of each class; none if labels are numbers.

        Args:
            column (pandas.Series): The labels.

        Raises:
            DataError: If a label is missing or none that the task has.
        """
        if self.task == 'regression':
            self.encode(column)
            return pd.Series([], pd.Index([], dtype='str'), dtype=np.int64)
        codes, texts = to_texts(column)
        _check_complete(column, codes < 0)
        number = np.bincount(codes, minlength=len(texts))
        if self.task == 'binary' and len(texts) > 2:
            raise_at(
                column,
                ~np.isin(codes, number.argsort()[-2:]),
                f'is the label of a third class, {_HOW_MANY}',
            )
        return pd.Series(number, texts, name=column.name)

    def learn(self, counts: pd.Series) -> None:
        r"""Learns the classes from the number of rows of each.

        Args:
            counts (pandas.Series): What :meth:`count` gives, of all rows.

        Raises:
            DataError: If there is a single class, or too many.
        """
        if self.task == 'regression':
            return
        texts = counts.index
        are_numbers = all(_is_number(text) for text in texts)
        classes = sorted(texts, key=float if are_numbers else None)
        if len(classes) == 1:
            raise DataError(
                f"Column '{counts.name}': all {counts.sum()} labels are "
                f'{classes[0]!r}, but training needs several classes'
            )
        if self.task == 'binary' and len(classes) > 2:
            raise DataError(
                f"Column '{counts.name}': the labels are {classes[:8]}, "
                f'{_HOW_MANY}'
            )
        self.classes = tuple(classes)

    def encode(self, column: pd.Series) -> Tensor:
        r"""The numbers of labels, with shape :math:`(R)`.

        Args:
            column (pandas.Series): The labels.

        Raises:
            DataError: If a label is missing, no number or of an unknown class.
        """
        if self.task == 'regression':
            y = to_numbers(column)
            _check_complete(column, np.isnan(y))
            return torch.from_numpy(y.astype(np.float32))
        codes, texts = to_texts(column)
        _check_complete(column, codes < 0)
        numbers = pd.Index(self.classes).get_indexer(texts)[codes]
        if (numbers < 0).any():
            known = ', '.join(map(repr, self.classes[:8]))
            raise_at(
                column,
                numbers < 0,
                f'is none of the {len(self.classes)} classes ({known})',
            )
        return torch.from_numpy(numbers.astype(np.float32))


def read_weights(column: pd.Series) -> Tensor:
    r"""The weights of rows, with shape :math:`(R)`.

    Args:
        column (pandas.Series): The weights.

    Raises:
        DataError: If a weight is missing, no number or negative.
    """
    weight = to_numbers(column)
    _check_complete(column, np.isnan(weight))
    if (weight < 0).any():
        raise_at(column, weight < 0, 'is negative, and hence no weight')
    return torch.from_numpy(weight.astype(np.float32))


def read_column(df: pd.DataFrame, name: str | None) -> pd.Series | None:
    r"""A column that a table may have or not."""
    if name is None or name not in df.columns:
        return None
    check_frame(df, [name])
    return df[name]


def _check_complete(column: pd.Series, missing: np.ndarray) -> None:
    if missing.any():
        at = int(np.flatnonzero(missing)[0])
        raise DataError(
            f"Column '{column.name}', row {column.index[at]!r}: there is no "
            f'value ({int(missing.sum())} such of {len(column)} rows). Drop '
            'these rows'
        )


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False

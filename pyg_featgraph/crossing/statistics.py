r"""The mean of the label for each value of a cross."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.multiclass import type_of_target

from pyg_featgraph.data.schema import Field
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats
from pyg_featgraph.errors import DataError


class Target(NamedTuple):
    r"""Labels as numbers whose means are taken.

    Args:
        values (numpy.ndarray): With shape :math:`(R, C)`: the second of two
            classes as 1, several classes one-hot, or numbers.
        classes (list, optional): The classes, if there are any.
    """

    values: Floats
    classes: list[Any] | None

    @classmethod
    def read(cls, y: ArrayLike | None, target_type: str, rows: int) -> Self:
        r"""Takes labels as they are.

        Args:
            y (array): The labels, with shape :math:`(R)`.
            target_type (str): :obj:`"binary"`, :obj:`"multiclass"`,
                :obj:`"continuous"`, or :obj:`"auto"` for what
                :func:`sklearn.utils.multiclass.type_of_target` sees in them.
            rows (int): How many there should be.

        Raises:
            DataError: If there are not so many labels, or if one is missing.
            ValueError: If they are of none of these types.
        """
        if y is None:
            raise DataError(
                'Statistics of the label need it: call fit_transform(X, y)'
            )
        labels = np.asarray(y)
        if labels.shape != (rows,):
            raise DataError(
                f'{rows} rows need one label each (got the shape '
                f'{labels.shape})'
            )
        missing = pd.isna(labels)
        if missing.any():
            raise DataError(
                f'The label of {missing.sum()} rows is missing (the first is '
                f'at position {missing.argmax()}); drop these rows'
            )
        types = ('binary', 'multiclass', 'continuous')
        if target_type == 'auto':
            target_type = type_of_target(labels)
        if target_type not in types:
            raise ValueError(
                f"'target_type' must be 'auto' or one of {types} (got "
                f'{target_type!r})'
            )
        if target_type == 'continuous':
            return cls(labels.astype(np.float64)[:, None], None)
        classes, codes = np.unique(labels, return_inverse=True)
        if target_type == 'multiclass':
            return cls(np.eye(len(classes))[codes], classes.tolist())
        if len(classes) > 2:
            raise ValueError(f'There are {len(classes)} classes, not two')
        return cls(codes.astype(np.float64)[:, None], classes.tolist())

    @property
    def names(self) -> list[str]:
        r"""What each of the :math:`C` means is called."""
        if self.classes is None or self.values.shape[1] == 1:
            return ['target']
        return [f'target={x}' for x in self.classes]

    def folds(self, cv: int, random_state: int | None) -> list[tuple[Ids, Ids]]:
        r"""The rows to learn from and the others, of each of :obj:`cv` folds,
        which have equal shares of the classes.

        Args:
            cv (int): The number of folds.
            random_state (int, optional): The seed.
        """
        y = self.values[:, 0]
        if self.values.shape[1] > 1:
            y = self.values.argmax(axis=1)
        make = KFold if self.classes is None else StratifiedKFold
        return [*make(cv, shuffle=True, random_state=random_state).split(y, y)]


def check_no_label(
    df: pd.DataFrame,
    fields: Mapping[str, Field],
    names: Iterable[str],
    y: Any,
) -> None:
    r"""Checks that no column of some fields holds the labels.

    Args:
        df (pandas.DataFrame): The rows.
        fields (dict): All fields.
        names (list of str): Those that are meant.
        y (array): The labels.

    Raises:
        DataError: If one does.
    """
    columns = {fields[name].column for name in names if name in fields}
    for name in sorted(columns & {*df}):
        if np.array_equal(df[name].to_numpy(), np.asarray(y)):
            raise DataError(
                f"The column '{name}' is the label itself; leave it out, or "
                "pass a 'schema' without it"
            )


def smoothed_means(
    at: Ids, y: Floats, size: int, smooth: float | str
) -> Floats:
    r"""The mean of the label for each value, drawn to the mean of all rows,
    from `"A Preprocessing Scheme for High-Cardinality Categorical Attributes
    in Classification and Prediction Problems"
    <https://doi.org/10.1145/507533.507538>`_.

    Args:
        at (numpy.ndarray): The value of each row, with shape :math:`(R)`.
        y (numpy.ndarray): The labels, with shape :math:`(R, C)`.
        size (int): The number :math:`V` of values.
        smooth (float or str): How many rows the mean of all rows counts for
            (Eq. 7), or :obj:`"auto"` for what the variance within the value
            says (Eqs. 5 and 6).

    Shapes:
        - **output:** means :math:`(V + 1, C)`; the last one is that of all
          rows, which stands for values that are not there
    """
    prior = y.mean(axis=0)
    count = np.bincount(at, minlength=size)[:, None]
    total = _sums(at, y, size)
    with np.errstate(divide='ignore', invalid='ignore'):
        if smooth == 'auto':
            mean = total / count
            within = _sums(at, (y - mean[at]) ** 2, size) / count
            between = y.var(axis=0) * count
            weight = between / (between + within)
            out = weight * mean + (1 - weight) * prior
        else:
            out = (total + float(smooth) * prior) / (count + float(smooth))
    # Values that no row has, or labels that are all the same:
    return np.vstack([np.where(np.isnan(out), prior, out), prior])


def out_of_fold_means(
    at: Ids,
    y: Floats,
    size: int,
    smooth: float | str,
    folds: Iterable[tuple[Ids, Ids]],
) -> Floats:
    r"""For each row the :func:`smoothed_means` of its value over the rows of
    other folds.

    Args:
        at (numpy.ndarray): The value of each row, with shape :math:`(R)`.
        y (numpy.ndarray): The labels, with shape :math:`(R, C)`.
        size (int): The number :math:`V` of values.
        smooth (float or str): See :func:`smoothed_means`.
        folds (list): The other rows and the rows of each fold.

    Shapes:
        - **output:** means :math:`(R, C)`
    """
    out = np.empty(y.shape)
    for rest, fold in folds:
        out[fold] = smoothed_means(at[rest], y[rest], size, smooth)[at[fold]]
    return out


def _sums(at: Ids, y: Floats, size: int) -> NDArray[np.float64]:
    return np.stack([np.bincount(at, x, size) for x in y.T], axis=1)

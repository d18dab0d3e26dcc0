r"""What estimators are given: tables of any kind, and rows for validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_array, validate_data

from pyg_featgraph.data import to_frame
from pyg_featgraph.errors import DataError


def read_table(estimator: Any, X: Any, reset: bool = False) -> pd.DataFrame:
    r"""A table as a :class:`~pandas.DataFrame`, with the columns of
    :meth:`fit`.

    Args:
        estimator (BaseEstimator): Whose table it is.
        X (Any): The table.
        reset (bool, optional): Whether this is the table of :meth:`fit`.
            (default: :obj:`False`)

    Raises:
        DataError: If there are too few rows.
        ValueError: If the columns are others than in :meth:`fit`.
    """
    # Some rows are for training, others for validation:
    least = 2 if reset else 1
    if _is_array(X):
        X = check_array(
            X,
            dtype=None,
            ensure_all_finite=False,
            ensure_min_samples=least,
            estimator=estimator,
        )
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        frame = to_frame(X)
    else:
        frame = to_frame(X)
        validate_data(estimator, frame, reset=reset, skip_check_array=True)
        if len(frame) < least:
            raise DataError(
                f'The table has too few rows ({len(frame)}, not {least})'
            )
    if reset:
        estimator.columns_ = list(frame.columns)
    return frame.set_axis(estimator.columns_, axis=1)


def _is_array(X: Any) -> bool:
    if isinstance(X, np.ndarray):
        return X.dtype.names is None
    is_table = hasattr(X, '__arrow_c_stream__') or hasattr(X, '__dataframe__')
    if isinstance(X, list | tuple):
        return not (X and isinstance(X[0], Mapping))
    return issparse(X) or (hasattr(X, '__array__') and not is_table)


def split_rows(
    y: NDArray[Any], fraction: float, seed: int, are_classes: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    r"""Rows for training and for validation, drawn by strata: from each class,
    or each tenth of the numbers that labels are, the same share. A class of
    several rows is on both sides, one of a single row in training.

    Args:
        y (numpy.ndarray): The labels, with shape :math:`(R)`.
        fraction (float): The share of rows for validation.
        seed (int): The seed of the draw.
        are_classes (bool): Whether labels are classes.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"'validation_fraction' must lie in (0, 1) (got {fraction}); pass "
            "an 'eval_set' to train on all rows"
        )
    if not are_classes:
        rank = np.argsort(np.argsort(y, kind='stable'))
        # Tenths, or fewer parts if rows are few; of two rows at least:
        num_parts = min(max(round(fraction * len(y)), 2), 10, len(y) // 2)
        y = rank * num_parts // len(y)
    order = np.random.default_rng(seed).permutation(len(y))
    order = order[np.argsort(y[order], kind='stable')]
    _, first, size = np.unique(y[order], return_index=True, return_counts=True)
    share = np.where(size > 1, np.maximum(np.rint(fraction * size), 1), 0)
    share = np.minimum(share, size - 1)
    place = np.arange(len(y)) - np.repeat(first, size)
    is_valid = place < np.repeat(share, size)
    return np.sort(order[~is_valid]), np.sort(order[is_valid])

r"""Rows of a data frame, with its columns as features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pandas.api import types as dtypes
from torch import Tensor

from pyg_featgraph.data import to_frame
from pyg_featgraph.errors import DataError
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation


class FramePerturbation(ModelPerturbation):
    r"""Rows of a :class:`pandas.DataFrame`, whose features are the columns.

    A number that is off is the mean of its column in the background, as in
    the `"Feature Interaction Interpretability: A Case for Explaining
    Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 6.1). A category that
    is off is missing, which an estimator must be able to handle, or the most
    frequent one. Columns keep their dtypes, but integers become floating
    point numbers, since their mean is one.

    Args:
        model (Any): An estimator on data frames, such as a pipeline of
            scikit-learn, or a function of a data frame; see
            :class:`ModelPerturbation`.
        frame (pandas.DataFrame): The rows to explain, or any other table that
            :func:`~pyg_featgraph.data.to_frame` takes; the model gets data
            frames in any case.
        background (pandas.DataFrame): Rows that the model knows, such as
            those it was trained on, with the same columns.
        off (str, optional): Whether a category that is off is
            :obj:`"missing"` or the :obj:`"mode"` of its column in the
            background. A column of dtype :obj:`bool` cannot miss a value and
            takes the mode in any case. (default: :obj:`"missing"`)
        values (dict, optional): The values of columns that are off, instead
            of the above. CatBoost, for example, wants the same text for
            missing categories as in training, and integers for categories
            that are integers. (default: :obj:`None`)
        output (str, optional): See :class:`ModelPerturbation`.
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): How many samples the model gets at once.
            (default: :obj:`4096`)

    Raises:
        DataError: If columns do not fit each other, a column has no value for
            being off, or the model fails for such values.
    """

    def __init__(
        self,
        model: Any,
        frame: Any,
        background: Any,
        off: str = 'missing',
        values: Mapping[Any, Any] | None = None,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int = 4096,
    ) -> None:
        if off not in ('missing', 'mode'):
            raise ValueError(f"'off' must be 'missing' or 'mode' (got '{off}')")
        values = dict(values or {})
        frame, background = (
            # A model may know the columns of a data frame by other names:
            x if isinstance(x, pd.DataFrame) else to_frame(x)
            for x in (frame, background)
        )
        _check(frame, background, values)
        self.columns: dict[Any, pd.Series] = {}
        self.off: dict[Any, Any] = {}
        for name in frame.columns:
            column, known = frame[name], background[name]
            if name in values:
                value = values[name]
            elif _is_number(column):
                if dtypes.is_integer_dtype(column.dtype):
                    column = column * 1.0
                value = known.mean()
            else:
                value = _category(column, known, off)
            self.columns[name] = column
            self.off[name] = _checked(column, value)
        super().__init__(model, output, target, batch_size)
        self._try()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def names(self, row: int) -> list[str]:
        return [str(name) for name in self.columns]

    def perturb(self, row: int, masks: Tensor) -> pd.DataFrame:
        r"""The perturbed copies of a row.

        Args:
            row (int): The index of the row.
            masks (torch.Tensor): Which columns are on, with shape
                :math:`(n, d)`.
        """
        on = masks.numpy()
        columns = enumerate(self.columns.items())
        return pd.DataFrame(
            {
                name: _mix(column, row, self.off[name], on[:, i])
                for i, (name, column) in columns
            }
        )

    def outputs(self, row: int, masks: Tensor) -> Tensor:
        return self.ask(self.perturb(row, masks))

    def _try(self) -> None:
        # Better now than after some time, and with the reason:
        try:
            none = torch.zeros(1, len(self.columns), dtype=torch.bool)
            self.ask(self.perturb(0, none))
        except Exception as error:
            raise DataError(
                'The model fails where all columns are off, with '
                f"{self.off}; choose other values with off='mode' or "
                f"'values' ({type(error).__name__}: {error})"
            ) from error


def _check(
    frame: pd.DataFrame, background: pd.DataFrame, values: Mapping[Any, Any]
) -> None:
    for what, table in (('frame', frame), ('background', background)):
        if table.empty:
            raise DataError(f"'{what}' is empty (shape {table.shape})")
        if not table.columns.is_unique:
            raise DataError(
                f"Columns of '{what}' share a name: {list(table.columns)}"
            )
    for what, wanted, known in (
        ('background', frame.columns, background.columns),
        ('frame', values, frame.columns),
    ):
        missing = [name for name in wanted if name not in known]
        if missing:
            raise DataError(
                f"'{what}' lacks the columns {missing}; it has {list(known)}"
            )


def _is_number(column: pd.Series) -> bool:
    return dtypes.is_numeric_dtype(column.dtype) and not dtypes.is_bool_dtype(
        column.dtype
    )


def _category(column: pd.Series, known: pd.Series, off: str) -> Any:
    dtype = column.dtype
    if not (
        isinstance(dtype, pd.CategoricalDtype)
        or dtypes.is_bool_dtype(dtype)
        or dtypes.is_object_dtype(dtype)
        or dtypes.is_string_dtype(dtype)
    ):
        raise DataError(
            f"Column '{column.name}' of dtype {dtype} is neither number nor "
            "category; say in 'values' what it is if it is off"
        )
    if off == 'mode' or dtype == np.bool_:
        mode = known.mode()
        if mode.empty:
            raise DataError(
                f"Column '{column.name}' has no mode, since the background has "
                "no values; say in 'values' what it is if it is off"
            )
        return mode.iloc[0]
    if not isinstance(dtype, np.dtype):
        return dtype.na_value
    # Missing in the same way as what the model knows:
    absent = known[known.isna()]
    return absent.iloc[0] if len(absent) else None


def _checked(column: pd.Series, value: Any) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        if not pd.isna(value) and value not in dtype.categories:
            raise DataError(
                f"Column '{column.name}': {value!r} is none of its categories "
                f'{list(dtype.categories)}'
            )
    elif _is_number(column) and not dtypes.is_number(value):
        raise DataError(f"Column '{column.name}': {value!r} is not a number")
    return value


def _mix(column: pd.Series, row: int, off: Any, on: NDArray[np.bool_]) -> Any:
    r"""The value of a row where it is on, else the other one."""
    if isinstance(column.dtype, np.dtype):
        out = np.full(len(on), off, dtype=column.dtype)
        out[on] = column.iloc[row]
        # A data frame would turn objects that are all text into strings:
        return pd.Series(out, dtype=column.dtype)
    # Position -1 is filled:
    return column.array.take(
        np.where(on, row, -1), allow_fill=True, fill_value=off
    )

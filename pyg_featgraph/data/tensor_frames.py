r"""Tables of PyTorch Frame, which are told by what they have, so that the
library need not be there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.errors import DataError

_EMBEDDINGS = ('embedding', 'text_embedded', 'image_embedded')


def is_tensor_frame(table: Any) -> bool:
    r"""Whether a table is a :class:`torch_frame.TensorFrame`."""
    return hasattr(table, 'feat_dict') and hasattr(table, 'col_names_dict')


def is_dataset(table: Any) -> bool:
    r"""Whether a table is a :class:`torch_frame.data.Dataset`."""
    return hasattr(table, 'df') and hasattr(table, 'col_to_stype')


def from_tensor_frame(table: Any) -> pd.DataFrame:
    r"""The columns of tensors: numbers, categories as the integers that
    they are there, lists of those, embeddings and points in time.

    Args:
        table (torch_frame.TensorFrame): The table.

    Raises:
        DataError: If a column is of another type.
    """
    columns = {}
    for stype, names in table.col_names_dict.items():
        features = table.feat_dict[stype]
        for i, name in enumerate(names):
            columns[name] = _from_tensor(features, i, name, stype.value)
    return pd.DataFrame(columns)


def from_dataset(dataset: Any) -> pd.DataFrame:
    r"""The columns of a data set whose types are known, in its order.

    Args:
        dataset (torch_frame.data.Dataset): The data set.
    """
    frame: pd.DataFrame = dataset.df[
        [x for x in dataset.df if x in dataset.col_to_stype]
    ]
    return frame.assign(
        **{
            name: _read(dataset, frame[name], stype.value)
            for name, stype in dataset.col_to_stype.items()
        }
    )


def _from_tensor(features: Any, i: int, name: str, stype: str) -> Any:
    if stype == 'numerical':
        return features[:, i].numpy(force=True)
    if stype == 'categorical':
        codes = features[:, i].numpy(force=True)
        return pd.Categorical(np.where(codes < 0, np.nan, codes))
    if stype == 'timestamp':
        return _to_times(features[:, i].numpy(force=True))
    if stype == 'multicategorical':
        rows = features[:, i].cpu()
        return [
            None if -1 in members else members
            for members in (rows[j, 0].tolist() for j in range(len(rows)))
        ]
    if stype in _EMBEDDINGS:
        return [*features[:, i].values.numpy(force=True)]
    raise DataError(
        f"Column '{name}' of a TensorFrame is of the type '{stype}', which is "
        'no kind of a field; leave it out'
    )


def _to_times(parts: np.ndarray) -> pd.DatetimeIndex:
    r"""Points in time, whose months and days are counted from zero."""
    year, month, day, _, hour, minute, second = parts.T
    known = year >= 0
    months = (np.where(known, year, 1970) - 1970) * 12 + month
    times = months.astype('datetime64[M]').astype('datetime64[s]')
    times += day * 86_400 + hour * 3600 + minute * 60 + second
    return pd.DatetimeIndex(np.where(known, times, np.datetime64('NaT')))


def _read(dataset: Any, column: pd.Series, stype: str) -> pd.Series:
    r"""A column in the type that tells its kind."""
    if stype == 'categorical':
        return column.astype('category')
    if stype == 'timestamp':
        return pd.to_datetime(
            column, format=dataset.col_to_time_format[column.name]
        )
    separator = dataset.col_to_sep.get(column.name)
    if stype == 'multicategorical' and separator is not None:
        return column.map(
            lambda text: [x for x in text.split(separator) if x.strip()],
            na_action='ignore',
        )
    return column

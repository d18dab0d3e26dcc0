r"""Tables of any library as data frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.types import infer_dtype

from pyg_featgraph.data.tensor_frames import (
    from_dataset,
    from_tensor_frame,
    is_dataset,
    is_tensor_frame,
)
from pyg_featgraph.errors import DataError

# Integers with missing entries, which floating point would round:
_NULLABLE = {
    pa.type_for_alias(name): dtype
    for name, dtype in {
        'int8': pd.Int8Dtype(),
        'int16': pd.Int16Dtype(),
        'int32': pd.Int32Dtype(),
        'int64': pd.Int64Dtype(),
        'uint8': pd.UInt8Dtype(),
        'uint16': pd.UInt16Dtype(),
        'uint32': pd.UInt32Dtype(),
        'uint64': pd.UInt64Dtype(),
        'bool': pd.BooleanDtype(),
    }.items()
}


def to_frame(table: Any) -> pd.DataFrame:
    r"""Any table as a :class:`pandas.DataFrame`, whose entries have the same
    ids wherever they come from.

    Names of columns become texts, such as :obj:`"0"` for :obj:`0`.

    Args:
        table (Any): One of

            * a :class:`pandas.DataFrame`, which is returned as it is;
            * what has the Arrow C stream interface, such as tables of
              polars, PyArrow and DuckDB, or a lazy table of polars;
            * a two-dimensional array of NumPy, whose columns are called
              :obj:`"x0"`, :obj:`"x1"`, ..., or a structured one;
            * a list of rows, as dictionaries, or a dictionary of columns;
            * a :obj:`Dataset` of PyTorch Frame, with its target, or a
              :obj:`TensorFrame`, without one.

    Raises:
        DataError: If it is none of these, or if the texts of two names are
            the same.
    """
    frame = _read(table)
    names = [*map(str, frame.columns)]
    if names == [*frame.columns]:
        return frame
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f'Several columns are called {twice} as a text (the names are '
            f'{list(frame.columns)}); rename some'
        )
    return frame.set_axis(names, axis=1)


def _read(table: Any) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    if isinstance(table, np.ndarray):
        return _from_array(table)
    if is_tensor_frame(table):
        return from_tensor_frame(table)
    if is_dataset(table):
        return from_dataset(table)
    if hasattr(table, 'collect'):
        table = table.collect()
    if hasattr(table, '__arrow_c_stream__'):
        return _from_arrow(table)
    if isinstance(table, Mapping):
        return _from_columns(table)
    if (
        isinstance(table, Sequence)
        and len(table)
        and all(isinstance(row, Mapping) for row in table)
    ):
        names = dict.fromkeys(name for row in table for name in row)
        return _from_columns(
            {name: [row.get(name) for row in table] for name in names}
        )
    raise DataError(
        'A table is a data frame of pandas or polars, an Arrow table, an array '
        'with two dimensions, a list of dictionaries, a dictionary of columns '
        f'or a table of PyTorch Frame (got {_name(table)})'
    )


def _from_array(array: np.ndarray) -> pd.DataFrame:
    if array.dtype.names is not None and array.ndim == 1:
        columns: Mapping[Any, Any] = {x: array[x] for x in array.dtype.names}
    elif array.ndim == 2:
        if array.dtype != object:
            names = [f'x{i}' for i in range(array.shape[1])]
            return pd.DataFrame(array, columns=names)
        columns = {f'x{i}': column for i, column in enumerate(array.T)}
    else:
        raise DataError(
            'An array that is a table has two dimensions, or names (got the '
            f'shape {array.shape})'
        )
    return _from_columns(columns)


def _from_columns(columns: Mapping[Any, Any]) -> pd.DataFrame:
    try:
        return pd.DataFrame({name: _column(columns[name]) for name in columns})
    except ValueError as error:
        kinds = {name: _name(column) for name, column in columns.items()}
        raise DataError(
            'A dictionary is a table if its values are columns of one length '
            f'(got {kinds}: {error})'
        ) from error


def _column(values: Any) -> Any:
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.tolist()
    if isinstance(values, list | tuple):
        objects = pd.Series(values, dtype=object)
        # Floating point would round integers where one is missing:
        if objects.hasnans and infer_dtype(objects, skipna=True) == 'integer':
            return pd.array(objects.to_numpy())
        return pd.Series(values).array
    if isinstance(
        values, pd.Series | pd.Index | pd.api.extensions.ExtensionArray
    ):
        return values
    if hasattr(values, '__arrow_c_stream__'):
        values = pa.chunked_array(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _from_arrow(pa.table({'x': values}))['x'].array
    if isinstance(values, str) or not hasattr(values, '__len__'):
        raise ValueError(f'{values!r} is no column')
    return np.asarray(values)


def _from_arrow(table: Any) -> pd.DataFrame:
    try:
        table = pa.table(table)
    except (pa.ArrowException, TypeError) as error:
        raise DataError(f'{_name(table)} is no table ({error})') from error
    incomplete = {x.type for x in table.columns if x.null_count}
    nullable = {x: _NULLABLE[x] for x in incomplete & _NULLABLE.keys()}
    lists = {}
    for i, field in enumerate(table.schema):
        # An array would have floating point where an integer is missing:
        if _is_list(field.type) and not pa.types.is_floating(
            field.type.value_type
        ):
            lists[field.name] = table.column(i).to_pylist()
            table = table.set_column(i, field.name, pa.nulls(len(table)))
    frame: pd.DataFrame = table.to_pandas(
        date_as_object=False, types_mapper=nullable.get
    )
    for name, column in lists.items():
        frame[name] = pd.Series(column, frame.index, dtype=object)
    return frame


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


def _name(value: Any) -> str:
    kind = type(value)
    if kind.__module__ == 'builtins':
        return kind.__qualname__
    return f'{kind.__module__}.{kind.__qualname__}'

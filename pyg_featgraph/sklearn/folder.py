r"""The folder of a fitted estimator."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from safetensors.torch import save_file

from pyg_featgraph.data import FieldEncoder, FieldInfo, FieldSchema, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, read_json, reading, sealing, write_json
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.nn.config import decode, encode, find_class, qualified_name

#: The version of the format.
VERSION = 1

#: What a folder holds; the first one is written last, and tells of the others.
ESTIMATOR, MODEL, ENCODER, ROWS = (
    'estimator.json',
    'model.safetensors',
    'encoder.parquet',
    'rows.safetensors',
)


def write_folder(
    folder: str | os.PathLike[str],
    name: str,
    params: Mapping[str, Any],
    state: Mapping[str, Any],
    fitted: tuple[FieldModel, FieldEncoder, FieldTable],
) -> None:
    r"""Writes an estimator, see
    :meth:`~pyg_featgraph.sklearn.FeatGraphClassifier.save`.

    Args:
        folder (str): The folder, which is made if there is none.
        name (str): The name of the class of the estimator.
        params (dict): Its parameters.
        state (dict): What it has learned, as JSON-compatible values or arrays.
        fitted (tuple): Its model, its encoder and its validation rows.

    Raises:
        TypeError: If a parameter is nothing that a file can hold.
    """
    values = {
        'version': VERSION,
        'class': name,
        'params': {k: _encode_param(k, v) for k, v in params.items()},
        'state': {k: _encode_array(v) for k, v in state.items()},
    }
    model, encoder, rows = fitted
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Without it, no mixture of two estimators passes for one:
    (folder / ESTIMATOR).unlink(missing_ok=True)
    model.save(folder / MODEL)
    encoder.save(folder / ENCODER)
    tensors = {
        'slot_index': rows.slot_index,
        'slot_value': rows.slot_value,
        'y': rows.y,
        'sample_weight': rows.sample_weight,
    }
    with sealing(folder / ROWS) as temporary:
        save_file(
            {k: x.contiguous() for k, x in tensors.items() if x is not None},
            temporary,
            {'checksum': SEAL},
        )
    write_json(folder / ESTIMATOR, values)


def read_folder(
    folder: str | os.PathLike[str], name: str
) -> tuple[
    dict[str, Any],
    dict[str, Any],
    tuple[FieldModel, FieldEncoder, FieldTable],
]:
    r"""The inverse of :func:`write_folder`.

    Args:
        folder (str): The folder.
        name (str): The name of the class that the estimator has to have.

    Raises:
        DataError: If a file is damaged or missing, or holds something else.
    """
    folder = Path(folder)
    path = folder / ESTIMATOR
    if not path.exists():
        raise DataError(
            f"'{folder}' holds no estimator: '{path.name}' is missing"
        )
    values = read_json(path, 'estimator')
    with reading(path, 'estimator'):
        if (values['version'], values['class']) != (VERSION, name):
            raise DataError(
                f'it is a {values["class"]} of version {values["version"]}, '
                f'not a {name} of version {VERSION}'
            )
        params = {k: _decode_param(v) for k, v in values['params'].items()}
        state = {k: _decode_array(v) for k, v in values['state'].items()}
    model = FieldModel.load(folder / MODEL)
    encoder = FieldEncoder.load(folder / ENCODER)
    if model.info != encoder.info:
        raise DataError(
            f"'{folder / MODEL}' and '{ENCODER}' have different fields"
        )
    rows = _read_rows(folder / ROWS, model.info)
    return params, state, (model, encoder, rows)


def _read_rows(path: Path, info: FieldInfo) -> FieldTable:
    with reading(path, 'table'), safetensors.safe_open(path, 'pt') as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        return FieldTable(info=info, **tensors)


def _encode_param(name: str, value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, FieldModel):
        return {'model': qualified_name(value)}
    if isinstance(value, FieldSchema):
        return {'schema': value.to_dict()}
    if isinstance(value, Mapping) and any(
        not isinstance(k, str) for k in value
    ):
        pairs = [[encode(k), encode(v)] for k, v in value.items()]
        return {'pairs': _check_json(name, pairs)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _check_json(name, encode(value))


def _decode_param(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {'model'}:
            return find_class(value['model'])
        if value.keys() == {'schema'}:
            return FieldSchema.from_dict(value['schema'])
        if value.keys() == {'pairs'}:
            return dict(value['pairs'])
    return decode(value)


def _check_json(name: str, value: Any) -> Any:
    try:
        json.dumps(value)
    except TypeError as error:
        raise TypeError(
            f"'{name}' holds what no file of an estimator can ({error}); pass "
            'names and numbers, or pickle the estimator'
        ) from error
    return value


def _encode_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    dtype = 'object' if value.dtype.hasobject else value.dtype.str
    return {
        'dtype': dtype,
        'values': _check_json('classes_', value.tolist()),
    }


def _decode_array(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {'dtype', 'values'}:
        return np.array(value['values'], value['dtype'])
    return value

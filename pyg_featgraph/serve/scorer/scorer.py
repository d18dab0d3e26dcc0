r"""Rows to predictions."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codecs import ServingError
from .crosses import make_codec

#: The version of the format of a folder.
VERSION = 1
#: Ids and values of rows.
Inputs = tuple[NDArray[np.int64], NDArray[np.float32]]

_SEAL = re.compile(rb'pyg_featgraph\.sha256=([0-9a-f]{64})')


class Scorer:
    r"""Scores rows with a model that :func:`pyg_featgraph.serve.export` has
    written, by NumPy and onnxruntime alone. A scorer may be shared by threads.

    Args:
        folder (str): The exported folder.
        threads (int, optional): The number of threads that share the work of
            a call. A server that answers many calls at once is faster with
            one each. (default: :obj:`1`)
        batch_size (int, optional): The number of rows that go through the
            model at a time. (default: :obj:`256`)

    Raises:
        ServingError: If the folder is damaged, incomplete or of another
            version.
        ImportError: If onnxruntime is not installed.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        threads: int = 1,
        batch_size: int = 256,
    ) -> None:
        try:
            # Where it is installed, it has no types:
            onnxruntime: Any = import_module('onnxruntime')
        except ImportError as error:
            raise ImportError(
                "'onnxruntime' is missing: run pip install onnxruntime"
            ) from error
        self.folder, self.batch_size = Path(folder), batch_size
        #: What the folder says of itself.
        self.manifest = _read_manifest(self.folder)
        for name in self.manifest['files']:
            if name == 'encoder.json' or name.startswith('model.onnx'):
                self._verify(name)
        if 'model.onnx' not in self.manifest['files']:
            raise ServingError(
                f"'{folder}' holds no model.onnx: export with the format 'onnx'"
            )
        fields = json.loads((self.folder / 'encoder.json').read_bytes())
        self._codecs, offset = [], 0
        for spec in fields['fields']:
            self._codecs.append(make_codec(spec, offset))
            offset += spec['size']
        self._readers = [x for codec in self._codecs for x in codec.readers]
        #: The columns that the fields are read from.
        self.columns = [*dict.fromkeys(x.column for x in self._readers)]
        #: The names of the classes, if there are some.
        self.classes: tuple[str, ...] = tuple(self.manifest['classes'])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(self.folder / 'model.onnx'),
            options,
            providers=['CPUExecutionProvider'],
        )

    def score(self, rows: Any) -> NDArray[np.float32]:
        r"""What the model predicts for rows: by its head the probability of
        the second of two classes, those of several, or a number.

        Args:
            rows (dict, list of dict or Any): A row, as values by names of
                columns; a list of rows; or a table: a data frame, or lists or
                arrays of equal length by names of columns. A name that a row
                does not have is a missing entry.

        Returns:
            numpy.ndarray: With shape :math:`(R)`, or :math:`(R, C)` of several
            classes; without the first dimension for a single row.

        Raises:
            ServingError: If an entry is none that its column can have, or if
                a table lacks a column.
        """
        index, value = self.encode(rows)
        size = self.batch_size
        outs = [
            self._session.run(
                None,
                {
                    'slot_index': index[start : start + size],
                    'slot_value': value[start : start + size],
                },
            )[0]
            for start in range(0, max(len(index), 1), size)
        ]
        out: NDArray[np.float32] = outs[0]
        if len(outs) > 1:
            out = np.concatenate(outs)
        return out[0] if self._is_row(rows) else out

    def encode(self, rows: Any) -> Inputs:
        r"""The ids and values of rows, both with shape :math:`(R, S)`: the
        inputs of the model.

        Args:
            rows (dict, list of dict or Any): The rows, see :meth:`score`.

        Raises:
            ServingError: As by :meth:`score`.
        """
        if self._is_row(rows):
            return self._encode_row(rows)
        if isinstance(rows, Mapping) or hasattr(rows, 'columns'):
            return self._encode_columns(self._read_table(rows))
        if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
            raise ServingError(
                'Rows are a dictionary, a list of dictionaries or a table (got '
                f'{type(rows).__name__})'
            )
        for number, row in enumerate(rows):
            self._check_row(number, row)
        return self._encode_columns(
            {name: [row.get(name) for row in rows] for name in self.columns}
        )

    def _encode_row(self, row: Mapping[str, Any]) -> Inputs:
        self._check_row(0, row)
        index: list[int] = []
        value: list[float] = []
        for codec in self._codecs:
            ids, values = codec.read(row)
            index += ids
            value += values
        return np.array([index], np.int64), np.array([value], np.float32)

    def _encode_columns(self, columns: Mapping[str, Sequence[Any]]) -> Inputs:
        size = len(columns[self.columns[0]])
        width = sum(codec.slots for codec in self._codecs)
        index = np.empty((size, width), np.int64)
        value = np.empty((size, width), np.float32)
        first = 0
        for codec in self._codecs:
            slots = slice(first, first + codec.slots)
            ids, values = codec.read_all(columns)
            index[:, slots], value[:, slots] = ids, values
            first += codec.slots
        return index, value

    def _is_row(self, rows: Any) -> bool:
        # Whether it is one row rather than a table. Entries of fields that
        # take lists do not tell, so a table is one in which others are some.
        if not isinstance(rows, Mapping):
            return False
        return not any(
            _is_list(rows[codec.column])
            for codec in self._readers
            if not codec.takes_lists and codec.column in rows
        )

    def _check_row(self, number: int, row: Any) -> None:
        if not isinstance(row, Mapping):
            raise ServingError(
                f'Row {number} is no dictionary but a {type(row).__name__}'
            )
        if row.keys().isdisjoint(self.columns):
            raise ServingError(
                f'Row {number} has none of the columns {self.columns} (its '
                f'names are {[*row]})'
            )

    def _read_table(self, table: Any) -> dict[str, Sequence[Any]]:
        r"""The columns as lists of entries or arrays of numbers."""
        # Those of Arrow are called otherwise:
        names = getattr(table, 'column_names', None)
        if names is None:
            names = [*(table if isinstance(table, Mapping) else table.columns)]
        lacking = [name for name in self.columns if name not in names]
        if lacking:
            raise ServingError(
                f'The table lacks the columns {lacking}; it has {[*names]}'
            )
        twice = [name for name in self.columns if [*names].count(name) > 1]
        if twice:
            raise ServingError(f'The table has the columns {twice} twice')
        columns = {}
        for name in self.columns:
            if not _is_list(table[name]):
                raise ServingError(
                    f"Column '{name}' of a table is no list but a "
                    f'{type(table[name]).__name__}'
                )
            columns[name], dtype = _entries(table[name])
            for codec in self._readers:
                if codec.column == name:
                    codec.check_type(columns[name], dtype)
        lengths = {name: len(column) for name, column in columns.items()}
        if len({*lengths.values()}) > 1:
            raise ServingError(f'Columns differ in length: {lengths}')
        return columns

    def _verify(self, name: str) -> None:
        path = self.folder / name
        if not path.is_file():
            raise ServingError(f"'{path}' is missing: export the model again")
        if digest(path) != self.manifest['files'][name]:
            raise ServingError(
                f"'{path}' is damaged, as its checksum is wrong: take another "
                'copy of it'
            )

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.manifest["model"]}, '
            f'num_columns={len(self.columns)})'
        )


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / 'manifest.json'
    if not path.is_file():
        raise ServingError(
            f"'{folder}' is no exported model: it has no {path.name}"
        )
    data = path.read_bytes()
    mark = _SEAL.search(data)
    sealed = hashlib.sha256(_SEAL.sub(b'pyg_featgraph.sha256=', data))
    if mark is None or mark[1] != sealed.hexdigest().encode():
        raise ServingError(
            f"'{path}' is damaged, as its checksum is wrong: take another copy "
            'of it'
        )
    manifest: dict[str, Any] = json.loads(data)
    if manifest.get('version') != VERSION:
        raise ServingError(
            f"'{path}' has the version {manifest.get('version')!r} of the "
            f'format, but this scorer reads {VERSION}: use the one that '
            'lies in the folder'
        )
    return manifest


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return hasattr(value, '__len__') and not isinstance(
        value, str | bytes | Mapping
    )


def _entries(column: Any) -> tuple[Sequence[Any], str]:
    r"""The entries of a column, and the name of its type."""
    dtype = getattr(column, 'dtype', getattr(column, 'type', ''))
    values: Any = column
    if hasattr(column, 'to_pylist'):
        values = column.to_pylist()
    elif isinstance(dtype, np.dtype) and dtype.kind in 'biuf':
        values = np.asarray(column)
    else:
        values = [*column]
    return values, str(dtype).lower()


def digest(path: Path) -> str:
    r"""The checksum of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()

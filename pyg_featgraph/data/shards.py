r"""The files of an encoded table: shards of Arrow, and a manifest.

A shard is an uncompressed Arrow IPC file, so that its columns are mapped into
memory rather than read and unpacked: any block of rows costs as much as its own
bytes, wherever it stands, which is what shuffling asks for. Ids are numbered
from the start of their field, in the smallest of :obj:`uint8`, :obj:`uint16`
and :obj:`uint32` that holds them; the slots of one type are a matrix,
:obj:`fixed_size_list` in Arrow, so that a row is a few pieces of memory and not
one for each slot. Values stand there only where they are not always one.

The manifest is written last, and the folder takes its place as a whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import replacing_folder, write_json

#: The version of the format.
VERSION = 1
MANIFEST = 'manifest.json'
#: The rows of a record batch, which are read together.
BLOCK_ROWS = 2**12
#: The rows of a file.
SHARD_ROWS = 2**18
#: The columns of what a row has beside its slots.
EXTRAS = ('y', 'sample_weight')

#: The columns of rows, by their names in the files.
Arrays = dict[str, NDArray[Any]]


class Layout:
    r"""Where the slots of a row are in the columns of a shard.

    Args:
        info (FieldInfo): The layout of the fields.
    """

    def __init__(self, info: FieldInfo) -> None:
        self.info = info
        #: The column and the place in it of the id of each slot.
        self.places: list[tuple[str, int]] = []
        #: The slots in each column of ids.
        self.ids: dict[str, list[int]] = {}
        #: The slots that have a value of their own.
        self.valued: list[int] = []
        for kind, size, slots in zip(
            info.kinds, info.sizes, info.slots, strict=True
        ):
            name = f'ids_{np.min_scalar_type(size - 1)}'
            column = self.ids.setdefault(name, [])
            for _ in range(slots):
                slot = len(self.places)
                self.places.append((name, len(column)))
                column.append(slot)
                if slots > 1 or kind not in ('categorical', 'bucket'):
                    self.valued.append(slot)

    def empty(self, num_rows: int) -> Arrays:
        r"""Columns for some rows, whose content is yet to be set."""
        out: Arrays = {
            name: np.empty((num_rows, len(slots)), name.removeprefix('ids_'))
            for name, slots in self.ids.items()
        }
        if self.valued:
            shape = (num_rows, len(self.valued))
            out['values'] = np.empty(shape, np.float32)
        return out

    def put(
        self, out: Arrays, field: int, ids: NDArray[Any], value: NDArray[Any]
    ) -> None:
        r"""Sets the slots of a field.

        Args:
            out (dict): The columns.
            field (int): The number of the field.
            ids (numpy.ndarray): The ids from the start of the field, with
                shape :math:`(R, L)`.
            value (numpy.ndarray): The values, likewise.
        """
        first, slots = self.info.first_slots[field], self.info.slots[field]
        name, place = self.places[first]
        out[name][:, place : place + slots] = ids
        if first in self.valued:
            place = self.valued.index(first)
            out['values'][:, place : place + slots] = value

    def dtype(self, extras: Sequence[str]) -> np.dtype[Any]:
        r"""What holds a row, all of its columns side by side.

        Args:
            extras (list of str): The columns beside the slots.
        """
        columns = {**self.empty(0), **dict.fromkeys(extras, np.empty(0, 'f4'))}
        return np.dtype(
            [(name, x.dtype, x.shape[1:]) for name, x in columns.items()]
        )

    def read(
        self, rows: Mapping[str, NDArray[Any]] | NDArray[Any], dtype: type
    ) -> tuple[NDArray[Any], NDArray[np.float32]]:
        r"""The ids of rows, numbered over all fields, and their values, both
        with shape :math:`(R, S)`.

        Args:
            rows (dict): Their columns.
            dtype (type): The type of the ids.
        """
        ids: NDArray[Any] = np.concatenate(
            [rows[name] for name in self.ids],
            axis=1,
            dtype=dtype,
            casting='unsafe',
        ).take(self._order, axis=1)
        ids += self._offsets
        value = np.ones(ids.shape, np.float32)
        for of_slots, of_column in _runs(self.valued):
            value[:, of_slots] = rows['values'][:, of_column]
        return ids, value

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        # Where each slot stands if the columns follow each other:
        return np.argsort(np.concatenate([*self.ids.values()]))

    @cached_property
    def _offsets(self) -> NDArray[np.int32]:
        offsets = np.array(self.info.offsets, np.int32)
        return offsets.repeat(self.info.slots)


def _runs(slots: list[int]) -> list[tuple[slice, slice]]:
    r"""Slots that follow each other, and where they stand in the list."""
    out, start = [], 0
    for i in range(1, len(slots) + 1):
        if i == len(slots) or slots[i] != slots[i - 1] + 1:
            out.append((slice(slots[start], slots[i - 1] + 1), slice(start, i)))
            start = i
    return out


class ShardWriter:
    r"""Writes the rows of an encoded table to a folder, block by block.

    Args:
        folder (pathlib.Path): An empty folder.
        info (FieldInfo): The layout of the fields.
    """

    def __init__(self, folder: Path, info: FieldInfo) -> None:
        self.folder = folder
        self.info = info
        self._shards: list[dict[str, Any]] = []
        self._rest: Arrays = {}
        self._writer: Any = None
        self._rows = 0  # Of the open shard.

    def add(self, arrays: Arrays) -> None:
        r"""Appends rows.

        Args:
            arrays (dict): Their columns, as :class:`Layout` has them, and
                those of labels and weights, where there are some.
        """
        if self._rest:
            if self._rest.keys() != arrays.keys():
                raise DataError('Some files have labels or weights, others not')
            arrays = {
                name: np.concatenate([rest, arrays[name]])
                for name, rest in self._rest.items()
            }
        num_rows = _length(arrays)
        end = num_rows - num_rows % BLOCK_ROWS
        for start in range(0, end, BLOCK_ROWS):
            self._write(_cut(arrays, start, start + BLOCK_ROWS))
        self._rest = {k: x.copy() for k, x in _cut(arrays, end).items()}

    def close(self) -> None:
        r"""Writes the last rows, and the manifest."""
        if self._rest and _length(self._rest):
            self._write(self._rest)
        self._finish()
        values = {
            'version': VERSION,
            'info': self.info.to_dict(),
            'rows': sum(shard['rows'] for shard in self._shards),
            'block_rows': BLOCK_ROWS,
            'extras': [name for name in EXTRAS if name in self._rest],
            'slots': Layout(self.info).ids,
            'valued': Layout(self.info).valued,
            'shards': self._shards,
        }
        write_json(self.folder / MANIFEST, values)

    def _write(self, arrays: Arrays) -> None:
        batch = pa.RecordBatch.from_arrays(
            [_as_arrow(x) for x in arrays.values()], names=[*arrays]
        )
        if self._writer is None:
            path = self.folder / f'{len(self._shards):06}.arrow'
            self._shards.append({'name': path.name})
            self._writer = pa.ipc.new_file(str(path), batch.schema)
        self._writer.write_batch(batch)
        self._rows += len(batch)
        if self._rows >= SHARD_ROWS:
            self._finish()

    def _finish(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        shard = self._shards[-1]
        path = self.folder / shard['name']
        shard |= {
            'rows': self._rows,
            'bytes': path.stat().st_size,
            'sha256': checksum(path),
        }
        self._writer, self._rows = None, 0


def write_shards(
    folder: str | os.PathLike[str], info: FieldInfo, blocks: Iterable[Arrays]
) -> None:
    r"""Writes an encoded table to a folder, which appears as a whole or not at
    all.

    Args:
        folder (str): The folder.
        info (FieldInfo): The layout of the fields.
        blocks (iterable of dict): The rows, some at a time, as
            :meth:`FieldEncoder.blocks` gives them.

    Raises:
        DataError: If there are no rows.
    """
    num_rows = 0
    with replacing_folder(folder, MANIFEST) as temporary:
        writer = ShardWriter(temporary, info)
        for block in blocks:
            num_rows += _length(block)
            writer.add(block)
        if not num_rows:
            raise DataError('The table has no rows')
        writer.close()


def checksum(path: Path) -> str:
    r"""The SHA-256 of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def to_arrays(batch: pa.RecordBatch) -> Arrays:
    r"""The columns of a record batch, which stay where they are."""
    out = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        flat = column
        if pa.types.is_fixed_size_list(column.type):
            flat = column.flatten()
        out[name] = flat.to_numpy().reshape(len(batch), -1)
    return out


def _as_arrow(x: NDArray[Any]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(x).reshape(-1))
    if x.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, x.shape[1])


def _cut(arrays: Arrays, start: int, end: int | None = None) -> Arrays:
    return {name: x[start:end] for name, x in arrays.items()}


def _length(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))

r"""An encoded table whose rows stay in a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyg_featgraph.data.batch import FieldBatch
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.data.shards import (
    EXTRAS,
    MANIFEST,
    VERSION,
    Layout,
    checksum,
    to_arrays,
)
from pyg_featgraph.data.streams import threads
from pyg_featgraph.data.table import FieldTable, Rows
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import read_json

Ids = NDArray[np.int64]


class StoredTable(FieldTable):
    r"""A :class:`~pyg_featgraph.data.FieldTable` whose rows stay in a folder,
    as :meth:`~pyg_featgraph.data.FieldTable.open` gives it.

    What is asked for is mapped into memory and copied to a pool of blocks, of
    which the least recently used ones make room for others. The memory that it
    takes depends on :obj:`window` and not on the number of rows, but for labels
    and weights, which :attr:`y` and :attr:`sample_weight` hold from their first
    use on: four bytes for each row.

    A part of it that is a slice, or comes from :meth:`split`, stays in the
    folder as well; any other :obj:`subset` is a table in memory. The files
    must stay as they are; the checksum of each is verified when its first row
    is read.

    Args:
        folder (str): The folder.
        window (int, optional): How many rows are shuffled together.
            (default: :obj:`262144`)

    Raises:
        DataError: If there is no such table in the folder, or if one of its
            files is damaged.
    """

    def __init__(
        self, folder: str | os.PathLike[str], window: int = 2**18
    ) -> None:
        if window < 1:
            raise ValueError(f"'window' must be positive (got {window})")
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError(
                f"There is no encoded table in '{folder}', which lacks "
                f"'{MANIFEST}'. Write it by FieldEncoder.transform"
            )
        manifest = read_json(path, 'manifest of an encoded table')
        if manifest['version'] != VERSION:
            raise DataError(
                f"'{path}' has version {manifest['version']}, this release "
                f'reads {VERSION}: encode the files again'
            )
        self.info = FieldInfo.from_dict(manifest['info'])
        self.drop_absent = False
        self._window = window
        self._shards = manifest['shards']
        self._extras = manifest['extras']
        #: The rows of a block, but for the last.
        self.block_rows: int = manifest['block_rows']
        self._layout = Layout(self.info)
        self._verified: set[int] = set()
        self._digest = checksum(path)
        for shard in self._shards:
            file = self.folder / shard['name']
            size = file.stat().st_size if file.is_file() else None
            if size != shard['bytes']:
                raise DataError(
                    f"'{file}' has {size} bytes instead of {shard['bytes']}: "
                    'encode the files again, or take another copy'
                )
        # The shard of each block, its number there, and the rows of it:
        spans = []
        for i, shard in enumerate(self._shards):
            starts = np.arange(0, shard['rows'], self.block_rows)
            length = np.minimum(shard['rows'] - starts, self.block_rows)
            number = np.arange(len(starts))
            zero = np.zeros_like(number)
            spans.append(np.stack([zero + i, number, zero, length], 1))
        self._set_spans(np.concatenate([np.empty((0, 4), np.int64), *spans]))

    def _set_spans(self, spans: Ids) -> None:
        self._spans = spans
        length = spans[:, 3] - spans[:, 2]
        self._ends: Ids = length.cumsum()
        self._begins: Ids = self._ends - length
        # The block of each row whose number is a multiple of this:
        numbers = np.arange(0, len(self), self.block_rows)
        self._steps: Ids = np.searchsorted(self._ends, numbers, side='right')
        self._held: dict[str, Tensor] = {}
        self._pool: _Pool | None = None

    def _of_spans(self, spans: Ids) -> StoredTable:
        out = object.__new__(StoredTable)
        out.__dict__.update(self.__dict__)
        out._set_spans(spans)
        return out

    # Worker processes make their own:
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_pool': None, '_held': {}}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def window(self) -> int:
        return self._window

    @property
    def block_sizes(self) -> Tensor:
        return torch.from_numpy(self._spans[:, 3] - self._spans[:, 2])

    @property
    def slot_index(self) -> Tensor:  # type: ignore[override]
        r"""The ids of all rows, which are read into memory."""
        return self.subset(torch.arange(len(self))).slot_index

    @property
    def slot_value(self) -> Tensor:  # type: ignore[override]
        r"""The values of all rows, which are read into memory."""
        return self.subset(torch.arange(len(self))).slot_value

    @property
    def y(self) -> Tensor | None:  # type: ignore[override]
        r"""The labels of all rows."""
        return self._column('y')

    @property
    def sample_weight(self) -> Tensor | None:  # type: ignore[override]
        r"""The weights of all rows."""
        return self._column('sample_weight')

    def _column(self, name: str) -> Tensor | None:
        if name not in self._extras:
            return None
        if name not in self._held:
            out = torch.empty(len(self))
            end = 0
            for span in self._spans:
                part = self._read(span)[name].ravel()
                out[end : end + len(part)] = torch.from_numpy(part.copy())
                end += len(part)
            self._held[name] = out
        return self._held[name]

    def batch(self, rows: Rows = slice(None)) -> FieldBatch:
        # An index of PyG is a 64-bit one:
        return self._in_memory(rows, np.int64).batch()

    def subset(self, rows: Rows) -> FieldTable:
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, end, _ = rows.indices(len(self))
            return self._of_spans(self._cut(self._spans, start, end))
        return self._in_memory(rows)

    def split(
        self, fractions: Sequence[float], seed: int = 0
    ) -> tuple[FieldTable, ...]:
        r"""Deals out the blocks of the table at random to tables of the given
        shares, which stay in the folder.

        Args:
            fractions (sequence of float): The shares; they must sum to one.
            seed (int, optional): The seed of the shuffle.
                (default: :obj:`0`)
        """
        cuts = self._cuts(fractions)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self._spans), generator=generator).numpy()
        mixed = self._spans[order]
        bounds = [0, *cuts.tolist(), len(self)]
        return tuple(
            self._of_spans(self._cut(mixed, start, end))
            for start, end in pairwise(bounds)
        )

    def parts(self) -> Iterator[FieldTable]:
        for span in self._spans:
            yield self._of_spans(span[None])._in_memory(slice(None))

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self._spans.tobytes()).hexdigest()
        return f'{len(self)} rows, manifest {self._digest}, of it {digest}'

    def _cut(self, spans: Ids, start: int, end: int) -> Ids:
        r"""Rows of blocks that follow each other."""
        ends = (spans[:, 3] - spans[:, 2]).cumsum()
        begins = ends - (spans[:, 3] - spans[:, 2])
        out = spans.copy()
        out[:, 2] += np.maximum(start - begins, 0)
        out[:, 3] -= np.maximum(ends - end, 0)
        return out[out[:, 2] < out[:, 3]]

    def _block_of(self, rows: Ids) -> Ids:
        r"""The block of each row, faster than by a search."""
        block = self._steps[rows // self.block_rows]
        while (late := self._ends[block] <= rows).any():
            block = block + late
        return block

    def _verify(self, shard: int) -> None:
        if shard in self._verified:
            return
        path = self.folder / self._shards[shard]['name']
        if checksum(path) != self._shards[shard]['sha256']:
            raise DataError(
                f"'{path}' is damaged, its checksum is wrong: encode the "
                'files again, or take another copy'
            )
        self._verified.add(shard)

    def _read(self, span: Ids) -> dict[str, NDArray[Any]]:
        r"""Some rows of a block, mapped into memory."""
        shard, number, start, end = span.tolist()
        self._verify(shard)
        path = self.folder / self._shards[shard]['name']
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(number)
        return {k: x[start:end] for k, x in to_arrays(batch).items()}

    def _in_memory(self, rows: Rows, dtype: type = np.int32) -> FieldTable:
        if isinstance(rows, slice):
            at = np.arange(*rows.indices(len(self)))
        else:
            chosen = np.asarray(rows)
            at = chosen.nonzero()[0] if chosen.dtype == bool else chosen
            at = np.where(at < 0, at + len(self), at).astype(np.int64)
        if len(at) and not 0 <= at.min() <= at.max() < len(self):
            raise IndexError(
                f'Rows {at.min()} to {at.max()} of a table of {len(self)} rows'
            )
        if self._pool is None:
            self._pool = _Pool(self)
        found = self._pool.take(at)
        index, value = map(torch.from_numpy, self._layout.read(found, dtype))
        out = FieldTable(index, value, self.info, drop_absent=self.drop_absent)
        # They have been checked when they were encoded:
        out.y, out.sample_weight = (
            torch.from_numpy(found[name].copy())
            if name in self._extras
            else None
            for name in EXTRAS
        )
        return out


class _Pool:
    # Copies of the blocks that were used last, row by row as they are taken.
    def __init__(self, table: StoredTable) -> None:
        self.table = table
        spans = table._spans
        self.block_rows = table.block_rows
        # A window may start within a block:
        size = -(-table.window // self.block_rows) + 1
        self.size = max(1, min(size, len(spans)))
        dtype = table._layout.dtype(table._extras)
        self.rows = np.empty(self.size * self.block_rows, dtype)
        # Where each block stands, which one stands there, and its last use:
        self.place = np.full(len(spans), -1)
        self.holds = np.full(self.size, -1)
        self.used = np.zeros(self.size, np.int64)
        self.clock = 0

    def take(self, rows: Ids) -> NDArray[Any]:
        block = self.table._block_of(rows)
        out = np.empty(len(rows), self.rows.dtype)
        left = np.arange(len(rows))
        while True:
            place = self.place[block]
            here = place >= 0
            self.clock += 1
            self.used[place[here]] = self.clock
            at = place * self.block_rows + rows - self.table._begins[block]
            if here.all() and len(left) == len(out):
                return self.rows.take(at)
            # Those that are here first: the others may take their place.
            out[left[here]] = self.rows.take(at[here])
            left, rows, block = left[~here], rows[~here], block[~here]
            if not len(left):
                return out
            self._fill(np.unique(block)[: self.size])

    def _fill(self, absent: Ids) -> None:
        r"""Reads blocks, for which the least recently used ones make room."""
        free = np.argsort(self.used, kind='stable')[: len(absent)]
        shards = np.unique(self.table._spans[absent, 0]).tolist()
        pairs = zip(absent.tolist(), free.tolist(), strict=True)
        with threads() as apply:
            apply(self.table._verify, shards)
            apply(self._load, pairs)

    def _load(self, pair: tuple[int, int]) -> None:
        number, place = pair
        if self.holds[place] >= 0:
            self.place[self.holds[place]] = self.holds[place] = -1
        arrays = self.table._read(self.table._spans[number])
        for name, x in arrays.items():
            start = place * self.block_rows
            to = self.rows[name][start : start + len(x)]
            to[...] = x.reshape(to.shape)
        self.place[number], self.holds[place] = place, number

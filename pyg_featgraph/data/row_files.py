r"""Tables in files that are read block by block."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Generator, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.errors import DataError

#: The texts of missing entries, which are those of :func:`pandas.read_csv`.
MISSING = (*pacsv.ConvertOptions().null_values, 'None', '<NA>')
# Bytes of text that are read at a time, as few as caches like; and the rows of
# a block, as many as make up for what a block costs:
_BLOCK_BYTES = 2 * 2**20
_BLOCK_ROWS = 2**16
_PARQUET = ('.parquet', '.pq')
_ARROW = ('.arrow', '.feather', '.ipc')
_COMPRESSED = ('.gz', '.bz2', '.zst', '.lz4')


class RowFiles:
    r"""A table in one or several files, read block by block: text with one
    line for each row, Parquet, or Arrow.

    .. code-block:: python

        files = RowFiles('logs')  # a folder
        schema = FieldSchema.infer(files.head(100_000), label='click')
        encoder = FieldEncoder(schema).fit(files)

    The suffix says what a file is: :obj:`.parquet` or :obj:`.pq`;
    :obj:`.arrow`, :obj:`.feather` or :obj:`.ipc`; all others are text, plain or
    compressed (:obj:`.gz`, :obj:`.bz2`, :obj:`.zst`, :obj:`.lz4`). The columns
    of text are texts: what they mean is decided by the
    :class:`~pyg_featgraph.data.FieldSchema`, and not by the rows that happen to
    be read first.

    Args:
        paths (str or list of str): Files; or a folder of which all files are
            read in the order of their names, in which numbers count as such.
            Hidden files and those with a leading underscore are left out.
        names (list of str, optional): The columns of text files without a
            header. (default: the first line of each file has them)
        delimiter (str, optional): What separates columns of text.
            (default: a tab for :obj:`.tsv`, else a comma)
        quoted (bool, optional): Whether texts can stand in double quotes.
            (default: :obj:`True`)
        missing (list of str, optional): The texts of missing entries.
            (default: those of :func:`pandas.read_csv`)

    Raises:
        DataError: If there is no such file or folder, or nothing in it.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        names: Sequence[str] | None = None,
        delimiter: str | None = None,
        quoted: bool = True,
        missing: Sequence[str] = MISSING,
    ) -> None:
        if isinstance(paths, str | os.PathLike):
            paths = [paths]
        self.paths = [file for path in paths for file in _files(Path(path))]
        if not self.paths:
            raise DataError('There are no files to read')
        self.names = names if names is None else [*names]
        self.delimiter = delimiter
        self.quoted = quoted
        self.missing = [*missing]

    def blocks(
        self, columns: Sequence[str] | None = None
    ) -> Generator[pd.DataFrame, None, None]:
        r"""The rows in order, some ten thousand at a time. Their index is the
        number of the row in its file, from 0 on.

        Args:
            columns (list of str, optional): The columns to read; those that
                there are not are left out. (default: all)

        Raises:
            DataError: If a file cannot be read.
        """
        for path in self.paths:
            start = 0
            try:
                for table in _grouped(self._batches(path, columns)):
                    frame = to_frame(table)
                    frame.index = pd.RangeIndex(start, start + len(frame))
                    frame.attrs['path'] = str(path)
                    start += len(frame)
                    yield frame
            except (pa.ArrowException, OSError, EOFError) as error:
                raise DataError(
                    f"'{path}' cannot be read behind row {start}: {error}"
                ) from error

    def split(self) -> list[RowFiles]:
        r"""Each file as a table of its own, read in the same way."""
        out = []
        for path in self.paths:
            part = copy(self)
            part.paths = [path]
            out.append(part)
        return out

    def head(self, num_rows: int = 100_000) -> pd.DataFrame:
        r"""The first rows as one table.

        Args:
            num_rows (int, optional): How many at most.
                (default: :obj:`100_000`)
        """
        parts, left = [], num_rows
        blocks = self.blocks()
        for block in blocks:
            parts.append(block[:left])
            left -= len(parts[-1])
            if left <= 0:
                blocks.close()
        return pd.concat(parts, ignore_index=True)

    def _batches(
        self, path: Path, columns: Sequence[str] | None
    ) -> Iterator[pa.RecordBatch]:
        kind = path.suffix.lower()
        if kind in _PARQUET:
            with pq.ParquetFile(path) as file:
                found = _known(file.schema_arrow.names, columns)
                yield from file.iter_batches(_BLOCK_ROWS, columns=found)
        elif kind in _ARROW:
            with pa.memory_map(str(path)) as source:
                reader = pa.ipc.open_file(source)
                found = _known(reader.schema.names, columns)
                for i in range(reader.num_record_batches):
                    batch = reader.get_batch(i).select(found)
                    for start in range(0, len(batch), _BLOCK_ROWS):
                        yield batch.slice(start, _BLOCK_ROWS)
        else:
            with pa.input_stream(str(path), compression='detect') as source:
                yield from self._open_text(source, path, columns)

    def _open_text(
        self, source: Any, path: Path, columns: Sequence[str] | None
    ) -> Any:
        names = self.names
        if names is None:
            names = self._header(path)
        delimiter = self._delimiter(path)
        return pacsv.open_csv(
            source,
            pacsv.ReadOptions(
                column_names=names,
                skip_rows=0 if self.names else 1,
                block_size=_BLOCK_BYTES,
            ),
            pacsv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if self.quoted else False,
                newlines_in_values=False,
            ),
            pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                include_columns=_known(names, columns),
                null_values=self.missing,
                strings_can_be_null=True,
            ),
        )

    def _header(self, path: Path) -> list[str]:
        opened = pa.input_stream(str(path), compression='detect')
        with io.BufferedReader(opened) as source:
            line = source.readline().decode('utf-8-sig').rstrip('\r\n')
        if not line:
            raise DataError(f"'{path}' has no first line with names of columns")
        delimiter = self._delimiter(path)
        if not self.quoted:
            return line.split(delimiter)
        return next(csv.reader([line], delimiter=delimiter))

    def _delimiter(self, path: Path) -> str:
        suffixes = [x for x in path.suffixes if x not in _COMPRESSED]
        return self.delimiter or ('\t' if '.tsv' in suffixes[-1:] else ',')

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({len(self.paths)} files)'


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    held, num_rows = [], 0
    for batch in batches:
        held.append(batch)
        num_rows += len(batch)
        if num_rows >= _BLOCK_ROWS:
            yield pa.Table.from_batches(held)
            held, num_rows = [], 0
    if held:
        yield pa.Table.from_batches(held)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"There is no file or folder '{path}'")
    found = [
        x
        for x in path.rglob('*')
        if x.is_file()
        and not any(p.startswith(('.', '_')) for p in x.relative_to(path).parts)
    ]
    return sorted(found, key=lambda x: _natural(str(x)))


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part), '') if part.isdecimal() else (0, part)
        for part in re.split(r'(\d+)', name)
    ]


def _known(names: Sequence[str], columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return [*names]
    return [name for name in columns if name in names]

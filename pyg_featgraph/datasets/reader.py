r"""Delimited text in chunks, with errors that say where."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from pyg_featgraph.errors import DataError

# Bytes that are parsed at a time:
_BLOCK = 8 * 2**20


@dataclass
class BadLines:
    r"""What to do with lines that cannot be used, and a count of them.

    Args:
        policy (str): :obj:`"error"` raises a :class:`DataError` at the first
            one, :obj:`"skip"` leaves them out.
    """

    policy: str = 'error'
    count: int = 0
    first: str = ''

    def __post_init__(self) -> None:
        if self.policy not in ('error', 'skip'):
            raise ValueError(
                f"'on_bad_lines' must be 'error' or 'skip' (got "
                f"'{self.policy}')"
            )

    def add(self, message: str, count: int = 1) -> None:
        r"""Takes note of bad lines, of which the message tells the first."""
        if self.policy == 'error':
            raise DataError(
                f"{message}. Correct the line, or pass on_bad_lines='skip' "
                'to leave out lines like this'
            )
        self.first = self.first or message
        self.count += count

    def report(self) -> None:
        r"""Warns about what was left out."""
        if self.count:
            warnings.warn(
                f'{self.count} bad lines were left out; the first: '
                f'{self.first}',
                stacklevel=3,
            )


@dataclass(frozen=True)
class TextFormat:
    r"""How a table is written as text.

    Args:
        names (tuple of str): The columns of the file, in order.
        numeric (tuple of str): Those that hold numbers.
        label (str): The one that holds the label.
        labels (dict): The label of each text that may stand there.
        delimiter (str): What separates columns. (default: :obj:`","`)
        header (bool): Whether the first line holds the names.
            (default: :obj:`False`)
        quoted (bool): Whether texts can stand in double quotes.
            (default: :obj:`False`)
        missing (tuple of str): The texts that stand for a missing entry.
            (default: :obj:`("",)`)
        skip (callable, optional): Which lines at the top are no data.
            (default: :obj:`None`)
    """

    names: tuple[str, ...]
    numeric: tuple[str, ...]
    label: str
    labels: Mapping[str, int] = field(
        default_factory=lambda: {'0': 0, '1': 1, '0.0': 0, '1.0': 1}
    )
    delimiter: str = ','
    header: bool = False
    quoted: bool = False
    missing: tuple[str, ...] = ('',)
    skip: Callable[[str], bool] | None = None


def first_line(path: Path) -> str:
    r"""The first line of a possibly compressed file, without its end.

    Raises:
        DataError: If the file is missing or empty.
    """
    try:
        with open_text(path) as file:
            line = file.readline()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error
    if not line:
        raise DataError(f"'{path}' is empty")
    return line.decode('utf-8', 'replace').rstrip('\r\n')


def open_text(path: Path) -> Any:
    r"""Opens a file for reading; the suffix tells the compression (gz, bz2,
    zst, lz4, or zip with a single member).

    Raises:
        DataError: If there is no such file.
    """
    if not path.is_file():
        raise DataError(f"There is no file '{path}'")
    if path.suffix == '.zip':
        archive = zipfile.ZipFile(path)
        members = [m for m in archive.namelist() if not m.endswith('/')]
        if len(members) != 1:
            raise DataError(
                f"'{path}' must hold one file (it has {members}); unpack it"
            )
        return io.BufferedReader(archive.open(members[0]))
    return io.BufferedReader(pa.input_stream(os.fspath(path), 'detect'))


def read_text(
    path: Path, text: TextFormat, bad: BadLines
) -> Iterator[pd.DataFrame]:
    r"""Reads a file block by block.

    Numeric columns come as floats, the label as 0 or 1 and all others as
    strings, missing entries as NaN.

    Args:
        path (pathlib.Path): The file.
        text (TextFormat): How it is written.
        bad (BadLines): What to do with lines that cannot be used.

    Raises:
        DataError: With the file, line, column and value, where something
            cannot be read.
    """
    opened = first_line(path)
    skipped_top = int(text.skip is not None and text.skip(opened))
    if text.header:
        header = opened.replace('"', '').split(text.delimiter)
        if header != list(text.names):
            raise DataError(
                f"'{path}', line 1: the columns are {header}, expected "
                f'{list(text.names)}'
            )
    above = skipped_top + int(text.header)
    invalid: dict[int, str] = {}
    reported: set[int] = set()

    def on_invalid(row: Any) -> str:
        # Numbered as PyArrow counts, which starts after skipped lines. It
        # swallows what is raised here and may parse a block more than once,
        # so lines are only noted and reported later.
        line = row.number + skipped_top
        invalid[line] = (
            f"'{path}', line {line}: {row.actual_columns} columns instead of "
            f'{row.expected_columns} (is the file cut there?): '
            f'{row.text[:80]!r}'
        )
        return 'skip'

    def report_invalid() -> None:
        for line in sorted(invalid.keys() - reported):
            reported.add(line)
            bad.add(invalid[line])

    with open_text(path) as file:
        try:
            reader = pacsv.open_csv(
                file,
                # Threads would leave the number of invalid rows unknown:
                pacsv.ReadOptions(
                    use_threads=False,
                    block_size=_BLOCK,
                    skip_rows=above if not text.header else skipped_top,
                    column_names=None if text.header else list(text.names),
                ),
                pacsv.ParseOptions(
                    delimiter=text.delimiter,
                    quote_char='"' if text.quoted else False,
                    ignore_empty_lines=False,
                    invalid_row_handler=on_invalid,
                ),
                pacsv.ConvertOptions(
                    column_types=dict.fromkeys(text.names, pa.string()),
                    strings_can_be_null=False,
                ),
            )
            line = above + 1
            for batch in reader:
                report_invalid()
                # Line numbers of the rows of this block:
                lines = _line_numbers(line, len(batch), invalid)
                if len(batch):
                    line = int(lines[-1]) + 1
                    yield _convert(batch, lines, path, text, bad)
            report_invalid()
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"'{path}' cannot be read: {error}") from error


def _line_numbers(start: int, count: int, invalid: Iterable[int]) -> Any:
    skipped = np.array([line for line in invalid if line >= start], int)
    lines = np.arange(start, start + count + len(skipped))
    return lines[~np.isin(lines, skipped)][:count]


def _convert(
    batch: pa.RecordBatch,
    lines: Any,
    path: Path,
    text: TextFormat,
    bad: BadLines,
) -> pd.DataFrame:
    missing = pa.array(text.missing)
    columns: dict[str, Any] = {}
    good = np.ones(len(batch), dtype=bool)

    def check(wrong: Any, name: str, values: Any, what: str) -> None:
        wrong = wrong & good
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            bad.add(
                f"'{path}', line {lines[at]}, column '{name}': "
                f'{values[at].as_py()!r} {what}',
                int(wrong.sum()),
            )
            good[wrong] = False

    for name, values in zip(text.names, batch.columns, strict=True):
        values = pc.utf8_trim_whitespace(values)
        if name == text.label:
            known = pa.array(list(text.labels))
            at = pc.index_in(values, known).fill_null(-1).to_numpy()
            check(at < 0, name, values, f'is no label {list(text.labels)}')
            columns[name] = np.array(list(text.labels.values()), np.int8)[at]
            continue
        absent = pc.is_in(values, missing)
        clean = pc.if_else(absent, pa.scalar(None, pa.string()), values)
        if name not in text.numeric:
            columns[name] = pd.Series(clean.to_pandas(), dtype='str')
            continue
        try:
            number = pc.cast(clean, pa.float64()).to_numpy(False)
        except pa.ArrowInvalid:
            number = pd.to_numeric(
                pd.Series(clean.to_pandas(), dtype='str'), errors='coerce'
            ).to_numpy(np.float64, na_value=np.nan)
        known_missing = absent.to_numpy(False)
        check(
            ~np.isfinite(number) & ~known_missing,
            name,
            values,
            'is not a finite number',
        )
        columns[name] = number
    out = pd.DataFrame(columns)
    return out if good.all() else out[good].reset_index(drop=True)

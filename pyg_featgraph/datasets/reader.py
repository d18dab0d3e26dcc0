r"""Delimited text in chunks, with errors that say where."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from pyg_featgraph.datasets.convert import convert
from pyg_featgraph.datasets.files import READ_ERRORS, first_line, open_text
from pyg_featgraph.datasets.text import BadLines, TextFormat
from pyg_featgraph.errors import DataError

# The names of an index that pandas has saved, and read and saved again:
_INDEX = re.compile(r'(Unnamed: \d+(\.\d+)?)?')
# Bytes that are parsed at a time:
_BLOCK = 8 * 2**20


def read_text(
    path: Path, text: TextFormat, bad: BadLines
) -> Iterator[pd.DataFrame]:
    r"""Reads a file block by block.

    Numeric columns come as floats, the label as a number and all others as
    strings, missing entries as NaN. Empty lines at the end, which some
    originals have, are passed over.

    Args:
        path (pathlib.Path): The file.
        text (TextFormat): How it is written.
        bad (BadLines): What to do with lines that cannot be used.

    Raises:
        DataError: With the file, line, column and value, where something
            cannot be read.
    """
    text, above = _header(path, text)
    position = above + 1
    invalid: dict[int, str] = {}

    def on_invalid(row: Any) -> str:
        # PyArrow swallows what is raised here, may run ahead and may parse a
        # block more than once, so lines are only noted and reported later.
        # It counts from the first line that it was not told to skip.
        line = row.number + (above if not text.header else above - 1)
        if line >= position:
            invalid[line] = _count_message(row, text)
        return 'skip'

    def report(problems: dict[int, tuple[str, int]], end: float) -> None:
        for line in [line for line in invalid if line < end]:
            problems[line] = (invalid.pop(line), 1)
        for line, (message, count) in sorted(problems.items()):
            bad.add(f"'{path}', line {line}{message}", count)

    try:
        with open_text(path, text.member) as file:
            # Rows without content are bad only if others follow:
            empty: list[int] = []
            for batch in _open_csv(file, text, above, on_invalid):
                lines = _line_numbers(position, len(batch), invalid)
                if len(batch):
                    position = int(lines[-1]) + 1
                used = len(batch) - _empty_at_end(batch, text)
                df, problems = convert(batch[:used], lines[:used], text)
                if used:
                    problems |= {line: (': no content', 1) for line in empty}
                    empty = []
                empty += lines[used:].tolist()
                report(problems, position)
                yield df
            report({}, np.inf)
    except (pa.ArrowInvalid, *READ_ERRORS) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error


def _header(path: Path, text: TextFormat) -> tuple[TextFormat, int]:
    # Whether there are names, and the number of lines before the first row.
    # pandas saves any table with names, after its index, and with commas.
    opened = first_line(path, text.member)
    for delimiter in (text.delimiter, ','):
        header = opened.replace('"', '').split(delimiter)
        if [x for x in header if not _INDEX.fullmatch(x)] == list(text.names):
            return replace(text, header=True, delimiter=delimiter), 1
    if text.header:
        header = opened.replace('"', '').split(text.delimiter)
        raise DataError(
            f"'{path}', line 1: the columns are {header}, expected "
            f'{list(text.names)}'
        )
    return text, int(text.skip is not None and text.skip(opened))


def _open_csv(
    file: Any, text: TextFormat, above: int, on_invalid: Callable[[Any], str]
) -> Any:
    names = list(text.names)
    if len(text.delimiter) == 2:
        # PyArrow sees an empty column between two delimiters:
        gaps = [f'gap {i}' for i in range(len(names) - 1)]
        names = [*sum(zip(names, gaps, strict=False), ()), names[-1]]
    return pacsv.open_csv(
        file,
        # Threads would leave the number of invalid rows unknown:
        pacsv.ReadOptions(
            use_threads=False,
            block_size=_BLOCK,
            skip_rows=0 if text.header else above,
            column_names=None if text.header else names,
        ),
        pacsv.ParseOptions(
            delimiter=text.delimiter[0],
            quote_char='"' if text.quoted else False,
            ignore_empty_lines=False,
            invalid_row_handler=on_invalid,
        ),
        pacsv.ConvertOptions(
            # Invalid UTF-8 is found later, where its line is known:
            check_utf8=False,
            column_types=dict.fromkeys(text.names, pa.large_string()),
            include_columns=list(text.names),
            null_values=[pad + m for m in text.missing for pad in ('', ' ')],
            strings_can_be_null=True,
        ),
    )


def _count_message(row: Any, text: TextFormat) -> str:
    step = len(text.delimiter)
    hint = ''
    if row.actual_columns < row.expected_columns:
        hint = ' (is the file cut there?)'
    return (
        f': {(row.actual_columns + step - 1) // step} columns instead of '
        f'{(row.expected_columns + step - 1) // step}{hint}: '
        f'{row.text[:80]!r}'
    )


def _empty_at_end(batch: pa.RecordBatch, text: TextFormat) -> int:
    # Rarely is there anything to look for:
    if not len(batch) or batch[text.label][-1].is_valid:
        return 0
    content = np.zeros(len(batch), dtype=bool)
    for values in batch.columns:
        content |= values.is_valid().to_numpy(False)
    return int(np.argmax(content[::-1])) if content.any() else len(batch)


def _line_numbers(start: int, count: int, invalid: Iterable[int]) -> Any:
    skipped = np.array([line for line in invalid if line >= start], int)
    lines = np.arange(start, start + count + len(skipped))
    return lines[~np.isin(lines, skipped)][:count]

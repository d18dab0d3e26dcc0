r"""Columns of text as numbers, labels and strings, with what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pyg_featgraph.datasets.text import TextFormat


def convert(
    batch: pa.RecordBatch, lines: Any, text: TextFormat
) -> tuple[pd.DataFrame, dict[int, tuple[str, int]]]:
    r"""Gives the columns of a block of rows their types.

    Args:
        batch (pyarrow.RecordBatch): The block, all columns as text.
        lines (numpy.ndarray): The lines of its rows.
        text (TextFormat): How it is written.

    Returns:
        The rows that can be used, and, for the line of the first row that
        cannot, what is wrong with it and how many such rows there are.
    """
    wrong = np.zeros(len(batch), dtype=bool)
    found: list[tuple[int, str]] = []

    def check(mask: Any, name: str, values: Any, what: str) -> None:
        if mask.any():
            at = int(np.flatnonzero(mask)[0])
            value = values[at].as_py() or ''
            found.append((at, f", column '{name}': {value!r} {what}"))
            wrong[mask] = True

    columns: dict[str, Any] = {}
    for name in text.names:
        values = batch[name]
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            raw = values.cast(pa.large_binary())
            mask = np.array([not _is_utf8(value.as_py()) for value in raw])
            check(mask, name, raw, 'is not UTF-8')
            values = pc.if_else(pa.array(mask), None, values)
        if name == text.label and text.labels is not None:
            texts = pc.utf8_trim_whitespace(values)
            at = pc.index_in(texts, pa.array(text.labels, pa.large_string()))
            at = at.fill_null(-1).to_numpy()
            check(at < 0, name, texts, f'is no label {list(text.labels)}')
            columns[name] = np.array(list(text.labels.values()), np.int8)[at]
        elif name in text.numeric or name == text.label:
            number = _to_float(values)
            mask = ~np.isfinite(number)
            if name != text.label:
                mask &= values.is_valid().to_numpy(False)
            check(mask, name, values, 'is not a finite number')
            columns[name] = number
        else:
            values = pc.utf8_trim_whitespace(values)
            if name in text.patterns:
                pattern, meaning = text.patterns[name]
                fits = pc.match_substring_regex(values, pattern)
                mask = ~fits.fill_null(True).to_numpy(False)
                check(mask, name, values, f'is not {meaning}')
            columns[name] = pd.Series(values.to_pandas(), dtype='str')
    df = pd.DataFrame(columns)
    if not found:
        return df, {}
    at, message = min(found)
    df = df[~wrong].reset_index(drop=True)
    return df, {int(lines[at]): (message, int(wrong.sum()))}


def _to_float(values: Any) -> Any:
    try:
        return pc.cast(values, pa.float64()).to_numpy(False)
    except pa.ArrowInvalid:
        # Spaces, signs or no number at all; pandas takes the first two.
        numbers = pd.to_numeric(
            pd.Series(values.to_pandas(), dtype='str'), errors='coerce'
        )
        return numbers.to_numpy(np.float64, na_value=np.nan)


def _is_utf8(value: bytes | None) -> bool:
    try:
        return value is None or value.decode() is not None
    except UnicodeDecodeError:
        return False

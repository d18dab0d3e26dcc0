r"""The file of fitted codecs: vocabularies as a table, all else as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pyg_featgraph.data.values import Floats
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, sealing

#: The version of the file format.
VERSION = 4
_COLUMNS = pa.schema(
    [('field', pa.int32()), ('key', pa.large_string()), ('count', pa.int64())]
)


def write_vocabularies(
    path: str | os.PathLike[str],
    what: str,
    meta: Mapping[str, Any],
    vocabularies: Sequence[pd.Series | None],
    statistics: Sequence[Floats | None] | None = None,
    default: Callable[[Any], Any] | None = None,
) -> None:
    r"""Writes a Parquet file with a checksum, as a whole or not at all.

    Args:
        path (str): The file.
        what (str): What it is, *e.g.*, :obj:`"encoder"`.
        meta (dict): JSON-compatible values.
        vocabularies (list of pandas.Series): For each field the counts by
            key, or :obj:`None` if it has no vocabulary.
        statistics (list of numpy.ndarray, optional): For each field further
            numbers of each key, with shape :math:`(V, C)`, or :obj:`None`.
            (default: :obj:`None`)
        default (callable, optional): As of :func:`json.dumps`.
            (default: :obj:`None`)
    """
    # The position of the field rather than its name, to keep it short:
    found = [x for x in statistics or () if x is not None]
    width = found[0].shape[1] if found else 0
    schema = _COLUMNS
    for i in range(width):
        schema = schema.append(pa.field(f'statistic_{i}', pa.float64()))
    parts = []
    for field, counts in enumerate(vocabularies):
        if counts is None:
            continue
        numbers = statistics[field] if statistics else None
        if numbers is None:
            numbers = np.full((len(counts), width), np.nan)
        columns = [
            pa.array(np.full(len(counts), field), pa.int32()),
            pa.array(counts.index.astype('str'), pa.large_string()),
            pa.array(counts.to_numpy(), pa.int64()),
            *(pa.array(x, pa.float64()) for x in numbers.T),
        ]
        parts.append(pa.Table.from_arrays(columns, schema=schema))
    sizes = [0 if counts is None else len(counts) for counts in vocabularies]
    meta = {'version': VERSION, 'sizes': sizes, **meta}
    text = json.dumps(meta, default=default)
    table = pa.concat_tables([schema.empty_table(), *parts])
    table = table.replace_schema_metadata(
        {f'pyg_featgraph.{what}': text, 'checksum': SEAL}
    )
    with sealing(path) as temporary:
        pq.write_table(table, temporary)


def read_vocabularies(
    path: str | os.PathLike[str], what: str
) -> tuple[dict[str, Any], list[pd.Series], list[Floats]]:
    r"""What :func:`write_vocabularies` has written, with an empty vocabulary
    for any field that has none and, for each, an array :math:`(V, C)` of its
    statistics; to be called while
    :func:`~pyg_featgraph.files.reading` the file.

    Args:
        path (str): The file.
        what (str): What it should be.
    """
    table = pq.read_table(path)
    text = (table.schema.metadata or {}).get(f'pyg_featgraph.{what}'.encode())
    if text is None:
        raise DataError(f'the Parquet file is no {what}')
    meta = json.loads(text)
    if meta.get('version') != VERSION:
        raise DataError(
            f'format version is {meta.get("version")}, this release reads '
            f'{VERSION}'
        )
    width = len(table.column_names) - len(_COLUMNS)
    names = [f'statistic_{i}' for i in range(width)]
    rows = table.select(_COLUMNS.names).cast(_COLUMNS).to_pandas()
    numbers = table.select(names).to_pandas().to_numpy(np.float64)
    if rows.isna().to_numpy().any() or rows.duplicated(['field', 'key']).any():
        raise DataError('a key is missing or occurs twice')
    if (rows['count'] < 1).any():
        raise DataError('a key was never seen')
    sizes = meta['sizes']
    if (rows['field'] != np.repeat(np.arange(len(sizes)), sizes)).any():
        raise DataError(f'the vocabularies have not the sizes {sizes}')
    vocabularies, statistics = [], []
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        part = rows[end - size : end]
        keys = pd.Index(part['key'], dtype='str', name=None)
        vocabularies.append(pd.Series(part['count'].to_numpy(), keys))
        statistics.append(numbers[end - size : end])
    return meta, vocabularies, statistics

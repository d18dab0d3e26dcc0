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

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, sealing

#: The version of the file format.
VERSION = 3
_COLUMNS = pa.schema(
    [('field', pa.int32()), ('key', pa.large_string()), ('count', pa.int64())]
)


def write_vocabularies(
    path: str | os.PathLike[str],
    what: str,
    meta: Mapping[str, Any],
    vocabularies: Sequence[pd.Series | None],
    default: Callable[[Any], Any] | None = None,
) -> None:
    r"""Writes a Parquet file with a checksum, as a whole or not at all.

    Args:
        path (str): The file.
        what (str): What it is, *e.g.*, :obj:`"encoder"`.
        meta (dict): JSON-compatible values.
        vocabularies (list of pandas.Series): For each field the counts by
            key, or :obj:`None` if it has no vocabulary.
        default (callable, optional): As of :func:`json.dumps`.
            (default: :obj:`None`)
    """
    # The position of the field rather than its name, to keep it short:
    parts = [
        pa.Table.from_arrays(
            [
                pa.array(np.full(len(counts), field), pa.int32()),
                pa.array(counts.index.astype('str'), pa.large_string()),
                pa.array(counts.to_numpy(), pa.int64()),
            ],
            schema=_COLUMNS,
        )
        for field, counts in enumerate(vocabularies)
        if counts is not None
    ]
    sizes = [0 if counts is None else len(counts) for counts in vocabularies]
    meta = {'version': VERSION, 'sizes': sizes, **meta}
    text = json.dumps(meta, default=default)
    table = pa.concat_tables([_COLUMNS.empty_table(), *parts])
    table = table.replace_schema_metadata(
        {f'pyg_featgraph.{what}': text, 'checksum': SEAL}
    )
    with sealing(path) as temporary:
        pq.write_table(table, temporary)


def read_vocabularies(
    path: str | os.PathLike[str], what: str
) -> tuple[dict[str, Any], list[pd.Series]]:
    r"""What :func:`write_vocabularies` has written, with an empty vocabulary
    for any field that has none; to be called while
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
    rows = table.cast(_COLUMNS).to_pandas()
    if rows.isna().to_numpy().any() or rows.duplicated(['field', 'key']).any():
        raise DataError('a key is missing or occurs twice')
    if (rows['count'] < 1).any():
        raise DataError('a key was never seen')
    sizes = meta['sizes']
    if (rows['field'] != np.repeat(np.arange(len(sizes)), sizes)).any():
        raise DataError(f'the vocabularies have not the sizes {sizes}')
    vocabularies = []
    for size, end in zip(sizes, accumulate(sizes), strict=True):
        part = rows[end - size : end]
        keys = pd.Index(part['key'], dtype='str', name=None)
        vocabularies.append(pd.Series(part['count'].to_numpy(), keys))
    return meta, vocabularies

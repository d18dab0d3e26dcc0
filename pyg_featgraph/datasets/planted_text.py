r"""Writes a table with known interactions as text."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from pyg_featgraph.datasets.planted_columns import Block, Column


def write_text(
    path: Path,
    columns: Sequence[Column],
    blocks: Iterable[Block],
    truth: Mapping[tuple[str, ...], float],
    update: Callable[[int], object],
) -> None:
    r"""Writes labels and columns separated by tabs, and the truth beside it.

    Args:
        path (pathlib.Path): The file; compressed if it ends in :obj:`.gz`.
        columns (list of Column): The columns of the table.
        blocks (iterable): The rows.
        truth (dict): The strength of each planted interaction.
        update (callable): Called with the number of rows of each block.
    """
    truth_path = path.with_name(path.name + '.truth.json')
    temporary, truth_temporary = (
        file.with_name(file.name + '.tmp') for file in (path, truth_path)
    )
    options = pacsv.WriteOptions(
        include_header=False, delimiter='\t', quoting_style='none'
    )
    names = ['label', *(column.name for column in columns)]
    entries = [
        {'fields': fields, 'strength': strength}
        for fields, strength in truth.items()
    ]
    try:
        with (
            # A fifth larger than at the default level, in a tenth of the time:
            gzip.open(temporary, 'wb', compresslevel=4)
            if path.suffix == '.gz'
            else open(temporary, 'wb') as file
        ):
            for ranks, label, _ in blocks:
                arrays = [pa.array(label)] + [
                    column.to_arrow(rank)
                    for column, rank in zip(columns, ranks, strict=True)
                ]
                pacsv.write_csv(pa.table(arrays, names=names), file, options)
                update(len(label))
        truth_temporary.write_text(json.dumps(entries, indent=1))
        os.replace(truth_temporary, truth_path)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        truth_temporary.unlink(missing_ok=True)

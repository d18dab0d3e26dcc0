r"""Encoding files on the workers of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import numpy as np
import pyarrow as pa

from pyg_featgraph.data import FieldEncoder, FieldSchema, FieldTable, RowFiles
from pyg_featgraph.data.shards import Arrays, write_shards
from pyg_featgraph.data.streams import FieldCounts
from pyg_featgraph.errors import require

#: The rows that are handed on together.
_ROWS = 2**16


def fit_encoder_on_ray(
    schema: FieldSchema, files: RowFiles, keep_rare: bool = False
) -> FieldEncoder:
    r"""Fits an encoder to files that Ray Data deals out to the workers of a
    cluster: each counts what is in its files, and the counts are merged. The
    ids are those of one process; but of more than 100,000 rows, other ones are
    drawn for the transforms :obj:`"auto"` and :obj:`"tree"`.

    Args:
        schema (FieldSchema): The fields, the label and the weights.
        files (RowFiles): The training rows, in files that all machines see.
        keep_rare (bool, optional): See
            :class:`~pyg_featgraph.data.FieldEncoder`. (default: :obj:`False`)

    Raises:
        DataError: As of :meth:`FieldEncoder.fit
            <pyg_featgraph.data.FieldEncoder.fit>`.
        ImportError: If Ray is not installed.
    """
    encoder = FieldEncoder(schema, keep_rare)
    batches = iter(_map(_Counter(encoder), files).iter_batches(batch_size=1))
    total: FieldCounts = next(batches)['counts'][0]
    for batch in batches:
        total.merge(batch['counts'][0])
    return encoder.learn(total)


def encode_on_ray(
    encoder: FieldEncoder, files: RowFiles, folder: str | os.PathLike[str]
) -> FieldTable:
    r"""Encodes files that Ray Data deals out to the workers of a cluster, to
    the very folder that :meth:`FieldEncoder.transform
    <pyg_featgraph.data.FieldEncoder.transform>` gives in one process.

    Args:
        encoder (FieldEncoder): The fitted encoder.
        files (RowFiles): The rows, in files that all machines see.
        folder (str): Where the encoded rows go.

    Raises:
        DataError: As of :meth:`FieldEncoder.transform
            <pyg_featgraph.data.FieldEncoder.transform>`.
        ImportError: If Ray is not installed.
    """
    blocks = _map(_Encoder(encoder), files).iter_batches(
        batch_size=_ROWS, batch_format='numpy'
    )
    write_shards(folder, encoder.info, blocks)
    return FieldTable.open(folder)


def _map(function: Any, files: RowFiles) -> Any:
    r"""What a function makes of each file, in the order of the files."""
    data = require('ray.data', 'ray')
    data.DataContext.get_current().execution_options.preserve_order = True
    items = [{'file': file} for file in files.split()]
    blocks = data.from_items(items, override_num_blocks=len(items))
    return blocks.map_batches(function, batch_size=1, zero_copy_batch=True)


class _Counter:
    # What a worker does with a file to fit an encoder.
    def __init__(self, encoder: FieldEncoder) -> None:
        self.encoder = encoder

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        (file,) = batch['file']
        pa.set_cpu_count(1)  # Ray has one such worker for each core.
        counts = np.empty(1, object)
        counts[0] = self.encoder.count(file)
        return {'counts': counts}


class _Encoder:
    # What a worker does with a file to encode it.
    def __init__(self, encoder: FieldEncoder) -> None:
        self.encoder = encoder

    def __call__(self, batch: dict[str, Any]) -> Generator[Arrays, None, None]:
        (file,) = batch['file']
        pa.set_cpu_count(1)
        yield from self.encoder.blocks(file)

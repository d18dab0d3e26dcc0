r"""The file of fitted crosses."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.crossing.fitted import Fitted
from pyg_featgraph.crossing.keys import num_keys
from pyg_featgraph.crossing.vocabulary import Vocabulary
from pyg_featgraph.data.codecs import make_codec
from pyg_featgraph.data.schema import Field, FieldSchema
from pyg_featgraph.data.vocabulary_file import (
    read_vocabularies,
    write_vocabularies,
)
from pyg_featgraph.errors import DataError


def write_crosses(
    path: str | os.PathLike[str],
    fitted: Fitted,
    options: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> None:
    r"""Writes a Parquet file with a checksum, as a whole or not at all.

    Args:
        path (str): The file.
        fitted (Fitted): What is learned.
        options (dict): The arguments of the transformer.
        meta (dict): Further values, JSON-compatible.
    """
    codecs = list(fitted.codecs.values())
    # The members come first, then the crosses, numbered throughout:
    vocabularies = [codec.vocabulary for codec in codecs]
    vocabularies += [
        pd.Series(x.counts[:-1], x.keys) for x in fitted.crosses.values()
    ]
    schema = options['schema']
    options = {
        **options,
        'interactions': list(fitted.crosses),
        'schema': schema and schema.to_dict(),
    }
    meta = {
        **meta,
        'options': options,
        'members': [dataclasses.asdict(codec.field) for codec in codecs],
        'states': [codec.state() for codec in codecs],
        # The last row, of what is not there, is the same for all crosses:
        'prior': [x[-1].tolist() for x in fitted.means.values()][:1],
    }
    means = [None] * len(codecs) + [x[:-1] for x in fitted.means.values()]
    write_vocabularies(
        path,
        'crosses',
        meta,
        vocabularies,
        means if fitted.means else None,
        # Options may be numbers of NumPy, as from a grid of them:
        lambda x: x.item(),
    )


def read_crosses(
    path: str | os.PathLike[str],
) -> tuple[Fitted, dict[str, Any], dict[str, Any]]:
    r"""What :func:`write_crosses` has written: what was learned, the options
    and all else. To be called while
    :func:`~pyg_featgraph.files.reading` the file.

    Args:
        path (str): The file.

    Raises:
        DataError: If it cannot have been learned.
    """
    meta, vocabularies, means = read_vocabularies(path, 'crosses')
    options = meta['options']
    for name in ('order', 'encode'):
        if isinstance(options[name], list):
            options[name] = tuple(options[name])
    if options['schema']:
        options['schema'] = FieldSchema.from_dict(options['schema'])
    kinds = {'append': bool, 'bins': int, 'min_count': int}
    if any(type(options[name]) is not kinds[name] for name in kinds):
        raise DataError(f'its options are {options}')
    crosses = options['interactions'] = [*map(tuple, options['interactions'])]
    fields = [
        Field(**{**values, 'bins': tuple(values['bins'])})
        for values in meta['members']
    ]
    out = Fitted({field.name: make_codec(field) for field in fields}, {}, {})
    for i, codec in enumerate(out.codecs.values()):
        codec.load_state(meta['states'][i], vocabularies[i])
    for i, members in enumerate(crosses, len(fields)):
        counts = vocabularies[i]
        keys = counts.index.to_numpy(np.int64)
        size = num_keys(members, out.codecs)
        if not ((keys >= 0) & (keys < size)).all() or (np.diff(keys) < 1).any():
            raise DataError(f'{members} have no such combinations')
        out.crosses[members] = Vocabulary(
            keys, counts.to_numpy(), options['min_count']
        )
        for prior in meta['prior']:
            out.means[members] = np.vstack([means[i], prior])
            if not np.isfinite(out.means[members]).all():
                raise DataError(f'{members} have a mean that is none')
    return out, options, meta

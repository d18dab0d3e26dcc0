r"""The values that several fields have together, as one number each."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd

from pyg_featgraph.data.codecs import RARE, Codec, make_codec
from pyg_featgraph.data.schema import Field, FieldSchema
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import check_frame
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction

_WITHOUT_ID = ('multi', 'vector')


def name_of(fields: Sequence[str]) -> str:
    r"""What a cross is called, :obj:`"a x b"`."""
    return ' x '.join(fields)


def fields_of(
    interactions: Iterable[Interaction | tuple[str, ...]],
) -> list[tuple[str, ...]]:
    r"""The fields of interactions, or of tuples of names, in order of name."""
    return [
        (x if isinstance(x, Interaction) else Interaction(x, 0)).fields
        for x in interactions
    ]


def read_fields(
    df: pd.DataFrame,
    schema: FieldSchema | None,
    names: Iterable[str] | None = None,
) -> dict[str, Field]:
    r"""The fields of a table by their names.

    Args:
        df (pandas.DataFrame): The rows.
        schema (FieldSchema, optional): The fields, else what
            :meth:`~pyg_featgraph.data.FieldSchema.infer` reads.
        names (list of str, optional): Those that are meant, whose columns
            stay even if they tell nothing. (default: all)

    Raises:
        DataError: If the table has no column for a name.
    """
    check_frame(df, df.columns)
    if schema is None and names is None:
        schema = FieldSchema.infer(df)
    elif schema is None:
        # A part of a date has the name of its column and its own:
        known = {x: x if x in df else x.rpartition('.')[0] for x in names or ()}
        missing = [x for x, column in known.items() if column not in df]
        if missing:
            raise DataError(
                f'The table lacks the columns {missing}; it has '
                f'{list(df.columns)}'
            )
        columns: dict[str, dict[str, str]] = {x: {} for x in known.values()}
        if not columns:
            return {}
        schema = FieldSchema.infer(df[[*columns]], overrides=columns)
    return {field.name: field for field in schema}


def all_crosses(
    fields: Mapping[str, Field], order: int | tuple[int, ...]
) -> list[tuple[str, ...]]:
    r"""All sets of fields that have single values.

    Args:
        fields (dict): The fields.
        order (int or tuple of int): The largest number of fields of a set,
            or all the numbers that are meant.

    Raises:
        ValueError: If an order is below one.
    """
    orders = range(1, order + 1) if isinstance(order, int) else order
    if not orders or min(orders) < 1:
        raise ValueError(
            f"'order' must be at least 1, or some such numbers (got {order})"
        )
    names = sorted(x for x in fields if fields[x].kind not in _WITHOUT_ID)
    return [x for n in orders for x in combinations(names, n)]


def fit_codecs(
    df: pd.DataFrame,
    names: Iterable[str],
    fields: Mapping[str, Field],
    min_count: int,
    bins: int,
) -> dict[str, Codec]:
    r"""Learns the ids of fields from the training rows.

    Args:
        df (pandas.DataFrame): The training rows.
        names (list of str): The fields that are meant.
        fields (dict): All fields.
        min_count (int): How often a category must be seen.
        bins (int): The number of buckets of a numeric field.

    Raises:
        DataError: If a field is unknown or has no single values.
    """
    codecs = {}
    for name in names:
        if name not in fields:
            raise DataError(
                f"'{name}' is no field of the schema, which has {list(fields)}"
            )
        field = fields[name]
        if field.kind in _WITHOUT_ID:
            raise DataError(
                f"Column '{name}' is of the kind '{field.kind}' and cannot be "
                'crossed; leave its interactions out'
            )
        if field.kind == 'categorical':
            field = replace(field, min_count=min_count)
        else:
            # Rare buckets would be merged, and crosses have other members:
            field = replace(
                field,
                min_count=1,
                transform='quantile',
                bins=(bins,),
                interpolate=False,
            )
        check_frame(df, [field.column])
        codecs[name] = make_codec(field)
        codecs[name].fit(field.read(df))
    return codecs


def encode(codecs: Mapping[str, Codec], df: pd.DataFrame) -> dict[str, Ids]:
    r"""The ids of each field, with shape :math:`(R)`."""
    return {
        name: codec.encode(codec.field.read(df))[0][:, 0]
        for name, codec in codecs.items()
    }


def digest(ids: Mapping[str, Ids]) -> str:
    r"""A text that tells rows with such ids from all others."""
    out = hashlib.blake2b(digest_size=16)
    for x in ids.values():
        out.update(x.tobytes())
    return out.hexdigest()


def num_keys(fields: Sequence[str], codecs: Mapping[str, Codec]) -> int:
    r"""How many combinations there can be.

    Raises:
        DataError: If there are more than one key can tell apart.
    """
    size = math.prod(codecs[name].size for name in fields)
    if size > np.iinfo(np.int64).max:
        raise DataError(
            f"'{name_of(fields)}' has {size:.1e} possible combinations, too "
            "many for one key; raise 'min_count', lower 'bins' or cross fewer "
            'fields'
        )
    return size


def join(
    fields: Sequence[str], codecs: Mapping[str, Codec], ids: Mapping[str, Ids]
) -> Ids:
    r"""One key for each row, -1 where a member is rare.

    Args:
        fields (tuple of str): The fields of the cross.
        codecs (dict): The codec of each field.
        ids (dict): The ids of each field, as of :func:`encode`.

    Shapes:
        - **output:** keys :math:`(R)`
    """
    key = np.zeros_like(ids[fields[0]])
    rare = np.zeros(len(key), dtype=bool)
    for name in fields:
        key = key * codecs[name].size + ids[name]
        rare |= ids[name] == RARE
    return np.where(rare, -1, key)

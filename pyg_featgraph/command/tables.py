r"""From files to the tables of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.command.options import (
    CrossOptions,
    SchemaOptions,
    SplitOptions,
)
from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import (
    FieldEncoder,
    FieldSchema,
    FieldTable,
)
from pyg_featgraph.datasets import PlantedInteractions, TableDataset
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import InteractionSet


def read_table(path: str) -> pd.DataFrame:
    r"""A table from a file with the suffix of Parquet, or of text with commas,
    plain or compressed.

    Args:
        path (str): The file.

    Raises:
        DataError: If it holds none.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no file '{path}'")
    is_parquet = path.endswith(('.parquet', '.pq'))
    read: Any = pd.read_parquet if is_parquet else pd.read_csv
    try:
        df: pd.DataFrame = read(path)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"'{path}' holds no table: {error}") from error
    return df


class TableFiles:
    r"""A table of one's own.

    Args:
        train (str): The file (CSV or Parquet) of the training rows, or of all
            rows.
        valid (str, optional): That of the validation rows. (default: they are
            drawn from the training rows)
        test (str, optional): That of the test rows. (default: likewise)
    """

    def __init__(
        self, train: str, valid: str | None = None, test: str | None = None
    ) -> None:
        self.paths = {'train': train, 'valid': valid, 'test': test}
        self.splits = tuple(k for k, path in self.paths.items() if path)

    def frame(
        self, split: str | None = None, nrows: int | None = None
    ) -> pd.DataFrame:
        r"""The rows of a part.

        Args:
            split (str, optional): The part. (default: all)
            nrows (int, optional): How many rows at most. (default: all)
        """
        parts = self.splits if split is None else (split,)
        frames = [read_table(str(self.paths[part]))[:nrows] for part in parts]
        return pd.concat(frames, ignore_index=True)[:nrows]


Data = TableFiles | TableDataset | PlantedInteractions


@dataclass(frozen=True)
class Encoding:
    r"""What a table was turned into fields with.

    Args:
        encoder (FieldEncoder): The fitted encoder.
        crosses (CrossFeatures, optional): What has made its crosses.
            (default: :obj:`None`)
    """

    encoder: FieldEncoder
    crosses: CrossFeatures | None = None

    def transform(self, df: pd.DataFrame) -> FieldTable:
        r"""Encodes rows."""
        return self.encoder.transform(_join(df, self.crosses))

    def save(self, directory: Path) -> None:
        r"""Writes the files of a result that hold it."""
        self.encoder.save(directory / 'encoder.parquet')
        path = directory / 'crosses.parquet'
        if self.crosses is not None:
            self.crosses.save(path)
        else:
            path.unlink(missing_ok=True)  # Of an earlier run.

    @classmethod
    def load(cls, directory: Path) -> Encoding:
        r"""Reads what :meth:`save` has written."""
        path = directory / 'crosses.parquet'
        return cls(
            FieldEncoder.load(directory / 'encoder.parquet'),
            CrossFeatures.load(path) if path.exists() else None,
        )


def load_frames(
    data: Data, split: SplitOptions
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame | None]:
    r"""Training, validation and, if there are some, test rows.

    Args:
        data (TableFiles, TableDataset or PlantedInteractions): Their source.
        split (SplitOptions): Which rows are which.
    """
    names = getattr(data, 'splits', ()) if split.official else ()
    if names:
        parts = {x: data.frame(split=x, nrows=split.rows) for x in names}
    else:
        nrows = split.rows
        if isinstance(data, PlantedInteractions) and nrows is not None:
            nrows = min(nrows, data.num_rows)
        parts = {'train': data.frame(nrows=nrows)}
    rng = np.random.default_rng(split.seed)
    size = len(parts['train'])
    for name, share in (('test', split.test), ('valid', split.valid)):
        if name not in parts and share > 0:
            rest = parts['train']
            rows = rng.permutation(len(rest))
            cut = max(round(share * size), 1)
            parts[name], parts['train'] = (
                rest.iloc[rows[:cut]],
                rest.iloc[rows[cut:]],
            )
    if not all(len(part) for part in parts.values()):
        raise DataError(
            f'{size} rows are too few for training, validation and test'
        )
    return parts['train'], parts['valid'], parts.get('test')


def make_schema(
    data: Data, df: pd.DataFrame, options: SchemaOptions
) -> FieldSchema:
    r"""The schema of a table.

    Args:
        data (TableFiles, TableDataset or PlantedInteractions): Its source.
        df (pandas.DataFrame): Its training rows.
        options (SchemaOptions): What is said of its columns.

    Raises:
        DataError: If a column is named that is not there, or if the label is
            not known.
    """
    unknown = {*options.drop, *options.fields} - {*df.columns}
    if unknown:
        raise DataError(
            f'There are no columns {sorted(unknown)} among {list(df.columns)}'
        )
    roles: dict[str, Any] = {
        'label': options.label or getattr(data, 'label', None),
        'weight': options.weight,
        'task': options.task or getattr(data, 'task', 'binary'),
    }
    if roles['label'] is None:
        raise DataError(
            "Name the column of the label, 'schema.label', one of "
            f'{list(df.columns)}'
        )
    if isinstance(data, TableFiles):
        used = df.drop(columns=[*options.drop])
        return FieldSchema.infer(
            used, overrides=options.fields, **roles, **options.defaults
        )
    schema = data.schema(**options.defaults)
    for name, changes in options.fields.items():
        schema = schema.replace(name, **changes)
    left_out = {*options.drop, roles['label'], roles['weight']}
    fields = tuple(x for x in schema if x.column not in left_out)
    return replace(schema, fields=fields, **roles)


def encode(
    df: pd.DataFrame, schema: FieldSchema, crosses: CrossOptions | None
) -> Encoding:
    r"""Fits what turns rows into fields.

    Args:
        df (pandas.DataFrame): The training rows.
        schema (FieldSchema): Their schema.
        crosses (CrossOptions, optional): What becomes columns as well.
    """
    made = None
    if crosses is not None:
        made = CrossFeatures(
            InteractionSet.load(crosses.interactions),
            crosses.top,
            min_count=crosses.min_count,
            bins=crosses.bins,
            schema=schema,
        ).fit(df)
        schema = made.extend(schema)
    return Encoding(FieldEncoder(schema).fit(_join(df, made)), made)


def _join(df: pd.DataFrame, crosses: CrossFeatures | None) -> pd.DataFrame:
    return df if crosses is None else df.join(crosses.transform(df))

r"""From a DataFrame to an encoded table."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import torch

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.choice import Choice, choose, describe
from pyg_featgraph.data.codecs import Codec, make_codec
from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.data.labels import LabelCodec, read_column, read_weights
from pyg_featgraph.data.schema import FieldSchema
from pyg_featgraph.data.table import FieldTable
from pyg_featgraph.data.values import check_frame
from pyg_featgraph.data.vocabulary_file import (
    read_vocabularies,
    write_vocabularies,
)
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import reading


class FieldEncoder:
    r"""Encodes the columns of a table as ids and values of its fields.

    Vocabularies, quantiles and scales are learned by :meth:`fit` from the
    training rows and applied by :meth:`transform` to any table with the same
    columns. A category seen fewer than :obj:`min_count` times or not at all
    becomes the "rare" id of its field; a missing entry has an id of its own.
    Entries have the same ids whatever type they have and wherever they come
    from, by the rules in :mod:`pyg_featgraph.data.values`.

    .. code-block:: python

        encoder = FieldEncoder(FieldSchema.infer(train_df, label='click'))
        train = encoder.fit_transform(train_df)
        test = encoder.transform(test_df)

    Args:
        schema (FieldSchema): The fields, the label and the weights.
    """

    def __init__(self, schema: FieldSchema) -> None:
        self.schema = schema
        self._labels = LabelCodec(schema.task)
        #: The codecs of the fields; :meth:`fit` makes them.
        self.codecs: list[Codec] = []
        self._choices: dict[str, Choice] = {}
        self._info: FieldInfo | None = None

    @property
    def info(self) -> FieldInfo:
        r"""The layout of the fields, as a model needs it.

        Raises:
            RuntimeError: If the encoder is not fitted yet.
        """
        if self._info is None:
            raise RuntimeError('Call fit() with the training rows first')
        return self._info

    @property
    def classes(self) -> tuple[str, ...]:
        r"""The names of the classes, by the numbers that labels become; none
        if they are no classes.
        """
        return self._labels.classes

    def fit(self, df: Any, valid: Any = None) -> FieldEncoder:
        r"""Learns vocabularies and statistics from the training rows.

        Args:
            df (pandas.DataFrame): The training rows, in any table that
                :func:`~pyg_featgraph.data.to_frame` takes.
            valid (pandas.DataFrame, optional): The rows by which to choose
                the transforms that are :obj:`"auto"`. (default: training
                rows, which take turns)

        Raises:
            DataError: If the table is empty or lacks a column, if an entry
                is none that its column can have (see
                :mod:`~pyg_featgraph.data.values`), if categories cannot be
                told apart, if labels are none that the task of the schema can
                have or are of a single class, or if there are none and a
                transform needs them.
        """
        df = to_frame(df)
        valid = None if valid is None else to_frame(valid)
        y = self._read_labels(df, learn=True)
        valid_y = None if valid is None else self._read_labels(valid)
        codecs, choices = [], {}
        for field in self.schema:
            column = field.read(df)
            if field.transform == 'auto':
                rows = None if valid is None else (field.read(valid), valid_y)
                choice = choose(field, (column, y), rows)
                choices[field.name], field = choice, choice.field
            codec = make_codec(field)
            codec.fit(column, y)
            codecs.append(codec)
        self.codecs, self._choices = codecs, choices
        self._set_info()
        return self

    def report(self) -> pd.DataFrame:
        r"""What has become of each field: a row for each, with its kind, its
        encoding, the number of ids, the share of training rows in which it is
        missing and, for numbers, the mass points. Where the transform was
        left to the data (:obj:`"auto"`), :obj:`"reason"` says why it is this
        one, and one column for each candidate holds its loss on rows that it
        was not fitted to; see :mod:`pyg_featgraph.data.choice`.

        Raises:
            RuntimeError: If the encoder is not fitted yet.
        """
        rows = []
        for name, codec in zip(self.info.names, self.codecs, strict=True):
            row = {
                'kind': codec.field.kind,
                'encoding': describe(codec.field),
                'ids': codec.size,
                'missing': codec.missing,
                'mass_points': getattr(codec, 'mass', []),
                'reason': 'as told',
            }
            if name in self._choices:
                choice = self._choices[name]
                row |= {'reason': choice.reason, **choice.scores}
            rows.append(row)
        return pd.DataFrame(rows, pd.Index(self.info.names, name='field'))

    def transform(self, df: Any) -> FieldTable:
        r"""Encodes a table; labels and weights are taken along if it has
        them.

        Args:
            df (pandas.DataFrame): The rows to encode, in any table that
                :func:`~pyg_featgraph.data.to_frame` takes.

        Raises:
            DataError: As in :meth:`fit`; a single class is fine here, but no
                unknown one.
        """
        info = self.info
        df = to_frame(df)
        check_frame(df, self.schema.columns)
        index = np.empty((len(df), info.num_slots), dtype=np.int32)
        value = np.empty((len(df), info.num_slots), dtype=np.float32)
        for codec, offset, first in zip(
            self.codecs, info.offsets, info.first_slots, strict=True
        ):
            slots = slice(first, first + codec.slots)
            ids, value[:, slots] = codec.encode(codec.field.read(df))
            index[:, slots] = ids + offset
        label = read_column(df, self.schema.label)
        weight = read_column(df, self.schema.weight)
        return FieldTable(
            torch.from_numpy(index),
            torch.from_numpy(value),
            info,
            None if label is None else self._labels.encode(label),
            sample_weight=None if weight is None else read_weights(weight),
        )

    def fit_transform(self, df: Any, valid: Any = None) -> FieldTable:
        r"""Fits the encoder and encodes the same rows."""
        df = to_frame(df)
        return self.fit(df, valid).transform(df)

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes the fitted encoder as one Parquet file.

        The vocabulary is the table of the file, everything else is JSON in
        its metadata. The file appears as a whole or not at all, and carries a
        checksum.
        """
        meta = {
            'schema': self.schema.to_dict(),
            'info': self.info.to_dict(),
            'classes': self.classes,
            'choices': {
                name: choice.to_dict() for name, choice in self._choices.items()
            },
            'states': [codec.state() for codec in self.codecs],
        }
        vocabularies = [codec.vocabulary for codec in self.codecs]
        write_vocabularies(path, 'encoder', meta, vocabularies)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FieldEncoder:
        r"""Reads an encoder written by :meth:`save`.

        Raises:
            DataError: If the file is damaged, no encoder or of an unknown
                version.
        """
        with reading(path, 'encoder'):
            meta, vocabularies, _ = read_vocabularies(path, 'encoder')
            out = cls(FieldSchema.from_dict(meta['schema']))
            for field, state, vocabulary in zip(
                out.schema, meta['states'], vocabularies, strict=True
            ):
                if field.transform == 'auto':
                    values = meta['choices'][field.name]
                    choice = Choice.from_dict(field, values)
                    out._choices[field.name], field = choice, choice.field
                codec = make_codec(field)
                codec.load_state(state, vocabulary)
                out.codecs.append(codec)
            out._labels.classes = tuple(meta['classes'])
            out._set_info()
            if out.info != FieldInfo.from_dict(meta['info']):
                raise DataError('its fields are not those of its states')
            return out

    def _set_info(self) -> None:
        self._info = FieldInfo(
            self.schema.names,
            tuple(codec.size for codec in self.codecs),
            tuple(codec.slots for codec in self.codecs),
            tuple(codec.kind for codec in self.codecs),
        )

    def _read_labels(
        self, df: pd.DataFrame, learn: bool = False
    ) -> Labels | None:
        r"""The labels by which to fit: integers if they are classes."""
        check_frame(df, self.schema.columns)
        if not len(df):
            raise DataError('The table has no rows')
        label = read_column(df, self.schema.label)
        if label is None:
            return None
        if learn:
            self._labels.fit(label)
        y = self._labels.encode(label)
        is_number = self.schema.task == 'regression'
        return (y.double() if is_number else y.long()).numpy()

    def __repr__(self) -> str:
        fitted = self._info is not None
        return (
            f'{self.__class__.__name__}(num_fields={len(self.schema)}, '
            f'fitted={fitted})'
        )

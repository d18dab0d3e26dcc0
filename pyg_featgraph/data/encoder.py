r"""From a DataFrame to an encoded table."""

from __future__ import annotations

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyg_featgraph.data.bins import Labels
from pyg_featgraph.data.choice import Choice, choose, describe
from pyg_featgraph.data.codecs import (
    CategoricalCodec,
    Codec,
    make_codec,
)
from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.data.labels import LabelCodec, read_column, read_weights
from pyg_featgraph.data.schema import FieldSchema
from pyg_featgraph.data.shards import (
    Arrays,
    Layout,
    write_shards,
)
from pyg_featgraph.data.streams import (
    SAMPLE_ROWS,
    FieldCounts,
    ahead,
    blocks_of,
    is_stream,
    naming,
    threads,
)
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
        keep_rare (bool, optional): Whether the counts of categories that are
            too rare for an id are kept, so that :meth:`update` goes on with
            them. They are most of the distinct values of a click log.
            (default: :obj:`False`)
    """

    def __init__(self, schema: FieldSchema, keep_rare: bool = False) -> None:
        self.schema = schema
        self.keep_rare = keep_rare
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

    def fit(self, data: Any, valid: Any = None) -> FieldEncoder:
        r"""Learns vocabularies and statistics from the training rows.

        Rows of files are read block by block and give the same as if they were
        in memory at once. What is needed is memory for the distinct values of
        all columns, of which those that are too many can be hashed
        (:obj:`hash_size` of a :class:`~pyg_featgraph.data.Field`). There are
        two limits: more than :math:`2^{20}` distinct numbers of a column are
        rounded to fewer bits before they are counted, of files and in memory;
        and the transforms :obj:`"auto"` and :obj:`"tree"` are fitted to 100,000
        rows of files that are drawn at random, or all if there are fewer.

        Args:
            data (pandas.DataFrame): The training rows, in any table that
                :func:`~pyg_featgraph.data.to_frame` takes; or the path of a
                file or folder, a list of paths, or any of
                :class:`~pyg_featgraph.data.RowFiles` and
                :class:`~pyg_featgraph.datasets.TableDataset`.
            valid (pandas.DataFrame, optional): The rows by which to choose
                the transforms that are :obj:`"auto"`; a table in memory.
                (default: training rows, which take turns)

        Raises:
            DataError: If the table is empty or lacks a column, if an entry
                is none that its column can have (see
                :mod:`~pyg_featgraph.data.values`), if categories cannot be
                told apart, if labels are none that the task of the schema can
                have or are of a single class, or if there are none and a
                transform needs them.
        """
        return self.learn(self.count(data), valid)

    def count(self, data: Any) -> FieldCounts:
        r"""Counts what :meth:`learn` needs of training rows. Counts of parts
        of a table, which may be made by several processes, can be merged.

        Args:
            data (pandas.DataFrame): The rows, as for :meth:`fit`.

        Raises:
            DataError: As in :meth:`fit`.
        """
        if not is_stream(data):
            counts = FieldCounts(self.schema)
            counts.add(to_frame(data))
            return counts
        counts = FieldCounts(self.schema, SAMPLE_ROWS)
        with self._blocks(data) as blocks, threads() as apply:
            for block in blocks:
                with naming(block):
                    counts.add(block, apply)
            counts.compact(apply)
        return counts

    def learn(self, counts: FieldCounts, valid: Any = None) -> FieldEncoder:
        r"""Learns vocabularies and statistics from what was counted.

        Args:
            counts (FieldCounts): What :meth:`count` gives, of all training
                rows.
            valid (pandas.DataFrame, optional): As for :meth:`fit`.

        Raises:
            DataError: As in :meth:`fit`.
        """
        if not counts.num_rows:
            raise DataError('The table has no rows')
        if counts.labels is not None:
            self._labels.learn(counts.labels)
        valid = None if valid is None else to_frame(valid)
        valid_y = None
        if valid is not None:
            check_frame(valid, self.schema.columns)
            valid_y = self._encode_labels(read_column(valid, self.schema.label))
        rows, label = counts.rows
        y = self._encode_labels(label)
        nothing = pd.Series(dtype=np.float64)
        codecs, choices = [], {}
        for field, tally in zip(self.schema, counts.tallies, strict=True):
            column = nothing
            if field.transform in ('auto', 'tree'):
                column = field.read(rows)
            if field.transform == 'auto':
                held = None if valid is None else (field.read(valid), valid_y)
                choice = choose(field, (column, y), held)
                choices[field.name], field = choice, choice.field
            codec = make_codec(field)
            if self.keep_rare and isinstance(codec, CategoricalCodec):
                codec.rare = pd.Series(dtype=np.int64)
            codec.learn(tally, column, y)
            codecs.append(codec)
        self.codecs, self._choices = codecs, choices
        self._set_info()
        return self

    def update(self, data: Any, evict: int = 0) -> Tensor:
        r"""Takes up the categories of new rows, such as those of another day:
        all that have ids keep them, and those that are now seen
        :obj:`min_count` times get the next ones. Models follow by
        :meth:`~pyg_featgraph.nn.FieldModel.grow`.

        .. code-block:: python

            reused = encoder.update('logs/day_2', evict=2)
            model.grow(encoder.info, reused)
            fit(model, encoder.transform('logs/day_2', 'encoded/2'), ...)

        What counts is the number of rows since :meth:`fit` with
        :obj:`keep_rare`, else of these rows alone. How numbers are encoded,
        and how long lists can be, stays what it is; hashed fields need no
        update.

        Args:
            data (pandas.DataFrame): The new rows, as for :meth:`fit`.
            evict (int, optional): A category that fewer of the new rows have
                gives its id to a new one, the rarest first, and is rare from
                then on; one does so only if there is a new one.
                (default: :obj:`0`)

        Returns:
            torch.Tensor: The ids that have changed hands, as :attr:`info`
            numbers them now.

        Raises:
            DataError: As in :meth:`fit`, or if a label is of an unknown class.
        """
        _ = self.info  # It has to be fitted.
        counts = self.count(data)
        if not counts.num_rows:
            raise DataError('The table has no rows')
        if counts.labels is not None and len(counts.labels):
            classes = pd.Series(counts.labels.index, name=self.schema.label)
            self._labels.encode(classes)
        reused: dict[int, Any] = {}
        for i, (codec, tally) in enumerate(
            zip(self.codecs, counts.tallies, strict=True)
        ):
            if isinstance(codec, CategoricalCodec) and not (
                codec.field.hash_size
            ):
                reused[i] = codec.update(tally.counts(), evict)
        self._set_info()
        offsets = self.info.offsets
        ids = [
            np.empty(0, np.int64),
            *(offsets[i] + x for i, x in reused.items()),
        ]
        return torch.from_numpy(np.concatenate(ids))

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

    def transform(
        self, data: Any, folder: str | os.PathLike[str] | None = None
    ) -> FieldTable:
        r"""Encodes a table; labels and weights are taken along if it has
        them.

        Args:
            data (pandas.DataFrame): The rows to encode, in any table or files
                that :meth:`fit` takes.
            folder (str, optional): Where the encoded rows go, block by block;
                they are opened by
                :meth:`~pyg_featgraph.data.FieldTable.open`. The folder
                appears as a whole or not at all. Needed for files.
                (default: into memory)

        Raises:
            DataError: As in :meth:`fit`; a single class is fine here, but no
                unknown one.
        """
        info = self.info
        if folder is not None:
            return self._write(data, folder)
        if is_stream(data):
            raise DataError(
                'Files are encoded to a folder, since they may be larger than '
                "memory: transform(files, 'folder')"
            )
        df = to_frame(data)
        check_frame(df, self.schema.columns)
        index = np.empty((len(df), info.num_slots), dtype=np.int32)
        value = np.empty((len(df), info.num_slots), dtype=np.float32)
        for codec, offset, first in zip(
            self.codecs, info.offsets, info.first_slots, strict=True
        ):
            slots = slice(first, first + codec.slots)
            ids, value[:, slots] = codec.encode(codec.field.read(df))
            index[:, slots] = ids + offset
        return FieldTable(
            torch.from_numpy(index),
            torch.from_numpy(value),
            info,
            **self._extras(df),
        )

    def blocks(self, data: Any) -> Generator[Arrays, None, None]:
        r"""Encodes a table block by block, as it stands in a folder.

        Args:
            data (pandas.DataFrame): The rows, as for :meth:`transform`.

        Returns:
            iterator of dict: The columns of each block, by name.
        """
        layout = Layout(self.info)
        with self._blocks(data) as blocks, threads() as apply:
            for block in blocks:
                with naming(block):
                    encoded = self._encode(block, layout, apply)
                yield encoded

    def _write(self, data: Any, folder: str | os.PathLike[str]) -> FieldTable:
        blocks = self.blocks(data)
        with closing(blocks), ThreadPoolExecutor(1) as thread:
            write_shards(folder, self.info, ahead(blocks, thread))
        return FieldTable.open(folder)

    def _encode(self, df: pd.DataFrame, layout: Layout, apply: Any) -> Arrays:
        check_frame(df, self.schema.columns)
        out = layout.empty(len(df))

        def put(i: int) -> None:
            codec = self.codecs[i]
            layout.put(out, i, *codec.encode(codec.field.read(df)))

        apply(put, range(len(self.codecs)))
        for name, x in self._extras(df).items():
            if x is not None:
                out[name] = x.numpy()
        return out

    def _extras(self, df: pd.DataFrame) -> dict[str, Any]:
        label = read_column(df, self.schema.label)
        weight = read_column(df, self.schema.weight)
        return {
            'y': None if label is None else self._labels.encode(label),
            'sample_weight': None if weight is None else read_weights(weight),
        }

    def _blocks(self, data: Any) -> Any:
        roles = (self.schema.label, self.schema.weight)
        columns = [*self.schema.columns, *(x for x in roles if x is not None)]
        if not is_stream(data):
            return nullcontext([to_frame(data)])
        return blocks_of(data, [*dict.fromkeys(columns)])

    def fit_transform(
        self,
        data: Any,
        valid: Any = None,
        folder: str | os.PathLike[str] | None = None,
    ) -> FieldTable:
        r"""Fits the encoder and encodes the same rows."""
        if not is_stream(data):
            data = to_frame(data)
        return self.fit(data, valid).transform(data, folder)

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
            'keep_rare': self.keep_rare,
        }
        vocabularies = [codec.vocabulary for codec in self.codecs]
        if self.keep_rare:
            vocabularies += [getattr(x, 'rare', None) for x in self.codecs]
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
            keep_rare = meta['keep_rare'] is True
            out = cls(FieldSchema.from_dict(meta['schema']), keep_rare)
            # The second half is what is rare:
            size = len(out.schema)
            kept, rare = vocabularies[:size], vocabularies[size:]
            for field, state, vocabulary, others in zip(
                out.schema,
                meta['states'],
                kept,
                rare if keep_rare else [None] * size,
                strict=True,
            ):
                if field.transform == 'auto':
                    values = meta['choices'][field.name]
                    choice = Choice.from_dict(field, values)
                    out._choices[field.name], field = choice, choice.field
                codec = make_codec(field)
                codec.load_state(state, vocabulary)
                if isinstance(codec, CategoricalCodec):
                    codec.rare = others
                out.codecs.append(codec)
            out._labels.classes = tuple(meta['classes'])
            if not all(isinstance(v, str) for v in out.classes):
                raise DataError('its classes are not all names')
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

    def _encode_labels(self, label: pd.Series | None) -> Labels | None:
        r"""The labels by which to fit: integers if they are classes."""
        if label is None:
            return None
        y = self._labels.encode(label)
        is_number = self.schema.task == 'regression'
        return (y.double() if is_number else y.long()).numpy()

    def __repr__(self) -> str:
        fitted = self._info is not None
        return (
            f'{self.__class__.__name__}(num_fields={len(self.schema)}, '
            f'fitted={fitted})'
        )

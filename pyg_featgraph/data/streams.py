r"""Tables that are read block by block, and what is kept of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from pyg_featgraph.data.labels import LabelCodec, read_column
from pyg_featgraph.data.row_files import RowFiles
from pyg_featgraph.data.schema import FieldSchema
from pyg_featgraph.data.tallies import make_tally
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import check_frame
from pyg_featgraph.errors import DataError

#: How many rows of files, drawn at random, transforms are fitted to that look
#: at the label.
SAMPLE_ROWS = 100_000

T = TypeVar('T')
U = TypeVar('U')


def is_stream(data: Any) -> bool:
    r"""Whether a table is read block by block: a path, a list of paths,
    :class:`~pyg_featgraph.data.RowFiles`, or a
    :class:`~pyg_featgraph.datasets.TableDataset`.
    """
    return isinstance(data, RowFiles) or _is_path(data) or _has_chunks(data)


def _is_path(data: Any) -> bool:
    if isinstance(data, list | tuple) and len(data):
        return all(isinstance(x, str | os.PathLike) for x in data)
    return isinstance(data, str | os.PathLike)


def _has_chunks(data: Any) -> bool:
    return hasattr(data, 'chunks') and hasattr(data, 'schema')


@contextmanager
def blocks_of(
    data: Any, columns: Sequence[str]
) -> Iterator[Iterator[pd.DataFrame]]:
    r"""The blocks of a table, of which the next is read while one is used.

    Args:
        data (Any): The table.
        columns (list of str): The columns that are needed.
    """
    if _has_chunks(data):
        blocks = data.chunks(2**16)
    else:
        files = data if isinstance(data, RowFiles) else RowFiles(data)
        blocks = files.blocks(columns)
    with closing(blocks), ThreadPoolExecutor(1) as thread:
        yield ahead(blocks, thread)


def ahead(
    blocks: Iterator[T], thread: ThreadPoolExecutor
) -> Generator[T, None, None]:
    r"""The same blocks, of which the next is made while one is used.

    Args:
        blocks (iterator): What makes them, none of which is :obj:`None`.
        thread (ThreadPoolExecutor): Where they are made.
    """
    following = thread.submit(next, blocks, None)
    try:
        while (block := following.result()) is not None:
            following = thread.submit(next, blocks, None)
            yield block
    finally:
        following.exception()  # It has come to its end.


@contextmanager
def threads() -> Iterator[Callable[[Callable[[T], U], Iterable[T]], list[U]]]:
    r"""A :obj:`map` on as many threads as Arrow has
    (:func:`pyarrow.cpu_count`).
    """
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        yield lambda function, values: [*pool.map(function, values)]


@contextmanager
def naming(block: pd.DataFrame) -> Iterator[None]:
    r"""Adds the file of a block to what is wrong with one of its rows."""
    try:
        yield
    except DataError as error:
        path = block.attrs.get('path')
        if path is None:
            raise
        raise DataError(f"'{path}': {error}") from error


class FieldCounts:
    r"""What is counted of training rows to fit an encoder to them:
    :meth:`~pyg_featgraph.data.FieldEncoder.count` makes it,
    :meth:`~pyg_featgraph.data.FieldEncoder.learn` takes it. Counts of several
    parts of a table become those of all by :meth:`merge`; they may come from
    other processes.

    Args:
        schema (FieldSchema): The fields, the label and the weights.
        num_rows (int, optional): How many rows are kept, drawn at random, for
            transforms that look at the label. (default: all)
    """

    def __init__(
        self, schema: FieldSchema, num_rows: int | None = None
    ) -> None:
        self.schema = schema
        self.num_rows = 0
        self.tallies: list[Any] = [make_tally(field) for field in schema]
        #: The rows of each class, if there are labels.
        self.labels: pd.Series | None = None
        asked = {
            field.column: None
            for field in schema
            if field.transform in ('auto', 'tree')
        }
        self._sample = RowSample([*asked], num_rows)

    def add(self, df: pd.DataFrame, apply: Any = map) -> None:
        r"""Counts rows.

        Args:
            df (pandas.DataFrame): The rows.
            apply (callable, optional): A :obj:`map`, which may have threads.
                (default: :obj:`map`)
        """
        check_frame(df, self.schema.columns)
        label = read_column(df, self.schema.label)
        if self.num_rows and (label is None) != (self.labels is None):
            raise DataError(
                f"Some files have the label '{self.schema.label}', others not"
            )
        if label is not None:
            counts = LabelCodec(self.schema.task).count(label)
            self.labels = _sum(self.labels, counts)
        self.num_rows += len(df)
        pairs = zip(self.tallies, self.schema, strict=True)
        for _ in apply(lambda x: x[0].add(x[1].read(df)), pairs):
            pass
        self._sample.add(df, label)

    def compact(self, apply: Any = map) -> None:
        r"""Adds up what has been counted so far.

        Args:
            apply (callable, optional): As of :meth:`add`.
                (default: :obj:`map`)
        """
        for _ in apply(lambda x: x.compact(), self.tallies):
            pass

    def merge(self, other: FieldCounts) -> None:
        r"""Adds what was counted of other rows.

        Args:
            other (FieldCounts): The counts, by the same schema.
        """
        if self.schema != other.schema:
            raise ValueError('Counts by different schemas cannot be merged')
        self.num_rows += other.num_rows
        for tally, more in zip(self.tallies, other.tallies, strict=True):
            tally.merge(more)
        if other.labels is not None:
            self.labels = _sum(self.labels, other.labels)
        self._sample.merge(other._sample)

    @property
    def rows(self) -> tuple[pd.DataFrame, pd.Series | None]:
        r"""The rows that are kept, with the columns that are needed, and
        their labels.
        """
        return self._sample.rows()


def _sum(one: pd.Series | None, other: pd.Series) -> pd.Series:
    if one is None:
        return other
    total: pd.Series = one.add(other, fill_value=0).astype(np.int64)
    total.name = other.name
    return total


class RowSample:
    r"""Rows drawn at random, always the same of the same rows.

    Args:
        columns (list of str): The columns that are kept; without any, no rows
            are.
        num_rows (int, optional): How many rows at most. (default: all)
    """

    def __init__(self, columns: list[str], num_rows: int | None) -> None:
        self.columns = columns
        self.num_rows = num_rows
        self._generator = np.random.default_rng(0)
        # Rows, labels, and for each the random number by which it stays:
        self._parts: list[tuple[pd.DataFrame, pd.Series | None, Ids]] = []
        self._size = 0

    def add(self, df: pd.DataFrame, label: pd.Series | None) -> None:
        r"""Takes rows into consideration.

        Args:
            df (pandas.DataFrame): The rows.
            label (pandas.Series, optional): Their labels.
        """
        if not self.columns:
            return
        keys = self._generator.integers(2**63, size=len(df))
        self._parts.append((df[self.columns], label, keys))
        self._size += len(df)
        self._shrink(2)

    def merge(self, other: RowSample) -> None:
        r"""Takes the rows of another sample into consideration."""
        self._parts += other._parts
        self._size += other._size
        self._shrink(2)

    def rows(self) -> tuple[pd.DataFrame, pd.Series | None]:
        r"""The rows in order, and their labels."""
        self._shrink(1)
        if not self._parts:
            return pd.DataFrame(), None
        frames, labels, _ = zip(*self._parts, strict=True)
        if len(frames) == 1:
            return frames[0], labels[0]
        frame: pd.DataFrame = pd.concat(frames, ignore_index=True)
        if labels[0] is None:
            return frame, None
        return frame, pd.concat(labels, ignore_index=True)

    def _shrink(self, times: int) -> None:
        if self.num_rows is None or self._size <= times * self.num_rows:
            return
        keys = np.concatenate([part[2] for part in self._parts])
        limit = np.partition(keys, self.num_rows)[self.num_rows]
        parts = []
        for df, label, key in self._parts:
            kept = key < limit
            some = None if label is None else label[kept]
            parts.append((df[kept], some, key[kept]))
        self._parts = parts
        self._size = sum(len(part[2]) for part in parts)

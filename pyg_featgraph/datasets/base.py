r"""What the readers of public data sets have in common."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.files import fetch, find_file
from pyg_featgraph.datasets.reader import read_text
from pyg_featgraph.datasets.text import BadLines, TextFormat
from pyg_featgraph.errors import DataError


class TableDataset(ABC):
    r"""A public data set, read from its original files.

    Args:
        root (str): The folder with the original files, or, if there is only
            one, its path.
        download (bool, optional): Whether to fetch files that are not there,
            where the licence allows it. (default: :obj:`False`)
        on_bad_lines (str, optional): :obj:`"error"` to raise at the first
            line that cannot be used, :obj:`"skip"` to leave such lines out;
            they are counted in :attr:`skipped` and reported by a warning.
            (default: :obj:`"error"`)
    """

    #: The name of the label column.
    label: str
    #: What labels are, as :class:`~pyg_featgraph.data.FieldSchema` has it.
    task: ClassVar[str] = 'binary'
    #: The official parts of the data set; empty if there are none.
    splits: tuple[str, ...] = ()
    #: The number of rows of each part as published.
    published_rows: ClassVar[Mapping[str | None, int]] = {}
    #: The columns that become fields, in order, and their kinds.
    kinds: ClassVar[Mapping[str, str]]
    #: Whether the data set is a single file.
    single_file: ClassVar[bool] = True
    #: Where files are fetched from, by file name; behind a "#" stands the
    #: member of an archive.
    urls: ClassVar[Mapping[str, str]] = {}
    #: The checksums of what is fetched, by address, where they are known.
    sha256: ClassVar[Mapping[str, str]] = {}
    #: Where to get the files if they cannot be fetched.
    homepage: str

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        download: bool = False,
        on_bad_lines: str = 'error',
    ) -> None:
        self.root = Path(root)
        self.on_bad_lines = on_bad_lines
        self._bad = BadLines(on_bad_lines)
        self._rows = 0
        if download:
            self._download()

    @property
    def skipped(self) -> int:
        r"""The number of bad lines left out in the last reading."""
        return self._bad.count

    @abstractmethod
    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        r"""The files of a part, and how they are written."""

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        r"""Turns the columns of the files into those of the table."""
        return df

    def schema(self, **defaults: Any) -> FieldSchema:
        r"""The fields, with the preprocessing that is usual for this data.

        Args:
            **defaults: As in
                :meth:`~pyg_featgraph.data.FieldSchema.infer`.
        """
        kinds = self._kinds()
        return FieldSchema.infer(
            pd.DataFrame(columns=[self.label, *kinds]),
            self.label,
            {name: {'kind': kind} for name, kind in kinds.items()},
            task=self.task,
            **defaults,
        )

    def _kinds(self) -> Mapping[str, str]:
        return self.kinds

    def _published(self, split: str | None) -> int | None:
        # The number of rows that a full reading should find.
        return self.published_rows.get(split)

    def chunks(
        self, chunk_rows: int = 100_000, split: str | None = None
    ) -> Generator[pd.DataFrame, None, None]:
        r"""Streams the rows in order.

        Args:
            chunk_rows (int, optional): The number of rows of a chunk.
                (default: :obj:`100_000`)
            split (str, optional): The part to read. (default: all)
        """
        if split is not None and split not in self.splits:
            raise ValueError(
                f"'split' must be one of {self.splits} (got '{split}')"
            )
        if chunk_rows < 1:
            raise ValueError(
                f"'chunk_rows' must be at least 1 (got {chunk_rows})"
            )
        self._bad = BadLines(self.on_bad_lines)
        self._rows = 0
        try:
            yield from _recut(self._blocks(split), chunk_rows)
        finally:
            # Also if the caller needs no more rows:
            self._bad.report()
        if not self._rows:
            raise DataError(f"'{self.root}' has no rows that can be used")
        found = self._rows + self.skipped
        expected = self._published(split)
        if expected is not None and found != expected:
            warnings.warn(
                f"'{self.root}' has {found} rows, but {expected} were "
                'published',
                stacklevel=2,
            )

    def _blocks(self, split: str | None) -> Iterator[pd.DataFrame]:
        for path, text in self._sources(split):
            for df in read_text(path, text, self._bad):
                self._rows += len(df)
                yield self._finish(df)

    def frame(
        self, split: str | None = None, nrows: int | None = None
    ) -> pd.DataFrame:
        r"""The rows as one :class:`~pandas.DataFrame`.

        Args:
            split (str, optional): The part to read. (default: all)
            nrows (int, optional): How many rows at most. (default: all)

        Raises:
            DataError: With the file, line, column and value, where something
                cannot be read.
        """
        if nrows is not None and nrows < 0:
            raise ValueError(f"'nrows' must not be negative (got {nrows})")
        parts = []
        chunk_rows = 100_000 if nrows is None else max(nrows, 1)
        with closing(self.chunks(chunk_rows, split)) as chunks:
            for df in chunks:
                parts.append(df[:nrows])
                if nrows is not None:
                    # The first chunk is as long as what is asked for.
                    break
        return pd.concat(parts, ignore_index=True)

    def _file(self, name: str) -> Path:
        if self.root.is_file():
            if self.single_file:
                return self.root
            raise DataError(
                f"'{self.root}' is a file, but {self.__class__.__name__} has "
                'several: pass their folder'
            )
        path = find_file(self.root, name)
        if path is None:
            raise DataError(
                f"'{name}' is not in '{self.root}', nor compressed. "
                + self._where_to_get()
            )
        return path

    def _where_to_get(self) -> str:
        if self.urls:
            return 'Pass download=True to fetch it'
        return (
            f'Get it from {self.homepage} and put it there; its licence does '
            'not allow to fetch it for you'
        )

    def _download(self) -> None:
        if not self.urls:
            raise DataError(
                f'The licence of {self.__class__.__name__} does not allow to '
                f'fetch it for you: get it from {self.homepage} and put it '
                f"into '{self.root}'"
            )
        if not self.root.is_file():
            fetch(self.root, self.urls, self.sha256)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}('{self.root}')"


def _recut(
    blocks: Iterator[pd.DataFrame], chunk_rows: int
) -> Iterator[pd.DataFrame]:
    # The same rows in chunks of one length, but for the last.
    rest: list[pd.DataFrame] = []
    waiting = 0
    for block in blocks:
        rest.append(block)
        waiting += len(block)
        if waiting >= chunk_rows:
            joined = pd.concat(rest, ignore_index=True)
            cut = waiting - waiting % chunk_rows
            for start in range(0, cut, chunk_rows):
                part = joined.iloc[start : start + chunk_rows]
                yield part.reset_index(drop=True)
            rest, waiting = [joined.iloc[cut:]], waiting - cut
    if waiting:
        yield pd.concat(rest, ignore_index=True)

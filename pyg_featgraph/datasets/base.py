r"""What the readers of public data sets have in common."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
import warnings
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.reader import BadLines, TextFormat, read_text
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
    #: The official parts of the data set; empty if there are none.
    splits: tuple[str, ...] = ()
    #: The number of rows of each part as published.
    published_rows: ClassVar[Mapping[str | None, int]] = {}
    #: Where files are fetched from, by file name; behind a "#" stands the
    #: member of an archive.
    urls: ClassVar[Mapping[str, str]] = {}
    #: Where to get the files if they cannot be fetched.
    homepage: str

    def __init__(
        self,
        root: str | os.PathLike[str],
        download: bool = False,
        on_bad_lines: str = 'error',
    ) -> None:
        self.root = Path(root)
        self.on_bad_lines = on_bad_lines
        self._bad = BadLines(on_bad_lines)
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
        return FieldSchema.infer(self.frame(nrows=100), self.label, **defaults)

    def chunks(
        self, chunk_rows: int = 100_000, split: str | None = None
    ) -> Iterator[pd.DataFrame]:
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
        self._bad = BadLines(self.on_bad_lines)
        rest: list[pd.DataFrame] = []
        waiting = total = 0
        for path, text in self._sources(split):
            for df in read_text(path, text, self._bad):
                rest.append(self._finish(df))
                waiting += len(df)
                total += len(df)
                if waiting >= chunk_rows:
                    joined = pd.concat(rest, ignore_index=True)
                    cut = waiting - waiting % chunk_rows
                    for start in range(0, cut, chunk_rows):
                        part = joined.iloc[start : start + chunk_rows]
                        yield part.reset_index(drop=True)
                    rest, waiting = [joined.iloc[cut:]], waiting - cut
        if waiting:
            yield pd.concat(rest, ignore_index=True)
        self._bad.report()
        expected = self.published_rows.get(split)
        if expected is not None and total + self.skipped != expected:
            warnings.warn(
                f"'{self.root}' has {total + self.skipped} rows, but "
                f'{expected} were published',
                stacklevel=2,
            )

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
        parts = []
        missing = nrows
        chunk = 100_000 if nrows is None else max(nrows, 1)
        for df in self.chunks(chunk, split):
            parts.append(df if missing is None else df.iloc[:missing])
            if missing is not None:
                missing -= len(parts[-1])
                if missing <= 0:
                    break
        if not parts:
            raise DataError(f"'{self.root}' has no rows")
        return pd.concat(parts, ignore_index=True)

    def _file(self, *names: str) -> Path:
        # The first of several possible names that exists.
        if self.root.is_file():
            return self.root
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise DataError(
            f"None of {list(names)} is in '{self.root}'. "
            + (
                'Pass download=True to fetch it'
                if self.urls
                else f'Get it from {self.homepage} and put it there; its '
                'licence does not allow to fetch it for you'
            )
        )

    def _download(self) -> None:
        if not self.urls:
            raise DataError(
                f'The licence of {self.__class__.__name__} does not allow to '
                f'fetch it for you: get it from {self.homepage} and put it '
                f"into '{self.root}'"
            )
        self.root.mkdir(parents=True, exist_ok=True)
        wanted: dict[str, list[tuple[str, str]]] = {}
        for name, address in self.urls.items():
            if not (self.root / name).exists():
                url, _, member = address.partition('#')
                wanted.setdefault(url, []).append((name, member))
        for url, files in wanted.items():
            fetched = self.root / 'download.tmp'
            try:
                urllib.request.urlretrieve(url, fetched)
            except (urllib.error.URLError, OSError) as error:
                raise DataError(
                    f"'{url}' cannot be fetched ({error}); get the file by "
                    f"other means and put it into '{self.root}'"
                ) from error
            for name, member in files:
                temporary = self.root / f'{name}.tmp'
                if member:
                    with (
                        zipfile.ZipFile(fetched) as archive,
                        archive.open(member) as source,
                        open(temporary, 'wb') as target,
                    ):
                        shutil.copyfileobj(source, target)
                else:
                    os.replace(fetched, temporary)
                os.replace(temporary, self.root / name)
            fetched.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}('{self.root}')"

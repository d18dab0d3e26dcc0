r"""MovieLens-1M: which movies people like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.files import READ_ERRORS, open_text
from pyg_featgraph.datasets.text import TextFormat
from pyg_featgraph.errors import DataError

_USERS = ('user_id', 'gender', 'age', 'occupation', 'zip')
_MOVIES = ('movie_id', 'title', 'genres')
_URL = 'https://files.grouplens.org/datasets/movielens/ml-1m.zip'


class MovieLens1M(TableDataset):
    r"""The MovieLens-1M ratings: does a user like a film? Ratings above 3 are
    positive, those of 3 are left out.

    The form of the GraphFM paper has 7 fields: gender, age, occupation, zip
    code, release year (by decade before 1970), time of the rating and genres
    (multi-valued). The other form adds the ids of user and film. What is not
    known of a user or film that has ratings is missing.

    Args:
        root (str): The folder with :obj:`ratings.dat` (plain or compressed),
            :obj:`users.dat` and :obj:`movies.dat`.
        download (bool, optional): Whether to fetch the archive of GroupLens,
            whose terms forbid to pass the files on.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
        form (str, optional): :obj:`"graphfm"` or :obj:`"ids"`.
            (default: :obj:`"graphfm"`)
    """

    label = 'label'
    # Before those of 3 are left out:
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 1_000_209}
    single_file = False
    urls: ClassVar[Mapping[str, str]] = {
        name: f'{_URL}#ml-1m/{name}'
        for name in ('ratings.dat', 'users.dat', 'movies.dat')
    }
    sha256: ClassVar[Mapping[str, str]] = {
        _URL: (
            'a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20'
        )
    }
    homepage = 'https://grouplens.org/datasets/movielens/1m/'

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        download: bool = False,
        on_bad_lines: str = 'error',
        form: str = 'graphfm',
    ) -> None:
        if form not in ('graphfm', 'ids'):
            raise ValueError(
                f"'form' must be 'graphfm' or 'ids' (got '{form}')"
            )
        self.form = form
        super().__init__(root, download=download, on_bad_lines=on_bad_lines)
        self._users = self._movies = pd.DataFrame()

    def schema(self, **defaults: Any) -> FieldSchema:
        defaults.setdefault('transform', 'standard')
        return super().schema(**defaults)

    def _kinds(self) -> Mapping[str, str]:
        ids = ('user_id', 'movie_id') if self.form == 'ids' else ()
        return {
            **dict.fromkeys(ids, 'categorical'),
            'timestamp': 'numeric',
            **dict.fromkeys(_USERS[1:], 'categorical'),
            'year': 'categorical',
            'genres': 'multi',
        }

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        self._users = self._read_users()
        self._movies = self._read_movies()
        text = TextFormat(
            ('user_id', 'movie_id', 'rating', 'timestamp'),
            ('timestamp',),
            'rating',
            {str(rating): rating for rating in range(1, 6)},
            delimiter='::',
        )
        return [(self._file('ratings.dat'), text)]

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        df = df[df['rating'] != 3]
        label = (df['rating'] > 3).astype(np.int8)
        df = df[['user_id', 'movie_id', 'timestamp']].assign(label=label)
        df = df.merge(self._users, 'left', 'user_id')
        df = df.merge(self._movies, 'left', 'movie_id')
        if self.form == 'graphfm':
            df = df.drop(columns=['user_id', 'movie_id'])
        return df

    def _read_users(self) -> pd.DataFrame:
        return self._read_side('users.dat', _USERS)

    def _read_movies(self) -> pd.DataFrame:
        df = self._read_side('movies.dat', _MOVIES)
        year = df['title'].str.extract(r'\((\d{4})\)\s*$')[0]
        number = pd.to_numeric(year, errors='coerce')
        # GraphFM has the only film of 1919 with those of the twenties:
        decade = (number // 10 * 10).clip(lower=1920)
        number = number.where(number >= 1970, decade)
        df['year'] = number.map('{:.0f}'.format, na_action='ignore')
        return df[['movie_id', 'year', 'genres']]

    def _read_side(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        # Small files, whose bad lines are never skipped as many ratings may
        # depend on each. Single colons in titles rule out the fast reader.
        path = self._file(name)
        try:
            with open_text(path) as file:
                lines = file.read().decode('latin-1').splitlines()
        except READ_ERRORS as error:
            raise DataError(f"'{path}' cannot be read: {error}") from error
        rows = []
        known: set[str] = set()
        for number, line in enumerate(lines, 1):
            row = line.split('::')
            if not line.strip():
                continue
            if len(row) != len(columns):
                raise DataError(
                    f"'{path}', line {number}: {len(row)} columns instead of "
                    f'{len(columns)}: {line[:80]!r}. Correct the line'
                )
            if row[0] in known:
                raise DataError(
                    f"'{path}', line {number}, column '{columns[0]}': "
                    f'{row[0]!r} stood in an earlier line. Remove one of them'
                )
            known.add(row[0])
            rows.append(row)
        if not rows:
            raise DataError(f"'{path}' is empty")
        return pd.DataFrame(rows, columns=list(columns), dtype='str')

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.reader import TextFormat
from pyg_featgraph.errors import DataError

# With a single colon as delimiter there is an empty column between two:
_RATINGS = ('user_id', '_1', 'movie_id', '_2', 'rating', '_3', 'timestamp')


class MovieLens1M(TableDataset):
    r"""The MovieLens-1M ratings: does a user like a film? Ratings above 3 are
    positive, those of 3 are left out.

    The form of the GraphFM paper has 7 fields: gender, age, occupation, zip
    code, release year (by decade before 1970), time of the rating and genres
    (multi-valued). The other form adds the ids of user and film.

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
    urls: ClassVar[Mapping[str, str]] = {
        name: (
            'https://files.grouplens.org/datasets/movielens/ml-1m.zip'
            f'#ml-1m/{name}'
        )
        for name in ('ratings.dat', 'users.dat', 'movies.dat')
    }
    homepage = 'https://grouplens.org/datasets/movielens/1m/'

    def __init__(
        self,
        root: str | os.PathLike[str],
        download: bool = False,
        on_bad_lines: str = 'error',
        form: str = 'graphfm',
    ) -> None:
        if form not in ('graphfm', 'ids'):
            raise ValueError(
                f"'form' must be 'graphfm' or 'ids' (got '{form}')"
            )
        self.form = form
        super().__init__(root, download, on_bad_lines)
        self._users = self._movies = pd.DataFrame()

    def schema(self, **defaults: Any) -> FieldSchema:
        defaults.setdefault('transform', 'standard')
        df = self.frame(nrows=100)
        return FieldSchema.infer(
            df, self.label, {'genres': {'kind': 'multi'}}, **defaults
        )

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        self._users = self._read_users()
        self._movies = self._read_movies()
        text = TextFormat(
            _RATINGS,
            ('timestamp',),
            'rating',
            {str(rating): rating for rating in range(1, 6)},
            delimiter=':',
        )
        return [(self._file('ratings.dat', 'ratings.dat.gz'), text)]

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
        fields = self._lines('users.dat').str.split('::', n=4, expand=True)
        fields.columns = ['user_id', 'gender', 'age', 'occupation', 'zip']
        return fields

    def _read_movies(self) -> pd.DataFrame:
        lines = self._lines('movies.dat')
        fields = lines.str.split('::', n=2, expand=True)
        fields.columns = ['movie_id', 'title', 'genres']
        year = fields['title'].str.extract(r'\((\d{4})\)\s*$')[0]
        number = pd.to_numeric(year, errors='coerce')
        decade = (number // 10 * 10).clip(lower=1910)
        year = number.where(number >= 1970, decade)
        fields['year'] = year.map('{:.0f}'.format, na_action='ignore')
        return fields[['movie_id', 'year', 'genres']]

    def _lines(self, name: str) -> pd.Series:
        path = self.root / name
        if not path.is_file():
            raise DataError(
                f"'{name}' is not in '{self.root}'. Pass download=True to "
                'fetch it'
            )
        text = path.read_text(encoding='latin-1')
        return pd.Series(text.splitlines(), dtype='str')

r"""Avazu: which advertisements on mobile devices are clicked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from pyg_featgraph.data import Field, FieldSchema
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.files import find_file
from pyg_featgraph.datasets.text import TextFormat

# The order of the columns in the original file:
COLUMNS = (
    *('id', 'click', 'hour', 'C1', 'banner_pos', 'site_id', 'site_domain'),
    *('site_category', 'app_id', 'app_domain', 'app_category', 'device_id'),
    *('device_ip', 'device_model', 'device_type', 'device_conn_type'),
    *('C14', 'C15', 'C16', 'C17', 'C18', 'C19', 'C20', 'C21'),
)
_HOUR = (
    r'^\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])$',
    'a date and hour YYMMDDHH',
)


class Avazu(TableDataset):
    r"""The click log of the Avazu challenge: 40,428,967 rows, all categories.

    Args:
        root (str): The file :obj:`train.csv`, plain or compressed, or its
            folder.
        download (bool, optional): Not possible: the licence does not allow
            it. (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
        keep_id (bool, optional): Whether to keep the identifier of the row,
            which GraphFM's preprocessing does. (default: :obj:`False`)
        split_hour (bool, optional): Whether :obj:`hour` (YYMMDDHH), of which
            no value ever comes again, is split into the hour of the day and
            the day of the week. (default: :obj:`True`)
    """

    label = 'click'
    homepage = 'https://www.kaggle.com/c/avazu-ctr-prediction'

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        download: bool = False,
        on_bad_lines: str = 'error',
        keep_id: bool = False,
        split_hour: bool = True,
    ) -> None:
        self.keep_id = keep_id
        self.split_hour = split_hour
        super().__init__(root, download=download, on_bad_lines=on_bad_lines)

    def schema(self, **defaults: Any) -> FieldSchema:
        defaults.setdefault('min_count', 5)
        names = [c for c in COLUMNS if c != self.label]
        if not self.keep_id:
            names.remove('id')
        if self.split_hour:
            names.append('weekday')
        fields = tuple(Field(c, 'categorical', **defaults) for c in names)
        return FieldSchema(fields, self.label)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(
            COLUMNS,
            (),
            self.label,
            header=True,
            patterns={'hour': _HOUR} if self.split_hour else {},
        )
        return [(self._path(), text)]

    def _path(self) -> Path:
        # On Kaggle it is train.gz, without the csv:
        return find_file(self.root, 'train') or self._file('train.csv')

    def _published(self, split: str | None) -> int | None:
        # Other names stand for samples:
        return 40_428_967 if self._path().stem.startswith('train') else None

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        if not self.keep_id:
            df = df.drop(columns='id')
        if self.split_hour:
            date = pd.to_datetime(
                df['hour'].str[:6], format='%y%m%d', errors='coerce'
            )
            # By integers that can be missing, lest a day become "1.0":
            day = date.dt.day_of_week.astype('Int64')
            df['weekday'] = day.astype('str')
            df['hour'] = df['hour'].str[6:]
        return df

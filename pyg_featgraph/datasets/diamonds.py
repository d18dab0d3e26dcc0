r"""Diamonds: what they cost."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat
from pyg_featgraph.errors import DataError

NUMERIC = ('carat', 'depth', 'table', 'x', 'y', 'z')
#: The grades of the categories, the worst one first.
GRADES: Mapping[str, tuple[str, ...]] = {
    'cut': ('Fair', 'Good', 'Very Good', 'Premium', 'Ideal'),
    'color': ('J', 'I', 'H', 'G', 'F', 'E', 'D'),
    'clarity': ('I1', 'SI2', 'SI1', 'VS2', 'VS1', 'VVS2', 'VVS1', 'IF'),
}
COLUMNS = (
    *('carat', 'cut', 'color', 'clarity', 'depth', 'table', 'price'),
    *('x', 'y', 'z'),
)
_URL = (
    'https://raw.githubusercontent.com/mwaskom/seaborn-data/master/diamonds.csv'
)


class Diamonds(TableDataset):
    r"""The prices of diamonds in US dollars, as they come with ggplot2 and
    seaborn: 6 numbers and 3 ordered categories, 53,940 rows. The label is a
    number.

    The categories are ordered ones of pandas, the worst grade first.

    Args:
        root (str): The file :obj:`diamonds.csv`, or its folder.
        download (bool, optional): Whether to fetch it.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
        log (bool, optional): Whether the label is the natural logarithm of
            the price, :obj:`"log_price"`, in place of :obj:`"price"`.
            (default: :obj:`False`)
    """

    label = 'price'
    task = 'regression'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 53_940}
    kinds: ClassVar[Mapping[str, str]] = {
        name: 'numeric' if name in NUMERIC else 'categorical'
        for name in COLUMNS
        if name != 'price'
    }
    urls: ClassVar[Mapping[str, str]] = {'diamonds.csv': _URL}
    sha256: ClassVar[Mapping[str, str]] = {
        _URL: (
            '9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4'
        )
    }
    homepage = 'https://ggplot2.tidyverse.org/reference/diamonds.html'

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        download: bool = False,
        on_bad_lines: str = 'error',
        log: bool = False,
    ) -> None:
        self.log = log
        if log:
            self.label = 'log_price'
        super().__init__(root, download=download, on_bad_lines=on_bad_lines)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(
            COLUMNS,
            NUMERIC,
            'price',
            None,
            header=True,
            quoted=True,
            patterns={
                name: (f'^({"|".join(grades)})$', f'one of {list(grades)}')
                for name, grades in GRADES.items()
            },
        )
        return [(self._file('diamonds.csv'), text)]

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        grades = {
            name: pd.Categorical(df[name], grades, ordered=True)
            for name, grades in GRADES.items()
        }
        df = df.assign(**grades)
        if self.log:
            if (df['price'] <= 0).any():
                raise DataError(
                    f"'{self.root}', column 'price': {df['price'].min():g} "
                    'has no logarithm. Correct the line, or pass log=False'
                )
            df['price'] = np.log(df['price'])
        return df.rename(columns={'price': self.label})

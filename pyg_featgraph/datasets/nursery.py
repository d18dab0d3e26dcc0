r"""Nursery: how urgent applications for nursery schools are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat

COLUMNS = (
    *('parents', 'has_nurs', 'form', 'children', 'housing', 'finance'),
    *('social', 'health', 'class'),
)
CLASSES = ('not_recom', 'recommend', 'very_recom', 'priority', 'spec_prior')
_URL = (
    'https://archive.ics.uci.edu/ml/machine-learning-databases/nursery/'
    'nursery.data'
)


class Nursery(TableDataset):
    r"""The Nursery data of UCI, CC BY 4.0: how urgent is an application?
    8 categories, and every combination of their values once, which makes
    12,960 rows. The label is the name of one of five classes.

    The class :obj:`"recommend"` has two rows, too few for training, validation
    and test rows, so by default they are left out.

    Args:
        root (str): The file :obj:`nursery.data`, or its folder.
        download (bool, optional): Whether to fetch it.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
        keep_rare (bool, optional): Whether to keep the two rows and their
            class. (default: :obj:`False`)
    """

    label = 'class'
    task = 'multiclass'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 12_960}
    kinds: ClassVar[Mapping[str, str]] = dict.fromkeys(
        COLUMNS[:-1], 'categorical'
    )
    urls: ClassVar[Mapping[str, str]] = {'nursery.data': _URL}
    homepage = 'https://archive.ics.uci.edu/dataset/76/nursery'

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        download: bool = False,
        on_bad_lines: str = 'error',
        keep_rare: bool = False,
    ) -> None:
        self.keep_rare = keep_rare
        super().__init__(root, download=download, on_bad_lines=on_bad_lines)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        labels = {name: number for number, name in enumerate(CLASSES)}
        text = TextFormat(COLUMNS, (), self.label, labels)
        return [(self._file('nursery.data'), text)]

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        names = df[self.label].map(dict(enumerate(CLASSES)))
        df = df.assign(**{self.label: names})
        return df if self.keep_rare else df[df[self.label] != 'recommend']

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.reader import TextFormat

NUMERIC = (
    *('age', 'duration', 'campaign', 'pdays', 'previous', 'emp.var.rate'),
    *('cons.price.idx', 'cons.conf.idx', 'euribor3m', 'nr.employed'),
)
COLUMNS = (
    *('age', 'job', 'marital', 'education', 'default', 'housing', 'loan'),
    *('contact', 'month', 'day_of_week', 'duration', 'campaign', 'pdays'),
    *('previous', 'poutcome', 'emp.var.rate', 'cons.price.idx'),
    *('cons.conf.idx', 'euribor3m', 'nr.employed', 'y'),
)


class BankMarketing(TableDataset):
    r"""The Bank Marketing data of UCI, CC BY 4.0: does a client subscribe?
    10 numbers and 10 categories, 41,188 rows
    (:obj:`bank-additional-full.csv`).

    The column :obj:`duration` is known only after the call and makes most of
    the published AUC of about .94; drop it for a realistic model.

    Args:
        root (str): The file, or its folder.
        download (bool, optional): Whether to fetch it.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'y'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 41_188}
    urls: ClassVar[Mapping[str, str]] = {
        'bank-additional-full.csv': (
            'https://archive.ics.uci.edu/ml/machine-learning-databases/00222/'
            'bank-additional.zip#bank-additional/bank-additional-full.csv'
        )
    }
    homepage = 'https://archive.ics.uci.edu/dataset/222/bank+marketing'

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        name = 'bank-additional-full.csv'
        path = self._file(name, f'bank-additional/{name}')
        text = TextFormat(
            COLUMNS,
            NUMERIC,
            self.label,
            {'no': 0, 'yes': 1},
            delimiter=';',
            header=True,
            quoted=True,
        )
        return [(path, text)]

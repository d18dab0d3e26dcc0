r"""Bank Marketing: who takes out a deposit after a call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.files import find_file
from pyg_featgraph.datasets.text import TextFormat

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
_ARCHIVES = ('bank-additional.zip', 'bank+marketing.zip')


class BankMarketing(TableDataset):
    r"""The Bank Marketing data of UCI, CC BY 4.0: does a client subscribe?
    10 numbers and 10 categories, 41,188 rows
    (:obj:`bank-additional-full.csv`).

    The column :obj:`duration` is known only after the call and makes most of
    the published AUC of about .94; drop it for a realistic model.

    Values seen less than five times are rare, as in the FIVES paper, whose
    buckets are :obj:`schema(transform="equal_width")`.

    Args:
        root (str): The file, one of the archives :obj:`bank-additional.zip`
            and :obj:`bank+marketing.zip` of UCI, or the folder of any.
        download (bool, optional): Whether to fetch it.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'y'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 41_188}
    kinds: ClassVar[Mapping[str, str]] = {
        name: 'numeric' if name in NUMERIC else 'categorical'
        for name in COLUMNS[:-1]
    }
    urls: ClassVar[Mapping[str, str]] = {
        'bank-additional-full.csv': (
            'https://archive.ics.uci.edu/ml/machine-learning-databases/00222/'
            'bank-additional.zip#bank-additional/bank-additional-full.csv'
        )
    }
    homepage = 'https://archive.ics.uci.edu/dataset/222/bank+marketing'

    def schema(self, **defaults: Any) -> FieldSchema:
        defaults.setdefault('min_count', 5)
        return super().schema(**defaults)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        name = 'bank-additional-full.csv'
        places = (name, f'bank-additional/{name}', *_ARCHIVES)
        found = (find_file(self.root, place) for place in places)
        path = next((path for path in found if path), None)
        text = TextFormat(
            COLUMNS,
            NUMERIC,
            self.label,
            {'no': 0, 'yes': 1},
            delimiter=';',
            header=True,
            quoted=True,
            member=name,
        )
        return [(path or self._file(name), text)]

r"""Give Me Some Credit: who runs into financial distress."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat

NUMERIC = (
    'RevolvingUtilizationOfUnsecuredLines',
    'age',
    'NumberOfTime30-59DaysPastDueNotWorse',
    'DebtRatio',
    'MonthlyIncome',
    'NumberOfOpenCreditLinesAndLoans',
    'NumberOfTimes90DaysLate',
    'NumberRealEstateLoansOrLines',
    'NumberOfTime60-89DaysPastDueNotWorse',
    'NumberOfDependents',
)


class GiveMeSomeCredit(TableDataset):
    r"""The Give Me Some Credit challenge: does a borrower come into distress?
    10 numbers, 150,000 rows with labels.

    Several columns are so long-tailed that buckets of equal width, as in the
    FIVES paper, put almost all rows into one.

    Args:
        root (str): The file :obj:`cs-training.csv`, or its folder.
        download (bool, optional): Not possible: the licence does not allow
            it. (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'SeriousDlqin2yrs'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 150_000}
    kinds: ClassVar[Mapping[str, str]] = dict.fromkeys(NUMERIC, 'numeric')
    homepage = 'https://www.kaggle.com/c/GiveMeSomeCredit'

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(
            (self.label, *NUMERIC),
            NUMERIC,
            self.label,
            header=True,
            quoted=True,
            missing=('', 'NA', 'nan', 'NaN'),
        )
        return [(self._file('cs-training.csv'), text)]

r"""Telco Customer Churn: who leaves a telephone company."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat

NUMERIC = ('tenure', 'MonthlyCharges', 'TotalCharges')
COLUMNS = (
    *('customerID', 'gender', 'SeniorCitizen', 'Partner', 'Dependents'),
    *('tenure', 'PhoneService', 'MultipleLines', 'InternetService'),
    *('OnlineSecurity', 'OnlineBackup', 'DeviceProtection', 'TechSupport'),
    *('StreamingTV', 'StreamingMovies', 'Contract', 'PaperlessBilling'),
    *('PaymentMethod', 'MonthlyCharges', 'TotalCharges', 'Churn'),
)
_NAME = 'Telco-Customer-Churn.csv'
_URL = (
    'https://raw.githubusercontent.com/IBM/telco-customer-churn-on-icp4d/'
    f'd5371f5d83a446ad5673cbcca3b814b926491f8a/data/{_NAME}'
)


class TelcoChurn(TableDataset):
    r"""The Telco Customer Churn sample of IBM, Apache 2.0: does a customer
    leave? 3 numbers and 16 categories, 7,043 rows.

    The number of the customer is left out. The eleven customers of the first
    month have no total charges yet, which is a missing entry.

    Args:
        root (str): The file :obj:`Telco-Customer-Churn.csv`, or its folder.
        download (bool, optional): Whether to fetch it.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'Churn'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 7_043}
    kinds: ClassVar[Mapping[str, str]] = {
        name: 'numeric' if name in NUMERIC else 'categorical'
        for name in COLUMNS[1:-1]
    }
    urls: ClassVar[Mapping[str, str]] = {_NAME: _URL}
    sha256: ClassVar[Mapping[str, str]] = {
        _URL: (
            '16320c9c1ec72448db59aa0a26a0b95401046bef5d02fd3aeb906448e3055e91'
        )
    }
    homepage = 'https://github.com/IBM/telco-customer-churn-on-icp4d'

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(
            COLUMNS, NUMERIC, self.label, {'No': 0, 'Yes': 1}, header=True
        )
        return [(self._file(_NAME), text)]

    def _finish(self, df: pd.DataFrame) -> pd.DataFrame:
        return df.drop(columns='customerID')

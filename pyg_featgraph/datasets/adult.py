r"""Adult: who earns more than 50,000 dollars a year."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat

NUMERIC = (
    *('age', 'fnlwgt', 'education_num'),
    *('capital_gain', 'capital_loss', 'hours_per_week'),
)
COLUMNS = (
    *('age', 'workclass', 'fnlwgt', 'education', 'education_num'),
    *('marital_status', 'occupation', 'relationship', 'race', 'sex'),
    *('capital_gain', 'capital_loss', 'hours_per_week', 'native_country'),
    'income',
)
_URL = 'https://archive.ics.uci.edu/ml/machine-learning-databases/adult/'


class Adult(TableDataset):
    r"""The Adult (Census Income) data of UCI, CC BY 4.0: does a person earn
    more than 50,000 dollars? 6 numbers and 8 categories.

    The official parts are :obj:`"train"` (32,561 rows) and :obj:`"test"`
    (16,281 rows).

    Values seen less than five times are rare, as in the FIVES paper, whose
    buckets are :obj:`schema(transform="equal_width")`.

    Args:
        root (str): The folder with :obj:`adult.data` and :obj:`adult.test`.
        download (bool, optional): Whether to fetch them.
            (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'income'
    splits = ('train', 'test')
    single_file = False
    published_rows: ClassVar[Mapping[str | None, int]] = {
        'train': 32_561,
        'test': 16_281,
        None: 48_842,
    }
    kinds: ClassVar[Mapping[str, str]] = {
        name: 'numeric' if name in NUMERIC else 'categorical'
        for name in COLUMNS[:-1]
    }
    urls: ClassVar[Mapping[str, str]] = {
        name: _URL + name for name in ('adult.data', 'adult.test')
    }
    sha256: ClassVar[Mapping[str, str]] = {
        f'{_URL}adult.data': (
            '5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d'
        ),
        f'{_URL}adult.test': (
            'a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05'
        ),
    }
    homepage = 'https://archive.ics.uci.edu/dataset/2/adult'

    def schema(self, **defaults: Any) -> FieldSchema:
        defaults.setdefault('min_count', 5)
        return super().schema(**defaults)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(
            COLUMNS,
            NUMERIC,
            self.label,
            # The test part has a dot behind its labels:
            {'<=50K': 0, '>50K': 1, '<=50K.': 0, '>50K.': 1},
            missing=('?', '', 'nan', 'NaN'),
            skip=lambda line: line.startswith('|'),
        )
        names = {'train': 'adult.data', 'test': 'adult.test'}
        return [
            (self._file(name), text)
            for part, name in names.items()
            if split in (part, None)
        ]

r"""Employee Access: which requests of employees are granted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.text import TextFormat

COLUMNS = (
    *('ACTION', 'RESOURCE', 'MGR_ID', 'ROLE_ROLLUP_1', 'ROLE_ROLLUP_2'),
    *('ROLE_DEPTNAME', 'ROLE_TITLE', 'ROLE_FAMILY_DESC', 'ROLE_FAMILY'),
    'ROLE_CODE',
)


class EmployeeAccess(TableDataset):
    r"""The Amazon Employee Access challenge: is access granted? 9 anonymous
    categories, 32,769 rows with labels.

    By default all categories are kept, as the rare ones tell much here; the
    FIVES paper has :obj:`schema(min_count=5)`.

    Args:
        root (str): The file :obj:`train.csv`, or its folder.
        download (bool, optional): Not possible: the licence does not allow
            it. (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'ACTION'
    published_rows: ClassVar[Mapping[str | None, int]] = {None: 32_769}
    kinds: ClassVar[Mapping[str, str]] = dict.fromkeys(
        COLUMNS[1:], 'categorical'
    )
    homepage = 'https://www.kaggle.com/c/amazon-employee-access-challenge'

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        text = TextFormat(COLUMNS, (), self.label, header=True)
        return [(self._file('train.csv'), text)]

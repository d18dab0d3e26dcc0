r"""Criteo: which display advertisements are clicked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyg_featgraph.data import Field, FieldSchema, RowFiles
from pyg_featgraph.datasets.base import TableDataset
from pyg_featgraph.datasets.files import SUFFIXES, find_file, first_line
from pyg_featgraph.datasets.text import TextFormat
from pyg_featgraph.errors import DataError

NUMERIC = tuple(f'I{i}' for i in range(1, 14))
CATEGORICAL = tuple(f'C{i}' for i in range(1, 27))


class Criteo(TableDataset):
    r"""The click logs of Criteo: a label, 13 counts and 26 categories.

    The format is the original one, tab separated without header and with
    empty missing entries, as in the Kaggle challenge (:obj:`train.txt`,
    45,840,617 rows) and the Terabyte log (:obj:`day_0` and on). Files with
    commas, or with a header, are recognised by their first line.

    The schema leaves how counts are encoded to the data
    (:obj:`transform="auto"`); a category has a vector of its own if more than
    ten training rows have it, as in the GraphFM paper. That paper has
    :math:`\lfloor \ln^2 x \rfloor` of counts, which is
    :obj:`schema(transform="log_square")`: for models that normalise it, since
    values of hundreds are too much for others.

    Args:
        root (str): The file, plain or compressed, or a folder with
            :obj:`train.txt` or files :obj:`day_*`.
        download (bool, optional): Not possible: the licence does not allow
            it. (default: :obj:`False`)
        on_bad_lines (str, optional): See
            :class:`~pyg_featgraph.datasets.TableDataset`.
            (default: :obj:`"error"`)
    """

    label = 'label'
    homepage = 'https://ailab.criteo.com/ressources/'

    def schema(self, **defaults: Any) -> FieldSchema:
        min_count = defaults.pop('min_count', 11)
        numeric = [Field(name, 'numeric', 1, **defaults) for name in NUMERIC]
        categorical = [
            Field(name, 'categorical', min_count) for name in CATEGORICAL
        ]
        return FieldSchema((*numeric, *categorical), self.label)

    def _sources(self, split: str | None) -> list[tuple[Path, TextFormat]]:
        return [(path, self._format(path)) for path in self._paths()]

    def _paths(self, chosen: Sequence[int] | None = None) -> list[Path]:
        if chosen is None:
            if self.root.is_file():
                return [self.root]
            train = find_file(self.root, 'train.txt')
            if train is not None:
                return [train]
        days = {
            # A day may lie there plain and compressed:
            int(path.stem[4:]): path
            for path in sorted(self.root.glob('day_*'), reverse=True)
            if path.suffix in SUFFIXES and path.stem[4:].isdecimal()
        }
        if not days:
            raise DataError(
                f"Neither train.txt nor day_* is in '{self.root}'. "
                + self._where_to_get()
            )
        absent = sorted({*(chosen or ())} - {*days})
        if absent:
            raise DataError(
                f"There are no days {absent} in '{self.root}', but "
                f'{sorted(days)}'
            )
        return [days[day] for day in sorted(days if chosen is None else chosen)]

    def files(self, days: Sequence[int] | None = None) -> RowFiles:
        r"""The files as they are, to be encoded at full speed: faster than the
        rows of :obj:`chunks`, since lines are not looked at one by one.

        Args:
            days (list of int, optional): The numbers of files :obj:`day_*`.
                (default: all files)

        Raises:
            DataError: If there are no such files.
        """
        paths = self._paths(days)
        text = self._format(paths[0])
        return RowFiles(
            paths,
            names=None if text.header else text.names,
            delimiter=text.delimiter,
            quoted=False,
            missing=text.missing,
        )

    def _published(self, split: str | None) -> int | None:
        # Other names stand for samples and the Terabyte log:
        whole = self._paths()[0].name.startswith('train.txt')
        return 45_840_617 if whole else None

    def _format(self, path: Path) -> TextFormat:
        line = first_line(path)
        names = (self.label, *NUMERIC, *CATEGORICAL)
        return TextFormat(
            names,
            NUMERIC,
            self.label,
            # Tabs unless there are clearly commas: the line may be broken.
            delimiter=',' if line.count(',') > 20 else '\t',
            header=line.startswith('label'),
        )

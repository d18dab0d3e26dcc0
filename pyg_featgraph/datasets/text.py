r"""How tables are written as text, and what to do with bad lines."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import MISSING_TEXTS


@dataclass
class BadLines:
    r"""What to do with lines that cannot be used, and a count of them.

    Args:
        policy (str): :obj:`"error"` raises a :class:`DataError` at the first
            one, :obj:`"skip"` leaves them out.
    """

    policy: str = 'error'
    count: int = 0
    first: str = ''

    def __post_init__(self) -> None:
        if self.policy not in ('error', 'skip'):
            raise ValueError(
                f"'on_bad_lines' must be 'error' or 'skip' (got "
                f"'{self.policy}')"
            )

    def add(self, message: str, count: int = 1) -> None:
        r"""Takes note of bad lines, of which the message tells the first."""
        if self.policy == 'error':
            raise DataError(
                f"{message}. Correct the line, or pass on_bad_lines='skip' "
                'to leave out lines like this'
            )
        self.first = self.first or message
        self.count += count

    def report(self) -> None:
        r"""Warns about what was left out."""
        if self.count:
            warnings.warn(
                f'{self.count} bad lines were left out; the first: '
                f'{self.first}',
                stacklevel=3,
            )


@dataclass(frozen=True)
class TextFormat:
    r"""How a table is written as text.

    Args:
        names (tuple of str): The columns of the file, in order.
        numeric (tuple of str): Those that hold numbers.
        label (str): The one that holds the label.
        labels (dict, optional): The label of each text that may stand
            there; :obj:`None` if it is a number. (default: 0 and 1)
        delimiter (str): What separates columns, a character or the same
            twice. (default: :obj:`","`)
        header (bool): Whether the first line holds the names.
            (default: :obj:`False`)
        quoted (bool): Whether texts can stand in double quotes.
            (default: :obj:`False`)
        missing (tuple of str): The texts that stand for a missing entry.
            (default: empty and not-a-number)
        patterns (dict): For categorical columns, the regular expression of
            the texts that may stand there, and what it means in words.
            (default: none)
        member (str): The name of the file within a zip archive of several.
            (default: :obj:`""`)
        skip (callable, optional): Which lines at the top are no data.
            (default: :obj:`None`)
    """

    names: tuple[str, ...]
    numeric: tuple[str, ...]
    label: str
    labels: Mapping[str, int] | None = field(
        default_factory=lambda: {'0': 0, '1': 1, '0.0': 0, '1.0': 1}
    )
    delimiter: str = ','
    header: bool = False
    quoted: bool = False
    missing: tuple[str, ...] = MISSING_TEXTS
    patterns: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    member: str = ''
    skip: Callable[[str], bool] | None = None

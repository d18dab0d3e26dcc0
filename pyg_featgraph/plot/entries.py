r"""What figures of rankings take: any sequence of entries with scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Entry(Protocol):
    r"""Fields with a score, such as
    :class:`~pyg_featgraph.interactions.Interaction`.
    """

    @property
    def fields(self) -> tuple[str, ...]:
        r"""The names of the fields."""

    @property
    def score(self) -> float:
        r"""How much they matter together."""


def head(entries: Sequence[Entry], top: int | None) -> Sequence[Entry]:
    r"""The first :obj:`top` entries, or all if it is :obj:`None`."""
    if top is not None and top < 0:
        raise ValueError(
            f'The number of entries must not be negative (got {top})'
        )
    return entries[:top]

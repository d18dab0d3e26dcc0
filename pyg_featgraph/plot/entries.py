r"""What figures of rankings take: any sequence of entries with scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pyg_featgraph.plot.figure import short


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


def detail(entry: Entry, name: str) -> Any:
    r"""What an entry has to say beyond its score, if it has."""
    return getattr(entry, 'detail', {}).get(name)


def order_name(order: int) -> str:
    r"""What sets of so many fields are called."""
    names = {1: 'single fields', 2: 'pairs', 3: 'triples'}
    return names.get(order, f'sets of {order}')


def ranking_name(entries: Sequence[Entry]) -> str:
    r"""What a ranking holds, and of which method."""
    orders = {len(x.fields) for x in entries}
    name = order_name(*orders) if len(orders) == 1 else 'interactions'
    sources = {getattr(x, 'source', '') for x in entries} - {''}
    if len(sources) != 1:
        return name
    return f'{name} of {short(next(iter(sources)), 40)}'


def score_name(entries: Sequence[Entry]) -> str:
    r"""What the scores of entries are, and on how many rows they were
    measured.
    """
    units = {detail(x, 'unit') for x in entries}
    rows = {detail(x, 'rows') for x in entries}
    parts = [*units] if len(units) == 1 and units != {None} else ['score']
    if len(rows) == 1 and rows != {None}:
        parts.append(f'{next(iter(rows)):,} rows')
    return ', '.join(parts)


def count_true(
    entries: Sequence[Entry],
    ranking: Sequence[Entry],
    truth: Iterable[frozenset[str]],
) -> str:
    r"""How many true interactions some entries of a ranking hold, of each
    order that the ranking has: one of pairs cannot hold a triple.
    """
    true = {*truth}
    orders = {len(x.fields) for x in ranking}
    parts = [
        (
            sum({*x.fields} in true for x in entries if len(x.fields) == n),
            sum(len(x) == n for x in true),
            order_name(n),
        )
        for n in sorted(orders)
    ]
    parts = [x for x in parts if x[1]] or parts
    return ', '.join(
        f'{found} of {total} {name}' for found, total, name in parts
    )

r"""Tables that notebooks show."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyg_featgraph.plot.entries import Entry

# The colours of figures, for positive and negative numbers:
_COLOURS = ('#56B4E9', '#E69F00')


def html_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    bars: int | None = None,
    note: str = '',
) -> str:
    r"""A table as HTML, all texts escaped.

    Args:
        title (str): What stands above it.
        columns (list of str): The names of the columns.
        rows (list of list): The cells: texts, or numbers, which have four
            digits.
        bars (int, optional): A column of numbers that has bars beside it, as
            long as they are large. (default: none)
        note (str, optional): What stands below it. (default: :obj:`""`)
    """
    longest = 0.0
    if bars is not None:
        longest = max((abs(row[bars]) for row in rows), default=0.0)
    head = ''.join(_cell('th', escape(name)) for name in columns)
    body = []
    for row in rows:
        cells = []
        for i, x in enumerate(row):
            text = f'{x:.4g}' if isinstance(x, float) else str(x)
            text = escape(text)
            if i == bars:
                text = _with_bar(text, x, longest)
            cells.append(_cell('td', text))
        body.append(f'<tr>{"".join(cells)}</tr>')
    out = f'<b>{escape(title)}</b>'
    if rows:
        out += f'<table><thead><tr>{head}</tr></thead>'
        out += f'<tbody>{"".join(body)}</tbody></table>'
    if note:
        out += f'<div>{escape(note)}</div>'
    return f'<div>{out}</div>'


def ranking_html(found: Sequence[Entry]) -> str:
    r"""The head of a ranking as HTML.

    Args:
        found (sequence): The ranking, such as an
            :class:`~pyg_featgraph.interactions.InteractionSet`.
    """
    from pyg_featgraph.plot.entries import (
        detail,
        head,
        ranking_name,
        score_name,
    )

    if not found:
        return html_table('no interactions found', [], [])
    shown = head(found, 20)
    unit = score_name(shown)
    columns = ['rank', 'fields', 'score']
    rows = [
        [rank, ' x '.join(x.fields), x.score]
        for rank, x in enumerate(shown, start=1)
    ]
    intervals = [detail(x, 'interval') for x in shown]
    if any(ends is not None for ends in intervals):
        columns.append('95 % interval')
        for row, ends in zip(rows, intervals, strict=True):
            row.append(' to '.join(f'{end:.4g}' for end in ends or ()))
    return html_table(
        f'{len(shown)} of {len(found)} {ranking_name(found)}',
        columns,
        rows,
        bars=2,
        note='' if unit == 'score' else f'score: {unit}',
    )


def _cell(tag: str, text: str) -> str:
    return f'<{tag} style="text-align:left">{text}</{tag}>'


def _with_bar(text: str, value: float, longest: float) -> str:
    width = 120 * abs(value) / longest if longest else 0
    style = f'width:{width:.0f}px;background:{_COLOURS[value < 0]}'
    # Numbers begin at the same place, whatever the length of a bar:
    return (
        '<span style="white-space:nowrap">'
        '<span style="display:inline-block;width:126px">'
        f'<span style="display:inline-block;height:0.8em;{style}"></span>'
        f'</span>{text}</span>'
    )

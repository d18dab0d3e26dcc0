r"""Two rankings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from textwrap import fill
from typing import TYPE_CHECKING

from pyg_featgraph.plot.entries import Entry, head, ranking_name
from pyg_featgraph.plot.figure import (
    PLAIN,
    names_width,
    new_figure,
    say,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ALONE = '#999999'


def plot_comparison(
    one: Sequence[Entry],
    two: Sequence[Entry],
    top: int = 20,
    titles: tuple[str, str] | None = None,
) -> Figure:
    r"""Draws the heads of two rankings side by side, with a line between the
    ranks of each interaction that both hold; scores of different methods have
    no common unit. Names that only one of them holds are grey, with their rank
    in the other one if it is behind.

    Args:
        one (sequence): The ranking on the left, such as an
            :class:`~pyg_featgraph.interactions.InteractionSet`.
        two (sequence): The ranking on the right.
        top (int, optional): How many entries to show of each.
            (default: :obj:`20`)
        titles (tuple of str, optional): What stands above them. (default: what
            they hold, and of which method)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    if top < 1:
        raise ValueError(f"'top' must be at least 1 (got {top})")
    if titles is None:
        titles = (ranking_name(one), ranking_name(two))
    heads = [[x.fields for x in head(entries, top)] for entries in (one, two)]
    names = [
        [_name(fields, other, top) for fields in shown]
        for shown, other in zip(heads, (two, one), strict=True)
    ]
    longest = max(map(len, names))
    figure = new_figure(
        3 + names_width(chain(*names)) * 2, 1.2 + 0.24 * max(longest, 1)
    )
    axis = figure.add_subplot()
    if not longest:
        say(axis, 'no interactions found')
        return figure
    common = [
        (i, heads[1].index(x)) for i, x in enumerate(heads[0]) if x in heads[1]
    ]
    for pair in common:
        axis.plot([0, 1], pair, color=PLAIN, marker='o', markersize=4)
    for side, right in ((axis, 0), (axis.twinx(), 1)):
        shared = {pair[right] for pair in common}
        count = len(heads[right])
        alone = [i for i in range(count) if i not in shared]
        side.plot([right] * len(alone), alone, 'o', color=_ALONE, markersize=4)
        side.set_yticks(range(count), names[right], fontsize=8)
        for i, label in enumerate(side.get_yticklabels()):
            label.set_color('black' if i in shared else _ALONE)
        side.set_ylim(longest - 0.5, -0.5)
    axis.set_xlim(-0.05, 1.05)
    axis.set_xticks([0, 1], [fill(x, 26) for x in titles], fontsize=9)
    axis.xaxis.tick_top()
    axis.set_title(f'{len(common)} of the first {longest} in common')
    return figure


def _name(fields: tuple[str, ...], other: Sequence[Entry], top: int) -> str:
    name = ' x '.join(map(short, fields))
    rank = next((i for i, x in enumerate(other, 1) if x.fields == fields), None)
    if rank is None:
        return f'{name} (not there)'
    return name if rank <= top else f'{name} ({rank} there)'

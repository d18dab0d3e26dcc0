r"""The head of a ranking as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pyg_featgraph.plot.entries import (
    Entry,
    count_true,
    detail,
    head,
    ranking_name,
    score_name,
)
from pyg_featgraph.plot.figure import (
    INTERVALS,
    MARKED,
    PLAIN,
    draw_intervals,
    label_patch,
    names_width,
    new_figure,
    say,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_interactions(
    interactions: Sequence[Entry],
    top: int | None = 20,
    truth: Iterable[Iterable[str]] | None = None,
) -> Figure:
    r"""Draws the head of a ranking as bars, with the intervals of the scores
    that have one.

    Args:
        interactions (InteractionSet): The ranking, or any other sequence of
            entries with :obj:`fields` and :obj:`score`; those with
            :obj:`detail["interval"]` have a line from its lower to its upper
            end. What the scores are, :obj:`detail["unit"]` and
            :obj:`detail["rows"]` say.
        top (int, optional): How many entries to show, :obj:`None` for all.
            (default: :obj:`20`)
        truth (iterable of tuple, optional): Interactions to mark, such as
            those planted in a synthetic table. The legend counts those of
            the orders that the ranking has. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    shown = head(interactions, top)
    true = {frozenset(fields) for fields in truth or ()}
    marked = [{*x.fields} in true for x in shown]
    names = [' x '.join(map(short, x.fields)) for x in shown]
    figure = new_figure(
        max(6, 4 + names_width(names)), 1.6 + 0.24 * max(len(shown), 1)
    )
    axis = figure.add_subplot()
    count = f'{len(shown)} of {len(interactions)} {ranking_name(interactions)}'
    if not shown:
        say(axis, count if interactions else 'no interactions found')
        return figure
    axis.set_title(count)
    axis.barh(
        range(len(shown)),
        [x.score for x in shown],
        color=[MARKED if mark else PLAIN for mark in marked],
    )
    label = score_name(shown)
    intervals = [detail(x, 'interval') for x in shown]
    if any(intervals):
        label += INTERVALS
        draw_intervals(axis, intervals)
    axis.set_yticks(range(len(shown)), names, fontsize=8)
    axis.set_ylim(len(shown) - 0.4, -0.6)
    axis.set_xlabel(label)
    if truth is not None:
        planted = f'planted ({count_true(shown, interactions, true)})'
        # Outside, as equal scores leave no room between the axes:
        figure.legend(
            handles=[
                label_patch(planted, color=MARKED),
                label_patch('not planted', color=PLAIN),
            ],
            loc='outside lower center',
            ncols=2,
        )
    return figure

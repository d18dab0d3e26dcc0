r"""The importance of fields as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyg_featgraph.plot.figure import (
    INTERVALS,
    PLAIN,
    draw_intervals,
    names_width,
    new_figure,
    say,
    short,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_importance(frame: pd.DataFrame, top: int | None = 30) -> Figure:
    r"""Draws the importance of fields as bars with their intervals.

    Args:
        frame (pandas.DataFrame): The importance, as
            :func:`~pyg_featgraph.nn.field_importance` gives it.
        top (int, optional): How many fields to show, :obj:`None` for all.
            (default: :obj:`30`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    if top is not None and top < 1:
        raise ValueError(f"'top' must be at least 1 (got {top})")
    shown = frame.head(len(frame) if top is None else top)
    names = [short(name) for name in shown['field']]
    figure = new_figure(
        max(6, 4 + names_width(names)), 1.2 + 0.24 * max(len(shown), 1)
    )
    axis = figure.add_subplot()
    if not names:
        say(axis, 'no fields')
        return figure
    axis.barh(range(len(names)), shown['score'], color=PLAIN)
    draw_intervals(axis, shown[['low', 'high']].to_numpy())
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(left=0)
    label = frame.attrs.get('unit', 'score')
    if 'rows' in frame.attrs:
        label += f', {frame.attrs["rows"]:,} rows'
    axis.set_xlabel(label + INTERVALS)
    axis.set_title(
        f'{len(names)} of {len(frame)} fields, alone and with others'
    )
    return figure

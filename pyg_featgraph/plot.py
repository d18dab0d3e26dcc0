r"""Figures of interactions and edge weights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyg_featgraph.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyg_featgraph.interactions import InteractionSet

# Two colours of the Okabe-Ito palette, which colour-blind people tell apart:
_PLAIN, _MARKED = '#56B4E9', '#D55E00'


def plot_interactions(
    interactions: InteractionSet,
    top: int = 20,
    truth: Iterable[Sequence[str]] | None = None,
) -> Figure:
    r"""Draws the head of a ranking as bars.

    Args:
        interactions (InteractionSet): The ranking.
        top (int, optional): How many entries to show. (default: :obj:`20`)
        truth (iterable of tuple, optional): Interactions to mark, such as
            those planted in a synthetic table. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    shown = interactions.top(top)
    true = {frozenset(fields) for fields in truth or ()}
    marked = [frozenset(x.fields) in true for x in shown]
    figure = _figure(7, 1.2 + 0.24 * max(len(shown), 1))
    axis = figure.add_subplot()
    axis.barh(
        range(len(shown)),
        [x.score for x in shown],
        color=[_MARKED if mark else _PLAIN for mark in marked],
    )
    axis.set_yticks(
        range(len(shown)), [' x '.join(x.fields) for x in shown], fontsize=8
    )
    axis.invert_yaxis()
    axis.set_xlabel('score')
    axis.set_title(f'{len(shown)} of {len(interactions)} interactions')
    if truth is not None:
        patches = require('matplotlib.patches', 'plot')
        axis.legend(
            handles=[
                patches.Patch(color=_MARKED, label='planted'),
                patches.Patch(color=_PLAIN, label='not planted'),
            ],
            loc='lower right',
        )
    return figure


def plot_edge_weights(
    weights: Sequence[Sequence[ArrayLike]],
    names: Sequence[str],
    row_titles: Sequence[str],
    column_titles: Sequence[str],
    marks: Iterable[Sequence[str]] = (),
) -> Figure:
    r"""Draws edge weights as heat maps, as Figure 4 of the GraphFM paper does.

    Args:
        weights (list of list of array): For each row of the figure (a table
            row, say) and each column (a layer) the weights, with shape
            :math:`(n, n)`.
        names (list of str): The names of the :math:`n` fields.
        row_titles (list of str): The titles of the rows.
        column_titles (list of str): The titles of the columns.
        marks (iterable of tuple, optional): Pairs to frame.
            (default: :obj:`()`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    n, num_rows, num_columns = len(names), len(weights), len(column_titles)
    # With 39 names, seven points need an axis of about five inches:
    side = max(2.4, 0.13 * n)
    figure = _figure(num_columns * (side + 0.3), num_rows * (side + 0.5) + 0.8)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    position = {name: i for i, name in enumerate(names)}
    pairs = [
        (position[a], position[b])
        for a, b in (pair for pair in marks if len(pair) == 2)
    ]
    size = 8 if n <= 15 else 6
    for c, column_title in enumerate(column_titles):
        maps = [np.asarray(row[c]) for row in weights]
        # Layers differ in scale, so each has colours of its own:
        limits = {
            'vmin': min(float(weight.min()) for weight in maps),
            'vmax': max(float(weight.max()) for weight in maps),
        }
        for r, weight in enumerate(maps):
            axis = axes[r, c]
            image = axis.imshow(weight, cmap='viridis', **limits)
            axis.set_xticks(range(n), names, rotation=90, fontsize=size)
            axis.set_yticks(range(n), names, fontsize=size)
            axis.set_title(f'{row_titles[r]}\n{column_title}', fontsize=9)
            for i, j in pairs:
                axis.plot(
                    [j, i],
                    [i, j],
                    linestyle='none',
                    marker='s',
                    markersize=5,
                    markerfacecolor='none',
                    markeredgecolor=_MARKED,
                )
        figure.colorbar(
            image,
            ax=axes[:, c],
            location='bottom',
            fraction=0.02,
            pad=0.01,
            aspect=40,
            label='edge weight',
        )
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    r"""Writes a figure as PNG, as a whole or not at all."""
    path = Path(path)
    temporary = path.with_name(path.name + '.tmp')
    figure.savefig(temporary, format='png', dpi=120, bbox_inches='tight')
    os.replace(temporary, path)


def _figure(width: float, height: float) -> Any:
    # The object-oriented interface leaves the state of pyplot alone and needs
    # no display:
    figure = require('matplotlib.figure', 'plot')
    return figure.Figure(figsize=(width, height), layout='constrained')

r"""How often interactions occur, by their ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyg_featgraph.plot.entries import (
    Entry,
    count_true,
    detail,
    head,
    ranking_name,
)
from pyg_featgraph.plot.figure import PLAIN, new_figure, say, short, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The label, colour (of the Okabe-Ito palette) and marker of each order:
_STYLES = {
    2: ('order 2', PLAIN, 'o'),
    3: ('order 3', '#009E73', '^'),
    4: ('order 4 and above', '#CC79A7', 's'),
}
# In inches, the size of a line and a letter of a name, with room for wide
# ones:
_LINE, _LETTER = 0.16, 8 * 0.6 / 72


def plot_counts(
    counts: Sequence[Entry],
    highlight: int | Iterable[Iterable[str]] | None = None,
    significance: float | None = None,
    top: int | None = None,
) -> Figure:
    r"""Draws how often interactions occur by their ranks, as Figure 2 of
    the `"Feature Interaction Interpretability: A Case for Explaining
    Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ (GLIDER) paper does, with a colour
    and a marker for each order.

    Args:
        counts (InteractionSet): Interactions of two or more fields whose
            scores are counts, or any other sequence of entries with
            :obj:`fields` and :obj:`score`.
        highlight (int or iterable of tuple, optional): The interactions to
            name: so many of the first, or those given, such as those planted
            in a synthetic table. (default: :obj:`None`)
        significance (float, optional): The count above which an interaction
            is significant, drawn as a line. (default: :obj:`None`)
        top (int, optional): How many entries to show (the paper has 50),
            :obj:`None` for all. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    shown = head(counts, top)
    values = np.array([x.score for x in shown])
    orders = np.array([len(x.fields) for x in shown])
    if (values < 0).any():
        raise ValueError(f"'counts' has negative scores (got {values.min()})")
    if (orders < 2).any():
        raise ValueError("'counts' has entries of a single field")
    title = f'{len(shown)} of {len(counts)} {ranking_name(counts)}'
    named: list[int] = []
    if highlight is not None:
        if isinstance(highlight, int):
            named = [*range(len(head(shown, highlight)))]
            title += f'\nthe first {len(named)} highlighted'
        else:
            wanted = {frozenset(fields) for fields in highlight}
            named = [i for i, x in enumerate(shown) if {*x.fields} in wanted]
            title += f'\n{count_true(shown, counts, wanted)} highlighted'
    names = [' x '.join(map(short, shown[i].fields)) for i in named]
    # In inches, the axes without what is around them:
    width = 6 + _LETTER * max(map(len, names), default=0)
    height = 2.4 + _LINE * len(names)
    figure = new_figure(width + 1, height + 1.2)
    axis = figure.add_subplot()
    if not shown:
        say(axis, title if counts else 'no interactions found')
        return figure
    axis.set_title(title)
    for order, (label, colour, marker) in _STYLES.items():
        (of_order,) = np.nonzero(orders.clip(max=max(_STYLES)) == order)
        if of_order.size:
            axis.scatter(
                of_order + 1,
                values[of_order],
                s=22 if len(shown) <= 100 else 8,
                c=colour,
                marker=marker,
                label=label,
                zorder=3,
                # Whole where it lies on the axes:
                clip_on=False,
            )
    if significance is not None:
        above = int((values > significance).sum())
        axis.axhline(
            significance,
            color='#333333',
            linestyle='--',
            linewidth=1,
            label=f'significant above {significance:g} ({above})',
        )
    # The names start a little right of their points and end in the axes, and
    # each has room for itself and the lines below it:
    ends = [
        (i + 1) / (0.98 - _LETTER * len(name) / width)
        for i, name in zip(named, names, strict=True)
    ]
    tops = [
        values[i] / (1 - (k + 2) * _LINE / height) for k, i in enumerate(named)
    ]
    right = max([len(shown) + 1, *ends])
    highest = max([1.05 * max([*values, significance or 0, 1]), *tops])
    axis.set_xlim(0, right)
    axis.set_ylim(0, highest)
    _write_names(
        axis, values, named, names, 0.02 * right, highest * _LINE / height
    )
    whole_ticks(axis.xaxis)
    axis.set_xlabel('rank')
    rows = detail(shown[0], 'rows')
    axis.set_ylabel(
        f'occurrence count in {rows:,} rows' if rows else 'occurrence count'
    )
    if axis.get_legend_handles_labels()[0]:
        figure.legend(loc='outside lower center', ncols=4, fontsize=8)
    return figure


def _write_names(
    axis: Any,
    values: Any,
    named: list[int],
    names: list[str],
    offset: float,
    line: float,
) -> None:
    # Right of and above its point, where those of lower counts cannot be, and
    # above the names of those:
    lowest = 0.0
    for i, name in reversed([*zip(named, names, strict=True)]):
        lowest = max(lowest, values[i]) + line
        axis.annotate(
            name,
            (i + 1, values[i]),
            (i + 1 + offset, lowest),
            verticalalignment='center',
            fontsize=8,
            arrowprops={
                'arrowstyle': '-',
                'color': '#999999',
                'linewidth': 0.7,
                'relpos': (0, 0.5),
            },
        )

r"""The output of one row as a waterfall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from pyg_featgraph.plot.entries import Entry, detail, head, order_name
from pyg_featgraph.plot.figure import (
    INTERVALS,
    MARKED,
    PLAIN,
    label_patch,
    name_with_value,
    names_width,
    new_figure,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_REST = '#BBBBBB'


class ExplainedRow(Protocol):
    r"""What there is to say of a row, such as
    :class:`~pyg_featgraph.nn.RowEffects`.
    """

    @property
    def effects(self) -> Sequence[Entry]:
        r"""What sets of fields add."""

    @property
    def base(self) -> float:
        r"""The mean output of other rows."""

    @property
    def output(self) -> float:
        r"""The output of the row."""

    @property
    def rest(self) -> float:
        r"""What larger sets add."""

    @property
    def max_order(self) -> int:
        r"""The number of fields of the largest sets."""

    @property
    def unit(self) -> str:
        r"""What the output is."""

    @property
    def num_rows(self) -> int:
        r"""The number of other rows."""


def plot_waterfall(
    effects: ExplainedRow,
    top: int = 12,
    values: Mapping[str, Any] | None = None,
) -> Figure:
    r"""Draws how the output of one row comes about: from the mean of other
    rows down to its own, one bar for each of the largest effects. What is not
    shown is summed up in grey bars, so that all of them lead to the output.

    Args:
        effects (RowEffects): The effects, as
            :func:`~pyg_featgraph.nn.row_effects` gives them.
        top (int, optional): How many effects to show. (default: :obj:`12`)
        values (mapping, optional): The values of the fields of the row, such
            as a row of a data frame, to name them by. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    ranked = sorted(effects.effects, key=lambda x: -abs(x.score))
    shown = head(ranked, top)
    names = [
        ' x '.join(
            short(name) if values is None else name_with_value(name, values)
            for name in x.fields
        )
        for x in shown
    ]
    steps = [x.score for x in shown]
    for order in range(1, effects.max_order + 1):
        left = [x.score for x in ranked[len(shown) :] if len(x.fields) == order]
        if left:
            names.append(f'other {order_name(order)} ({len(left)})')
            steps.append(sum(left))
    names.append(f'rest: {effects.max_order + 1} or more fields')
    steps.append(effects.rest)
    starts = [*accumulate(steps, initial=effects.base)][:-1]
    colours = [PLAIN if step >= 0 else MARKED for step in steps]
    colours[len(shown) :] = [_REST] * (len(steps) - len(shown))

    size = len(steps)
    figure = new_figure(max(6, 4 + names_width(names)), 1.9 + 0.26 * size)
    axis = figure.add_subplot()
    axis.barh(range(size), steps, left=starts, color=colours)
    stops = [start + step for start, step in zip(starts, steps, strict=True)]
    reach = [*map(max, starts, stops)]
    for i, (x, start) in enumerate(zip(shown, starts, strict=False)):
        ends = detail(x, 'interval')
        if ends is not None:
            ends = [start + end for end in ends]
            axis.plot(ends, [i, i], color='#333333', linewidth=1)
            reach[i] = max(reach[i], *ends)
    for i, (step, stop) in enumerate(zip(steps, stops, strict=True)):
        axis.annotate(
            f'{step:+.3g}',
            (reach[i], i),
            (3, 0),
            textcoords='offset points',
            fontsize=7,
            va='center',
        )
        # From the end of each bar to the next one:
        ends = [i - 0.4, i + 1.4]
        axis.plot([stop, stop], ends, color='#999999', linewidth=0.7)
    axis.axvline(effects.base, color='#999999', linewidth=0.7, linestyle='--')
    axis.axvline(effects.output, color='#333333', linewidth=1)
    axis.set_yticks(range(size), names, fontsize=8)
    axis.set_ylim(size - 0.4, -0.6)
    # Room for the numbers:
    low, high = axis.dataLim.intervalx
    room = (high - low) or 1
    axis.locator_params(axis='x', nbins=6)
    axis.set_xlim(low - 0.03 * room, high + 0.12 * room)
    label = f'{effects.unit}, effects over {effects.num_rows:,} rows'
    axis.set_xlabel(label + INTERVALS if shown else label)
    axis.set_title(
        f'{effects.unit} {effects.output:.4g} of this row, '
        f'{effects.base:.4g} on average'
    )
    figure.legend(
        handles=[
            label_patch('raises', color=PLAIN),
            label_patch('lowers', color=MARKED),
            label_patch('summed up', color=_REST),
        ],
        loc='outside lower center',
        ncols=3,
        fontsize=8,
    )
    return figure

r"""What two fields do, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyg_featgraph.errors import require
from pyg_featgraph.plot.figure import (
    PLAIN,
    label_patch,
    names_width,
    new_figure,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]


class ExplainedPair(Protocol):
    r"""What there is to say of two fields, such as
    :class:`~pyg_featgraph.nn.PairEffects`.
    """

    @property
    def fields(self) -> tuple[str, str]:
        r"""Their names."""

    @property
    def levels(self) -> tuple[Sequence[str], Sequence[str]]:
        r"""The levels of each."""

    @property
    def alone(self) -> tuple[Floats, Floats]:
        r"""What each level does by itself."""

    @property
    def joint(self) -> Floats:
        r"""What two levels do beyond that."""

    @property
    def counts(self) -> NDArray[np.int64]:
        r"""How many rows have both levels."""

    @property
    def unit(self) -> str:
        r"""What the effects are."""

    @property
    def num_rows(self) -> int:
        r"""The number of rows that they are means over."""


def plot_pair_effects(effects: ExplainedPair, min_count: int = 10) -> Figure:
    r"""Draws what two fields do to the output of a model: together as a grid
    of their levels, with the number of rows in each cell, and beside it what
    each level does by itself.

    Args:
        effects (PairEffects): The effects, as
            :func:`~pyg_featgraph.nn.pair_effects` gives them.
        min_count (int, optional): Cells of fewer rows are hatched: a model has
            seen little there. (default: :obj:`10`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    rows, columns = effects.joint.shape
    names = [[short(x) for x in level] for level in effects.levels]
    left, below = map(names_width, names)
    figure = new_figure(
        max(4.6, 2.8 + left + 0.55 * columns), 2.8 + below + 0.4 * rows
    )
    grid = figure.add_gridspec(
        2,
        2,
        width_ratios=[0.55 * columns, 1.1],
        height_ratios=[0.9, 0.4 * rows],
    )
    axis = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=axis)
    beside = figure.add_subplot(grid[1, 1], sharey=axis)
    limit = float(np.abs(effects.joint).max()) or 1
    image = axis.imshow(
        effects.joint, cmap='PuOr', vmin=-limit, vmax=limit, aspect='auto'
    )
    for (i, j), count in np.ndenumerate(effects.counts):
        rare = count < min_count
        dark = abs(effects.joint[i, j]) > 0.6 * limit and not rare
        if rare:
            axis.add_patch(_hatch(i, j))
        axis.text(
            j,
            i,
            f'{count:,}',
            fontsize=7,
            ha='center',
            va='center',
            color='white' if dark else 'black',
            bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1}
            if rare
            else None,
        )
    axis.set_xticks(range(columns), names[1], rotation=90, fontsize=8)
    axis.set_yticks(range(rows), names[0], fontsize=8)
    axis.set_xlabel(short(effects.fields[1]))
    axis.set_ylabel(short(effects.fields[0]))
    above.bar(range(columns), effects.alone[1], color=PLAIN)
    beside.barh(range(rows), effects.alone[0], color=PLAIN)
    above.axhline(0, color='#333333', linewidth=0.7)
    beside.axvline(0, color='#333333', linewidth=0.7)
    above.tick_params(labelbottom=False, bottom=False, labelsize=7)
    beside.tick_params(labelleft=False, left=False, labelsize=7)
    above.locator_params(axis='y', nbins=4)
    beside.locator_params(axis='x', nbins=3)
    above.set_ylabel('alone', fontsize=8)
    beside.set_xlabel('alone', fontsize=8)
    figure.suptitle(
        f'{short(effects.fields[0])} x {short(effects.fields[1])}:\n'
        f'{effects.unit}, {effects.num_rows:,} rows',
        fontsize=10,
    )
    bar = figure.colorbar(image, ax=[axis, above, beside], location='bottom')
    bar.set_label('together, beyond both alone', fontsize=8)
    bar.ax.tick_params(labelsize=7)
    handles = [label_patch('numbers: rows of the table', color='none')]
    if (effects.counts < min_count).any():
        handles.append(
            label_patch(
                f'fewer than {min_count}',
                facecolor='none',
                edgecolor='#666666',
                hatch='////',
            )
        )
    figure.legend(
        handles=handles, loc='outside lower center', ncols=2, fontsize=8
    )
    return figure


def _hatch(i: int, j: int) -> Any:
    return require('matplotlib.patches', 'plot').Rectangle(
        (j - 0.5, i - 0.5),
        1,
        1,
        fill=False,
        edgecolor='#666666',
        hatch='////',
        linewidth=0,
    )

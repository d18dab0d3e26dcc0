r"""What all figures share: colours, names, files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyg_featgraph.errors import require
from pyg_featgraph.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Two colours of the Okabe-Ito palette, which colour-blind people tell apart:
PLAIN, MARKED = '#56B4E9', '#D55E00'
#: What the label of an axis says of the lines of :func:`draw_intervals`.
INTERVALS = ', lines: 95 % intervals'
_LONGEST_NAME = 24


def save_figure(
    figure: Figure, path: str | os.PathLike[str], dpi: int = 120
) -> None:
    r"""Writes a figure, as a whole or not at all.

    Args:
        figure (matplotlib.figure.Figure): The figure.
        path (str): The file, whose suffix picks the format (PNG if it has
            none).
        dpi (int, optional): Pixels per inch. (default: :obj:`120`)
    """
    suffix = Path(path).suffix[1:]
    with replacing(path) as temporary:
        figure.savefig(temporary, format=suffix or 'png', dpi=dpi)


def new_figure(width: float, height: float) -> Figure:
    require('matplotlib.figure', 'plot')
    from pyg_featgraph.plot.shown import ShownFigure

    figure = ShownFigure(figsize=(width, height), layout='constrained')
    require('matplotlib.backends.backend_agg', 'plot').FigureCanvasAgg(figure)
    return figure


def label_patch(label: str, **kwargs: Any) -> Any:
    return require('matplotlib.patches', 'plot').Patch(label=label, **kwargs)


def whole_ticks(side: Any) -> None:
    # Of an x or y axis, whose values are ranks or numbers of something:
    ticker = require('matplotlib.ticker', 'plot')
    side.set_major_locator(
        ticker.MaxNLocator(
            'auto', integer=True, steps=[1, 2, 5, 10], min_n_ticks=1
        )
    )


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    if len(name) <= longest:
        return name
    # Names of columns that begin alike differ at their ends:
    end = (longest - 1) // 2
    return f'{name[: longest - 1 - end]}…{name[-end:]}'


def name_with_value(name: str, values: Mapping[str, Any]) -> str:
    value = values[name]
    text = f'{value:.4g}' if isinstance(value, float) else str(value)
    if text in ('nan', 'None', '<NA>', 'NaT'):
        text = 'missing'
    return f'{short(name)} = {short(text, 16)}'


def names_width(names: Iterable[str], size: float = 8) -> float:
    # In inches, of letters of so many points:
    return max(map(len, names), default=0) * size * 0.6 / 72


def say(axis: Any, text: str) -> None:
    # In place of what there is nothing of:
    axis.set_axis_off()
    axis.text(
        0.5, 0.5, text, ha='center', va='center', transform=axis.transAxes
    )


def pair_positions(
    marks: Iterable[Iterable[str]], names: Sequence[str]
) -> list[tuple[int, int]]:
    position = {name: i for i, name in enumerate(names)}
    pairs = [pair for pair in map(tuple, marks) if len(pair) == 2]
    unknown = {name for pair in pairs for name in pair} - set(names)
    if unknown:
        raise ValueError(f"'marks' name unknown fields {sorted(unknown)}")
    return [(position[a], position[b]) for a, b in pairs]


def draw_intervals(
    axis: Any, intervals: Iterable[Sequence[float] | None]
) -> None:
    # Beside bars that lie at 0, 1, and so on:
    for i, ends in enumerate(intervals):
        if ends is not None:
            axis.plot(ends, [i, i], color='#333333', linewidth=1)

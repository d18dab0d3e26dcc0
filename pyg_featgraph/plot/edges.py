r"""Edge weights as heat maps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyg_featgraph.errors import require
from pyg_featgraph.plot.figure import (
    MARKED,
    label_patch,
    name_with_value,
    names_width,
    new_figure,
    pair_positions,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_edge_weights(
    weights: Sequence[Sequence[ArrayLike]],
    names: Sequence[str],
    row_titles: Sequence[str],
    column_titles: Sequence[str] | None = None,
    marks: Iterable[Iterable[str]] = (),
    scale: str = 'column',
    row_values: Sequence[Mapping[str, Any] | None] | None = None,
    alone: Collection[int] = (),
) -> Figure:
    r"""Draws edge weights as heat maps, as Figure 4 of the GraphFM paper does.

    Args:
        weights (list of list of array): For each row of the figure (a table
            row, say, or their average) and each column (a layer) the
            weights, with shape :math:`(n, n)`.
        names (list of str): The names of the :math:`n` fields.
        row_titles (list of str): The titles of the rows, *e.g.*,
            :obj:`"row 17: label 1, predicted 0.97"`.
        column_titles (list of str, optional): The titles of the columns.
            (default: :obj:`"layer 1 (order 2)"` and so on)
        marks (iterable of tuple, optional): Interactions of which to frame
            the pairs; those of other orders are left out.
            (default: :obj:`()`)
        scale (str, optional): Which maps share their colours and a colour
            bar: those of a :obj:`"column"`, as layers differ in scale, all
            of the :obj:`"figure"`, or none (:obj:`"map"`).
            (default: :obj:`"column"`)
        row_values (list of mapping, optional): For each row of the figure the
            values of its fields, such as a row of a data frame, which stand
            beside its maps; :obj:`None` for an average. (default: none)
        alone (list of int, optional): The rows of the figure whose maps have
            each a scale of their own, such as an average, which has less
            contrast than its rows. (default: :obj:`()`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    maps = [[np.asarray(weight) for weight in row] for row in weights]
    if column_titles is None:
        count = len(maps[0]) if maps else 0
        column_titles = [
            f'layer {k} (order {k + 1})' for k in range(1, count + 1)
        ]
    if scale not in ('column', 'figure', 'map'):
        raise ValueError(
            f"'scale' must be 'column', 'figure' or 'map' (got '{scale}')"
        )
    _check(maps, len(names), len(row_titles), len(column_titles))
    if row_values is not None and len(row_values) != len(maps):
        raise ValueError(
            f"'row_values' must be {len(maps)} (got {len(row_values)})"
        )
    if {*alone} - {*range(len(maps))}:
        raise ValueError(
            f"'alone' must hold rows from 0 to {len(maps) - 1} "
            f'(got {sorted(alone)})'
        )
    pairs = pair_positions(marks, names)
    labels = [short(name) for name in names]
    beside = [labels] * len(maps)
    if row_values is not None:
        beside = [_with_values(names, values) for values in row_values]
    # Six points need rows of at least an eighth of an inch, and the names
    # stand upright below each map:
    size = 8 if len(names) <= 15 else 6
    side = max(2.0, 0.125 * len(names))
    below, left = (
        0.2 + names_width(texts, size) for texts in (labels, chain(*beside))
    )
    own = len(maps) if scale == 'map' else len({*alone})
    figure = new_figure(
        len(column_titles) * (side + left + 0.2),
        len(maps) * (side + below + 0.4) + 0.6 * own + 0.9,
    )
    axes = figure.subplots(len(maps), len(column_titles), squeeze=False)
    for axis, (r, c) in zip(axes.flat, np.ndindex(axes.shape), strict=True):
        axis.imshow(maps[r][c], cmap='viridis')
        axis.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
        axis.set_yticks(range(len(names)), beside[r], fontsize=size)
        axis.set_title(f'{row_titles[r]}\n{column_titles[c]}', fontsize=9)
        for i, j in pairs:
            axis.add_patch(_frame(i, j))
            axis.add_patch(_frame(j, i))
    if pairs:
        patch = label_patch('planted', facecolor='none', edgecolor=MARKED)
        figure.legend(handles=[patch], loc='outside upper right')
    by_itself = np.isin(np.arange(len(maps)), [*alone])
    shared, single = axes[~by_itself], axes[by_itself]
    groups = {
        'column': list(shared.T),
        'figure': [shared.ravel()],
        'map': list(shared.reshape(-1, 1)),
    }
    for group in [*groups[scale], *single.reshape(-1, 1)]:
        if group.size:
            _share_colours(figure, group)
    return figure


def _with_values(
    names: Sequence[str], values: Mapping[str, Any] | None
) -> list[str]:
    if values is None:
        return [short(name) for name in names]
    return [name_with_value(name, values) for name in names]


def _check(
    maps: list[list[NDArray[Any]]], n: int, num_rows: int, num_columns: int
) -> None:
    if (len(maps), {len(row) for row in maps}) != (num_rows, {num_columns}):
        raise ValueError(
            f"'weights' must have {num_rows} rows of {num_columns} arrays, as "
            f'the titles say (got {[len(row) for row in maps]})'
        )
    shapes = {weight.shape for row in maps for weight in row} - {(n, n)}
    if shapes:
        raise ValueError(
            f"'weights' must hold arrays of shape {(n, n)} (got {shapes})"
        )


def _share_colours(figure: Figure, axes: NDArray[Any]) -> None:
    images = [axis.images[0] for axis in axes]
    # Masked, as Matplotlib does with NaN (say, of absent fields):
    values = np.ma.concatenate([x.get_array().ravel() for x in images])
    for image in images:
        image.set_clim(values.min(), values.max())
    figure.colorbar(
        images[0],
        ax=list(axes),
        location='bottom',
        fraction=0.04,
        pad=0.02,
        aspect=40,
        label='edge weight',
    )


def _frame(i: int, j: int) -> Any:
    effects = require('matplotlib.patheffects', 'plot')
    # The white rim sets the frame off from dark and light cells alike:
    return require('matplotlib.patches', 'plot').Rectangle(
        (j - 0.5, i - 0.5),
        1,
        1,
        fill=False,
        edgecolor=MARKED,
        linewidth=1.2,
        path_effects=[effects.withStroke(linewidth=2.6, foreground='white')],
    )

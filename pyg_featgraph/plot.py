r"""Figures of interactions and edge weights.

They are made without pyplot: no display, no global state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyg_featgraph.atomic import replacing
from pyg_featgraph.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pyg_featgraph.interactions import InteractionSet

# Two colours of the Okabe-Ito palette, which colour-blind people tell apart:
_PLAIN, _MARKED = '#56B4E9', '#D55E00'
_LINKED, _ALONE = '#333333', '#999999'
_LONGEST_NAME = 24


def plot_interactions(
    interactions: InteractionSet,
    top: int | None = 20,
    truth: Iterable[Iterable[str]] | None = None,
) -> Figure:
    r"""Draws the head of a ranking as bars.

    Args:
        interactions (InteractionSet): The ranking.
        top (int, optional): How many entries to show, :obj:`None` for all.
            (default: :obj:`20`)
        truth (iterable of tuple, optional): Interactions to mark, such as
            those planted in a synthetic table. (default: :obj:`None`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    shown = interactions.top(top)
    true = {frozenset(fields) for fields in truth or ()}
    marked = [{*x.fields} in true for x in shown]
    figure = _figure(7, 1.6 + 0.24 * max(len(shown), 1))
    axis = figure.add_subplot()
    axis.barh(
        range(len(shown)),
        [x.score for x in shown],
        color=[_MARKED if mark else _PLAIN for mark in marked],
    )
    names = [' x '.join(map(_short, x.fields)) for x in shown]
    axis.set_yticks(range(len(shown)), names, fontsize=8)
    axis.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axis.set_xlabel('score')
    axis.set_title(f'{len(shown)} of {len(interactions)} interactions')
    if truth is not None:
        label = f'planted ({sum(marked)} of {len(true)})'
        # Outside, as equal scores leave no room between the axes:
        figure.legend(
            handles=[
                _patch(label, color=_MARKED),
                _patch('not planted', color=_PLAIN),
            ],
            loc='outside lower center',
            ncols=2,
        )
    return figure


def plot_edge_weights(
    weights: Sequence[Sequence[ArrayLike]],
    names: Sequence[str],
    row_titles: Sequence[str],
    column_titles: Sequence[str] | None = None,
    marks: Iterable[Iterable[str]] = (),
    scale: str = 'column',
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
            of the :obj:`"figure"`, or none (:obj:`"map"`), which shows the
            contrast within an average. (default: :obj:`"column"`)

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
    pairs = _positions(marks, names)
    labels = [_short(name) for name in names]
    # Six points need rows of at least an eighth of an inch, and the names
    # stand upright below each map:
    size = 8 if len(names) <= 15 else 6
    side = max(2.0, 0.125 * len(names))
    room = 0.2 + max(map(len, labels)) * size * 0.6 / 72
    figure = _figure(
        len(column_titles) * (side + room + 0.2),
        len(row_titles) * (side + room + (1 if scale == 'map' else 0.4)) + 0.9,
    )
    axes = figure.subplots(len(maps), len(column_titles), squeeze=False)
    for axis, (r, c) in zip(axes.flat, np.ndindex(axes.shape), strict=True):
        axis.imshow(maps[r][c], cmap='viridis')
        axis.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)
        axis.set_yticks(range(len(names)), labels, fontsize=size)
        axis.set_title(f'{row_titles[r]}\n{column_titles[c]}', fontsize=9)
        for i, j in pairs:
            axis.add_patch(_frame(i, j))
            axis.add_patch(_frame(j, i))
    if pairs:
        patch = _patch('planted', facecolor='none', edgecolor=_MARKED)
        figure.legend(handles=[patch], loc='outside upper right')
    groups = {
        'column': list(axes.T),
        'figure': [axes.ravel()],
        'map': list(axes.reshape(-1, 1)),
    }
    for group in groups[scale]:
        _share_colours(figure, group)
    return figure


def plot_layer_graphs(
    scores: ArrayLike,
    names: Sequence[str],
    threshold: float | Sequence[float] = 0.5,
    max_edges: int | None = 40,
    marks: Iterable[Iterable[str]] = (),
) -> Figure:
    r"""Draws the graph of each layer, as Figure 2 of the `"FIVES: Feature
    Interaction Via Edge Search for Large-Scale Tabular Data"
    <https://arxiv.org/abs/2007.14573>`_ paper does.

    As there, the arrow of entry :math:`(i, j)` starts at field :math:`i`,
    which receives, and ends at field :math:`j`. The higher its score among
    those drawn in its layer, the wider and darker it is. Self loops are left
    out, and fields without an arrow are grey.

    Args:
        scores (array): The scores of the edges, with shape
            :math:`(K - 1, n, n)`, rows being the fields :math:`i`.
        names (list of str): The names of the :math:`n` fields.
        threshold (float or list of float, optional): The least score to
            draw, or that of each layer. (default: :obj:`0.5`)
        max_edges (int, optional): How many edges to draw of each layer,
            those with the highest scores, :obj:`None` for all.
            (default: :obj:`40`)
        marks (iterable of tuple, optional): Interactions of which to colour
            the pairs; those of other orders are left out.
            (default: :obj:`()`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    values, n = np.asarray(scores, dtype=np.float64), len(names)
    if values.ndim != 3 or values.shape[1:] != (n, n) or not values.size:
        raise ValueError(
            f"'scores' must have shape (layers, {n}, {n}) (got {values.shape})"
        )
    least = np.asarray(threshold, dtype=np.float64)
    if least.ndim == 0:
        least = least.repeat(len(values))
    if least.shape != (len(values),):
        raise ValueError(
            f"'threshold' needs one entry for each of {len(values)} layers "
            f'(got {least.tolist()})'
        )
    if max_edges is not None and max_edges < 0:
        raise ValueError(f"'max_edges' must not be negative (got {max_edges})")
    pairs = {frozenset(pair) for pair in _positions(marks, names)}
    labels = [_short(name) for name in names]
    # Clockwise from the top, on a circle of radius one:
    angles = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # In inches, the radius, how far the names reach, and the margins:
    radius = max(1.6, 0.03 * n)
    reach = radius + 0.2 + np.array([len(x) for x in labels]) * 8 * 0.65 / 72
    below, above = (0.4 if pairs else 0.0), 0.45
    ends = points * reach[:, None] / radius
    low = np.minimum(ends.min(axis=0), -1) - 0.1
    high = np.maximum(ends.max(axis=0), 1) + 0.1
    width, height = radius * (high - low)
    total = below + height + above
    figure = _figure(len(values) * width, total)
    # Placed by hand, as automatic layout and round circles do not get along:
    figure.set_layout_engine('none')
    for k in range(len(values)):
        reached = (values[k] >= least[k]) & ~np.eye(n, dtype=bool)
        edges = [(int(i), int(j)) for i, j in np.argwhere(reached)]
        shown = sorted(edges, key=lambda edge: -values[k][edge])[:max_edges]
        title = f'layer {k + 1} (order {k + 2})\n'
        title += f'{len(shown)} of {len(edges)} edges'
        if shown:
            best, worst = values[k][shown[0]], values[k][shown[-1]]
            title += f', scores {worst:.3g} to {best:.3g}'
        axis = figure.add_axes(
            (k / len(values), below / total, 1 / len(values), height / total),
            xlim=(low[0], high[0]),
            ylim=(low[1], high[1]),
        )
        axis.set_axis_off()
        axis.set_title(title, fontsize=9)
        _draw_graph(axis, points, values[k], shown, labels, pairs)
    if pairs:
        patch = _patch('planted', color=_MARKED)
        figure.legend(handles=[patch], loc='lower center')
    return figure


def plot_dims(
    dims: Mapping[str, Sequence[Sequence[int]]],
    names: Sequence[str],
    sizes: Sequence[int],
    embedding_dim: int,
) -> Figure:
    r"""Draws how many dimensions each field has kept, by the size of its
    vocabulary (Table 6 of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_ paper).

    Args:
        dims (dict): For each table the dimensions of each field, as in
            :obj:`model.config["dims"]` of a compact
            :class:`~pyg_featgraph.nn.AIM`.
        names (list of str): The names of the fields.
        sizes (list of int): The sizes of their vocabularies.
        embedding_dim (int): The number of dimensions before the search.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    require('matplotlib', 'plot')
    if not dims:
        raise ValueError("'dims' has no tables: all interactions are closed")
    if {len(sizes), *map(len, dims.values())} != {len(names)}:
        raise ValueError("'dims', 'names' and 'sizes' differ in their fields")
    order = np.argsort(sizes, kind='stable')
    kept = np.array([[len(table[i]) for i in order] for table in dims.values()])
    figure = _figure(1.5 + 0.7 * max(len(dims), 4), 0.8 + 0.24 * len(names))
    axis = figure.add_subplot()
    image = axis.imshow(
        kept.T.reshape(len(names), len(dims)),
        cmap='Blues',
        vmin=0,
        vmax=embedding_dim,
        aspect='auto',
    )
    for (row, column), count in np.ndenumerate(kept.T):
        if count > 0:
            axis.text(
                column,
                row,
                str(count),
                ha='center',
                va='center',
                color='white' if count > 0.6 * embedding_dim else 'black',
            )
    axis.set_xticks(range(len(dims)), list(dims))
    axis.set_yticks(
        range(len(names)), [f'{_short(names[i])} ({sizes[i]:,})' for i in order]
    )
    axis.set_ylabel('field (size of its vocabulary)')
    axis.set_title(f'dimensions kept of {embedding_dim}')
    figure.colorbar(image)
    return figure


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


def _positions(
    marks: Iterable[Iterable[str]], names: Sequence[str]
) -> list[tuple[int, int]]:
    position = {name: i for i, name in enumerate(names)}
    pairs = [pair for pair in map(tuple, marks) if len(pair) == 2]
    unknown = {name for pair in pairs for name in pair} - set(names)
    if unknown:
        raise ValueError(f"'marks' name unknown fields {sorted(unknown)}")
    return [(position[a], position[b]) for a, b in pairs]


def _draw_graph(
    axis: Any,
    points: NDArray[Any],
    scores: NDArray[Any],
    edges: list[tuple[int, int]],
    labels: Sequence[str],
    marks: set[frozenset[int]],
) -> None:
    patches = require('matplotlib.patches', 'plot')
    colours = [_ALONE] * len(labels)
    if edges:
        low, high = scores[edges[-1]], scores[edges[0]]
    # The highest scores are drawn last, above the others, as are the marks:
    for i, j in sorted(reversed(edges), key=lambda e: frozenset(e) in marks):
        weight = (scores[i, j] - low) / (high - low) if high > low else 1.0
        colours[i] = colours[j] = _LINKED
        arrow = patches.FancyArrowPatch(
            points[i],
            points[j],
            arrowstyle='-|>',
            connectionstyle=f'arc3,rad={_bend(points[i], points[j])}',
            mutation_scale=9,
            shrinkA=3,
            shrinkB=3,
            linewidth=0.8 + 1.4 * weight,
            alpha=0.5 + 0.5 * weight,
            color=_MARKED if frozenset((i, j)) in marks else _PLAIN,
        )
        axis.add_patch(arrow)
    axis.scatter(*points.T, s=18, c=colours, zorder=3)
    for (x, y), label, colour in zip(points, labels, colours, strict=True):
        # Along the radius, but never upside down:
        flip = x < -1e-9
        axis.text(
            1.06 * x,
            1.06 * y,
            label,
            color=colour,
            fontsize=8,
            horizontalalignment='right' if flip else 'left',
            verticalalignment='center',
            rotation=np.degrees(np.arctan2(y, x)) + (180 if flip else 0),
            rotation_mode='anchor',
        )


def _bend(start: NDArray[Any], end: NDArray[Any]) -> float:
    # Towards the centre, so that no arrow runs along the circle through other
    # fields, and clockwise more than back, so that the two do not coincide:
    cross = start[0] * end[1] - start[1] * end[0]
    half = float(np.linalg.norm(end - start)) / 2
    rest = max(1 - half**2, 0.0) ** 0.5
    if cross < 0:
        return (0.6 * rest + 0.2 * half) / (2 * half)
    return -(0.25 * rest - 0.2 * half) / (2 * half)


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
        edgecolor=_MARKED,
        linewidth=1.2,
        path_effects=[effects.withStroke(linewidth=2.6, foreground='white')],
    )


def _patch(label: str, **kwargs: Any) -> Any:
    return require('matplotlib.patches', 'plot').Patch(label=label, **kwargs)


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return name[: _LONGEST_NAME - 1] + '…'


def _figure(width: float, height: float) -> Any:
    figure = require('matplotlib.figure', 'plot').Figure(
        figsize=(width, height), layout='constrained'
    )
    require('matplotlib.backends.backend_agg', 'plot').FigureCanvasAgg(figure)
    return figure

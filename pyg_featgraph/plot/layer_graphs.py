r"""The graph of each layer, with the edges of highest score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyg_featgraph.errors import require
from pyg_featgraph.plot.figure import (
    MARKED,
    PLAIN,
    label_patch,
    new_figure,
    pair_positions,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINKED, _ALONE = '#333333', '#999999'


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
    pairs = {frozenset(pair) for pair in pair_positions(marks, names)}
    labels = [short(name) for name in names]
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
    figure = new_figure(len(values) * width, total)
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
        patch = label_patch('planted', color=MARKED)
        figure.legend(handles=[patch], loc='lower center')
    return figure


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
            color=MARKED if frozenset((i, j)) in marks else PLAIN,
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
    rest = float(max(1 - half**2, 0.0) ** 0.5)
    if cross < 0:
        return (0.6 * rest + 0.2 * half) / (2 * half)
    return -(0.25 * rest - 0.2 * half) / (2 * half)

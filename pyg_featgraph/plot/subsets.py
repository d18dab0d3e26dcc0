r"""Figures of what :class:`~pyg_featgraph.nn.FeatNet` keeps and prunes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyg_featgraph.plot.figure import (
    MARKED,
    PLAIN,
    label_patch,
    new_figure,
    short,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PRUNED = '#CCCCCC'
# More fields than this are drawn side by side:
_MOST_ROWS = 80


def plot_subset_members(
    members: ArrayLike, names: Sequence[str], marks: Iterable[str] = ()
) -> Figure:
    r"""Draws in which share of the rows each field is member of each subset,
    as a heat map with the mean over the subsets beside it, which sorts the
    fields.

    Args:
        members (array): The shares, with shape :math:`(n, S)`, as in
            :meth:`FeatNet.subset_members
            <pyg_featgraph.nn.FeatNet.subset_members>`.
        names (list of str): The names of the :math:`n` fields.
        marks (iterable of str, optional): Fields of which to colour the
            names, such as columns of noise. (default: :obj:`()`)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    shares, n = np.asarray(members, dtype=np.float64), len(names)
    if shares.ndim != 2 or len(shares) != n or not shares.size:
        raise ValueError(
            f"'members' must have shape ({n}, subsets) (got {shares.shape})"
        )
    marked = set(marks)
    if marked - set(names):
        unknown = sorted(marked - set(names))
        raise ValueError(f"'marks' name unknown fields {unknown}")
    means, count = shares.mean(axis=1), shares.shape[1]
    order = np.argsort(-means, kind='stable')
    parts = np.array_split(order, math.ceil(n / _MOST_ROWS))
    size, height = (8, 0.17) if n <= 40 else (6, 0.125)
    room = max(len(short(name)) for name in names) * size * 0.6 / 72
    # At least as wide as the legend, and as high as the colour bar's label:
    width = max(len(parts) * (0.26 * count + room + 0.6) + 1, 3.6)
    figure = new_figure(width, max(height * len(parts[0]), 1.2) + 1.2)
    axes = figure.subplots(1, len(parts), squeeze=False)[0]
    for axis, part in zip(axes, parts, strict=True):
        image = axis.imshow(
            shares[part], cmap='viridis', vmin=0, vmax=1, aspect='auto'
        )
        # Equally high rows, though the last parts may have one less:
        axis.set_ylim(len(parts[0]) - 0.5, -0.5)
        axis.set_xticks(range(count), range(1, count + 1), fontsize=size)
        ticks = [short(names[i]) for i in part]
        axis.set_yticks(range(len(part)), ticks, fontsize=size)
        for i, label in zip(part, axis.get_yticklabels(), strict=True):
            label.set_color(MARKED if names[i] in marked else 'black')
        # Beside the map, and their heading above its corner:
        _beside(axis, 1, 'axes fraction', 'mean', size, 6)
        for row, i in enumerate(part):
            _beside(axis, row, 'data', f'{means[i]:.2f}', size)
    figure.supxlabel('subset', fontsize=9)
    bar = figure.colorbar(
        image, ax=list(axes), fraction=0.3 / width, pad=0.15 / width, aspect=40
    )
    bar.set_label('share of rows', fontsize=9)
    bar.ax.tick_params(labelsize=8)
    if marked:
        is_marked = np.array([name in marked for name in names])
        groups = [
            ('marked', MARKED, is_marked),
            ('others', 'black', ~is_marked),
        ]
        figure.legend(
            handles=[
                label_patch(f'{label}: mean {means[group].mean():.2f}', color=c)
                for label, c, group in groups
                if group.any()
            ],
            loc='outside upper center',
            ncols=2,
            fontsize=8,
        )
    return figure


def plot_subset_sizes(
    sizes: ArrayLike,
    num_fields: int | Sequence[int],
    titles: Sequence[str] | None = None,
) -> Figure:
    r"""Draws how many features each subset has kept in some rows, as Figure 3
    of the `"FeatNet: Feature Interaction Pruning Networks for CTR
    Prediction"` paper does, and which share it has pruned.

    Args:
        sizes (array): The numbers of features, with shape
            :math:`(rows, S)`, as in
            :obj:`(model.subset_weights(data) > 0).sum(1)`.
        num_fields (int or list of int): The number of fields, or of those
            present in each row.
        titles (list of str, optional): The titles of the rows.
            (default: :obj:`"row 1"` and so on)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    kept = np.asarray(sizes)
    if kept.ndim != 2 or not kept.size:
        raise ValueError(
            f"'sizes' must have shape (rows, subsets) (got {kept.shape})"
        )
    totals = np.asarray(num_fields)
    if totals.shape not in ((), (len(kept),)):
        raise ValueError(
            f"'num_fields' must be one number or {len(kept)} "
            f'(got shape {totals.shape})'
        )
    totals = np.broadcast_to(totals, len(kept))
    pruned = totals[:, None] - kept
    if kept.min() < 0 or pruned.min() < 0 or totals.min() < 1:
        raise ValueError(
            "'sizes' must be from zero to 'num_fields' "
            f'(got {kept.min()} to {kept.max()})'
        )
    subsets = range(1, kept.shape[1] + 1)
    figure, axes = _panels(_titles(titles, len(kept)), 0.8 + 0.3 * len(subsets))
    for axis, size, rest, total in zip(axes, kept, pruned, totals, strict=True):
        axis.bar(subsets, size, color=PLAIN)
        axis.bar(subsets, rest, bottom=size, color=_PRUNED)
        for x, share in zip(subsets, rest / total, strict=True):
            axis.text(
                x, total, f'{share:.0%}', fontsize=7, ha='center', va='bottom'
            )
        axis.set_xticks(subsets, subsets, fontsize=8)
        axis.set_xlim(0.4, len(subsets) + 0.6)
        axis.set_ylim(0, 1.12 * totals.max())
        whole_ticks(axis.yaxis)
    figure.supxlabel('subset', fontsize=9)
    figure.supylabel('number of features', fontsize=9)
    figure.legend(
        handles=[
            label_patch('kept', color=PLAIN),
            label_patch('pruned (share above)', color=_PRUNED),
        ],
        loc='outside upper center',
        ncols=2,
        fontsize=8,
    )
    return figure


def plot_orders(
    orders: Iterable[ArrayLike],
    num_fields: int | None = None,
    titles: Sequence[str] | None = None,
) -> Figure:
    r"""Draws how many combinations of some rows have which number of fields,
    as Figure 4 of the `"FeatNet: Feature Interaction Pruning Networks for CTR
    Prediction"` paper does. Those of no field, which are pruned, are counted
    in the titles.

    Args:
        orders (array or list of array): The numbers of fields of the
            combinations, with shape :math:`(S, E)` for each row, as in
            :meth:`FeatNet.orders <pyg_featgraph.nn.FeatNet.orders>`.
        num_fields (int, optional): Up to which order to draw.
            (default: the highest)
        titles (list of str, optional): The titles of the rows.
            (default: :obj:`"row 1"` and so on)

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    rows = [np.asarray(row) for row in orders]
    shapes = [row.shape for row in rows]
    if not rows or any(row.ndim != 2 or not row.size for row in rows):
        raise ValueError(
            f"'orders' must have shape (rows, subsets, queries) (got {shapes})"
        )
    if any(row.dtype.kind not in 'iu' or row.min() < 0 for row in rows):
        raise ValueError("'orders' must hold whole numbers from zero")
    highest = max(1, *(int(row.max()) for row in rows))
    limit = highest if num_fields is None else num_fields
    if limit < highest:
        raise ValueError(
            f"'num_fields' must be at least {highest} (got {limit})"
        )
    figure, axes = _panels(_titles(titles, len(rows)), 3.4)
    counts = [np.bincount(row.ravel(), minlength=limit + 1) for row in rows]
    most = max(int(numbers[1:].max()) for numbers in counts)
    for axis, numbers in zip(axes, counts, strict=True):
        axis.bar(range(1, limit + 1), numbers[1:], width=0.9, color=PLAIN)
        axis.set_xlim(0.4, limit + 0.6)
        axis.set_ylim(0, 1.05 * max(most, 1))
        text = f'{numbers.sum()} combinations, {numbers[0]} empty'
        axis.set_title(f'{axis.get_title()}\n{text}', fontsize=9)
        whole_ticks(axis.xaxis)
        whole_ticks(axis.yaxis)
    figure.supxlabel('order (number of fields)', fontsize=9)
    figure.supylabel('number of combinations', fontsize=9)
    return figure


def _beside(
    axis: Any, y: float, unit: str, text: str, size: int, raised: int = 0
) -> None:
    axis.annotate(
        text,
        (1, y),
        (4, raised),
        xycoords=('axes fraction', unit),
        textcoords='offset points',
        fontsize=size,
        verticalalignment='center',
    )


def _titles(titles: Sequence[str] | None, count: int) -> Sequence[str]:
    if titles is None:
        return [f'row {k}' for k in range(1, count + 1)]
    if len(titles) != count:
        raise ValueError(f"'titles' must be {count} (got {len(titles)})")
    return titles


def _panels(titles: Sequence[str], width: float) -> tuple[Figure, list[Any]]:
    # About as many side by side as below each other, if the page is wide
    # enough:
    count = len(titles)
    width = max(width, 0.3 + 0.08 * max(map(len, titles)), 2.6)
    columns = min(math.ceil(math.sqrt(count)), max(1, int(14 / width)))
    rows = math.ceil(count / columns)
    figure = new_figure(columns * width + 0.4, rows * 2.2 + 0.8)
    grid = figure.subplots(
        rows, columns, sharex=True, sharey=True, squeeze=False
    )
    axes = list(grid.flat)
    for axis in axes[count:]:
        axis.remove()
    for axis, title in zip(axes, titles, strict=False):
        axis.set_title(title, fontsize=9)
        # Those above an empty place have no panel below to be labelled:
        axis.tick_params(labelbottom=True, labelleft=True, labelsize=8)
    return figure, axes[:count]

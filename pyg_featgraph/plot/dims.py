r"""How many dimensions each field has kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pyg_featgraph.errors import require
from pyg_featgraph.plot.figure import new_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    figure = new_figure(1.5 + 0.7 * max(len(dims), 4), 0.8 + 0.24 * len(names))
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
        range(len(names)), [f'{short(names[i])} ({sizes[i]:,})' for i in order]
    )
    axis.set_ylabel('field (size of its vocabulary)')
    axis.set_title(f'dimensions kept of {embedding_dim}')
    figure.colorbar(image)
    return figure

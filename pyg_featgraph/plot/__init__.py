r"""Figures of interactions, effects, edge weights, subsets and counts.

They are made without pyplot: no display, no global state.
"""

from pyg_featgraph.plot.comparison import plot_comparison
from pyg_featgraph.plot.counts import plot_counts
from pyg_featgraph.plot.dims import plot_dims
from pyg_featgraph.plot.edges import plot_edge_weights
from pyg_featgraph.plot.figure import save_figure
from pyg_featgraph.plot.importance import plot_importance
from pyg_featgraph.plot.layer_graphs import plot_layer_graphs
from pyg_featgraph.plot.pairs import plot_pair_effects
from pyg_featgraph.plot.ranking import plot_interactions
from pyg_featgraph.plot.subsets import (
    plot_orders,
    plot_subset_members,
    plot_subset_sizes,
)
from pyg_featgraph.plot.waterfall import plot_waterfall

__all__ = [
    'plot_comparison',
    'plot_counts',
    'plot_dims',
    'plot_edge_weights',
    'plot_importance',
    'plot_interactions',
    'plot_layer_graphs',
    'plot_orders',
    'plot_pair_effects',
    'plot_subset_members',
    'plot_subset_sizes',
    'plot_waterfall',
    'save_figure',
]

r"""Searches for interactions: trainings that choose edges, and tests of all
sets of fields.
"""

from pyg_featgraph.search.aim import AIMResult, aim_search
from pyg_featgraph.search.aim_dimensions import search_dimensions
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.aim_orders import extend_model, search_order
from pyg_featgraph.search.aim_retrain import retrain_compact
from pyg_featgraph.search.fives import FIVESOptions, SearchResult, fives_search
from pyg_featgraph.search.screen import screen
from pyg_featgraph.search.stages import Search, SearchOptions

__all__ = [
    'AIMOptions',
    'AIMResult',
    'FIVESOptions',
    'Search',
    'SearchOptions',
    'SearchResult',
    'aim_search',
    'extend_model',
    'fives_search',
    'retrain_compact',
    'screen',
    'search_dimensions',
    'search_order',
]

r"""Searches for interactions: trainings that choose edges."""

from pyg_featgraph.search.aim import AIMResult, aim_search
from pyg_featgraph.search.fives import SearchResult, fives_search

__all__ = [
    'AIMResult',
    'SearchResult',
    'aim_search',
    'fives_search',
]

r"""Searches for interactions: trainings that choose edges on rows of their
own.
"""

from pyg_featgraph.search.bilevel import SearchResult, search

__all__ = [
    'SearchResult',
    'search',
]

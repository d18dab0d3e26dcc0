r"""Interactions as columns of their own, for models that cannot cross."""

from pyg_featgraph.crossing.features import CrossFeatures
from pyg_featgraph.crossing.greedy import greedy_crosses

__all__ = [
    'CrossFeatures',
    'greedy_crosses',
]

r"""Optimizers: one that learns which edges to drop, and one of several."""

from pyg_featgraph.optim.grda import GRDA
from pyg_featgraph.optim.joint import JointOptimizer

__all__ = [
    'GRDA',
    'JointOptimizer',
]

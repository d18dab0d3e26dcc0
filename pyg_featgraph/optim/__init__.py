r"""Optimizers: one that learns which edges to drop, one of large tables, and
one of several.
"""

from pyg_featgraph.optim.grda import GRDA
from pyg_featgraph.optim.joint import JointOptimizer
from pyg_featgraph.optim.rowwise_adagrad import RowWiseAdagrad

__all__ = [
    'GRDA',
    'JointOptimizer',
    'RowWiseAdagrad',
]

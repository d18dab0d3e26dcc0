r"""Optimizers that learn which edges to drop."""

from pyg_featgraph.optim.grda import GRDA

__all__ = [
    'GRDA',
]

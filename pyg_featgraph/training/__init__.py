r"""Training with Lightning: log loss, early stopping, checkpoints."""

from pyg_featgraph.training.fit import fit, predict
from pyg_featgraph.training.loop import FitResult

__all__ = [
    'FitResult',
    'fit',
    'predict',
]

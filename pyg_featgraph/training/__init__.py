r"""Training with Lightning: log loss, early stopping, checkpoints."""

from pyg_featgraph.training.fit import FitResult, fit, predict

__all__ = [
    'FitResult',
    'fit',
    'predict',
]

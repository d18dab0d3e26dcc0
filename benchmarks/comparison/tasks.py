"""What is predicted: how it is scored, and what settings are chosen by."""

import numpy as np
import torch
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    roc_auc_score,
    root_mean_squared_error,
)
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

#: The metric of each task that the summary shows, and whether more is better.
MAIN = {
    'binary': ('auc', True),
    'multiclass': ('accuracy', True),
    'regression': ('rmse', False),
}
#: Bins of the calibration error, of equal width.
BINS = 15


def loss(task, y, p):
    """What settings are chosen by, on validation rows: log loss or RMSE.

    Args:
        task: A key of `MAIN`.
        y: Labels [R]: 0 and 1, numbers of classes, or numbers.
        p: Probabilities of label 1 [R], of the classes [R, C], or numbers [R].
    """
    if task == 'regression':
        return root_mean_squared_error(y, p)
    # Trees and nets may be so sure that a logarithm is infinite:
    p = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    if task == 'binary':
        return log_loss(y, p)
    return log_loss(y, _normalised(p), labels=np.arange(p.shape[1]))


def metrics(task, y, p):
    """Scores of predictions, by name. Arguments as of `loss`."""
    if task == 'regression':
        return {
            'rmse': root_mean_squared_error(y, p),
            'mae': mean_absolute_error(y, p),
        }
    prob = torch.tensor(p, dtype=torch.float32)
    target = torch.tensor(y, dtype=torch.long)
    if task == 'binary':
        error = binary_calibration_error(prob, target, BINS)
        scores = {
            'auc': roc_auc_score(y, p),
            'accuracy': accuracy_score(y, p > 0.5),
        }
    else:
        classes = np.arange(p.shape[1])
        error = multiclass_calibration_error(prob, target, len(classes), BINS)
        p = _normalised(p.astype(np.float64))
        scores = {
            'accuracy': accuracy_score(y, p.argmax(1)),
            'auc': roc_auc_score(y, p, multi_class='ovr', labels=classes),
        }
    scores['log loss'] = loss(task, y, p)
    return {**scores, 'calibration error': float(error)}


def _normalised(p):
    # As exactly as double precision can; nets have single precision.
    return p / p.sum(axis=1, keepdims=True)

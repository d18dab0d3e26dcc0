r"""Training with Lightning: early stopping, checkpoints, search of settings.

Modules, callbacks and metrics need Lightning, which is only imported where they
are asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyg_featgraph.errors import require
from pyg_featgraph.training.finite import NonFiniteError
from pyg_featgraph.training.fit import fit, predict
from pyg_featgraph.training.loop import FitResult
from pyg_featgraph.training.options import TrainingOptions
from pyg_featgraph.training.tune import TuneResult, tune
from pyg_featgraph.training.tune_space import default_space, split_settings

if TYPE_CHECKING:
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.grouped_auc import GroupedAUC
    from pyg_featgraph.training.module import FieldModule
    from pyg_featgraph.training.predicted_ratio import PredictedRatio
    from pyg_featgraph.training.progress import EpochProgress
    from pyg_featgraph.training.row_metrics import (
        ByField,
        RowMetric,
        Slice,
        slices,
    )

#: What needs Lightning, and where it is.
LAZY = {
    'ByField': 'row_metrics',
    'EpochProgress': 'progress',
    'FieldDataModule': 'datamodule',
    'FieldModule': 'module',
    'GroupedAUC': 'grouped_auc',
    'PredictedRatio': 'predicted_ratio',
    'RowMetric': 'row_metrics',
    'Slice': 'row_metrics',
    'slices': 'row_metrics',
}

__all__ = [
    'ByField',
    'EpochProgress',
    'FieldDataModule',
    'FieldModule',
    'FitResult',
    'GroupedAUC',
    'NonFiniteError',
    'PredictedRatio',
    'RowMetric',
    'Slice',
    'TrainingOptions',
    'TuneResult',
    'default_space',
    'fit',
    'predict',
    'slices',
    'split_settings',
    'tune',
]


def __getattr__(name: str) -> Any:
    if name not in LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    require('lightning.pytorch', 'train')
    return getattr(import_module(f'{__name__}.{LAZY[name]}'), name)

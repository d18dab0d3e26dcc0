r"""Training with Lightning: early stopping, checkpoints, search of settings.

:class:`FieldModule`, :class:`FieldDataModule` and :class:`EpochProgress` need
Lightning, which is only imported where they are asked for.
"""

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
    from pyg_featgraph.training.module import FieldModule
    from pyg_featgraph.training.progress import EpochProgress

__all__ = [
    'EpochProgress',
    'FieldDataModule',
    'FieldModule',
    'FitResult',
    'NonFiniteError',
    'TrainingOptions',
    'TuneResult',
    'default_space',
    'fit',
    'predict',
    'split_settings',
    'tune',
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.module import FieldModule
    from pyg_featgraph.training.progress import EpochProgress

    classes = (EpochProgress, FieldDataModule, FieldModule)
    return {cls.__name__: cls for cls in classes}[name]

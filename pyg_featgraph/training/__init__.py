r"""Training with Lightning: log loss, early stopping, checkpoints.

:class:`FieldModule` and :class:`FieldDataModule` need Lightning, which is only
imported where they are asked for.
"""

from typing import TYPE_CHECKING, Any

from pyg_featgraph.errors import require
from pyg_featgraph.training.finite import NonFiniteError
from pyg_featgraph.training.fit import fit, predict
from pyg_featgraph.training.loop import FitResult
from pyg_featgraph.training.options import TrainingOptions

if TYPE_CHECKING:
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.module import FieldModule

__all__ = [
    'FieldDataModule',
    'FieldModule',
    'FitResult',
    'NonFiniteError',
    'TrainingOptions',
    'fit',
    'predict',
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.module import FieldModule

    return {'FieldDataModule': FieldDataModule, 'FieldModule': FieldModule}[
        name
    ]

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pyg_featgraph.data import FieldGraphLoader, FieldTable
from pyg_featgraph.errors import DataError, require

if TYPE_CHECKING:
    from pyg_featgraph.training.module import FieldModule


@dataclass(frozen=True)
class FitResult:
    r"""What a training has given.

    Args:
        metrics (dict): AUC and log loss of the best epoch on the validation
            rows and, if given, the test rows: :obj:`valid_auc`,
            :obj:`valid_loss`, :obj:`test_auc`, :obj:`test_loss`.
        num_epochs (int): The number of epochs that were run.
        checkpoint (pathlib.Path): The training state of the best epoch.
        model_path (pathlib.Path): The best model, written by
            :meth:`~pyg_featgraph.nn.FieldModel.save`.
    """

    metrics: dict[str, float]
    num_epochs: int
    checkpoint: Path
    model_path: Path


def run(
    module: FieldModule,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    max_epochs: int,
    batch_size: int,
    monitor: str = 'valid_loss',
    patience: int | None = None,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = 'auto',
    progress: bool = True,
    **trainer_options: Any,
) -> FitResult:
    r"""The training loop behind :func:`~pyg_featgraph.training.fit`, where
    the arguments are described, for any module.

    Without :obj:`patience` all epochs are run and the last one is kept
    instead of the best one.
    """
    pl = require('lightning.pytorch', 'train')
    if monitor not in ('valid_loss', 'valid_auc'):
        raise ValueError(
            f"'monitor' must be 'valid_loss' or 'valid_auc' (got '{monitor}')"
        )
    for name, table in (('training', train), ('validation', valid)):
        _check_labels(name, table)
    directory = Path(directory)
    mode = 'min' if monitor == 'valid_loss' else 'max'
    best = pl.callbacks.ModelCheckpoint(
        directory,
        filename='best',
        monitor=monitor,
        mode=mode,
        enable_version_counter=False,
    )
    # One of its own for the last epoch, since the other one is only active
    # after epochs that are better than those before:
    last = pl.callbacks.ModelCheckpoint(
        directory, filename='last', enable_version_counter=False
    )
    callbacks = [best, last, *trainer_options.pop('callbacks', [])]
    if patience is not None:
        callbacks.append(
            pl.callbacks.EarlyStopping(monitor, mode=mode, patience=patience)
        )
    checkpoint = state = directory / 'last.ckpt'

    def evaluation(table: FieldTable) -> FieldGraphLoader:
        # Without gradients larger batches fit:
        return FieldGraphLoader(table, 4 * batch_size)

    with _quiet():
        pl.seed_everything(seed, verbose=False)
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=1,
            callbacks=callbacks,
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
            **trainer_options,
        )
        trainer.fit(
            module,
            FieldGraphLoader(train, batch_size, shuffle=True, seed=seed),
            evaluation(valid),
            ckpt_path=state if resume and state.exists() else None,
            weights_only=True,
        )
        if patience is not None:
            checkpoint = Path(best.best_model_path)
            weights = torch.load(checkpoint, weights_only=True)
            module.load_state_dict(weights['state_dict'])
        metrics = trainer.validate(module, evaluation(valid), verbose=False)[0]
        if test is not None:
            metrics |= trainer.test(module, evaluation(test), verbose=False)[0]
    model_path = directory / 'model.safetensors'
    module.model.cpu().save(model_path)
    return FitResult(metrics, trainer.current_epoch, checkpoint, model_path)


def _check_labels(name: str, table: FieldTable) -> None:
    if table.y is None:
        raise DataError(f'The {name} rows have no labels')
    classes = table.y.unique().tolist()
    if len(classes) != 2:
        raise DataError(
            f'The labels of the {len(table)} {name} rows have the classes '
            f'{classes}, but both 0 and 1 are needed'
        )


@contextmanager
def _quiet() -> Iterator[None]:
    # Lightning reports which devices exist and asks for worker processes,
    # which only slow down batches that are cut from tensors in memory.
    logger = logging.getLogger('lightning.pytorch')
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in (
                '.*does not have many workers.*',
                '.*Checkpoint directory .* exists and is not empty.*',
                '.*treespec.*',
                '.*number of training batches.*',
            ):
                warnings.filterwarnings('ignore', message)
            yield
    finally:
        logger.setLevel(level)

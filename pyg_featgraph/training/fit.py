from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldGraphLoader, FieldTable
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.nn import FieldModel


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


def fit(
    model: FieldModel,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    max_epochs: int = 20,
    batch_size: int = 1024,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    monitor: str = 'valid_loss',
    patience: int = 2,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = 'auto',
    progress: bool = True,
    drop_absent: bool = False,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a model with early stopping and restores its best epoch.

    After each epoch the model is evaluated on the validation rows. The best
    epoch and the last one are kept as checkpoints in :obj:`directory`, so
    that a stopped training can be resumed, and in the end the best weights
    are loaded back into :obj:`model`.

    Args:
        model (FieldModel): A model with :obj:`model(batch) -> logits`.
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where checkpoints and the best model go.
        max_epochs (int, optional): The largest number of epochs.
            (default: :obj:`20`)
        batch_size (int, optional): The number of rows of a training batch.
            (default: :obj:`1024`)
        lr (float, optional): The learning rate. (default: :obj:`1e-3`)
        weight_decay (float, optional): The L2 penalty. (default: :obj:`0`)
        monitor (str, optional): The metric that decides which epoch is the
            best: :obj:`"valid_loss"` or :obj:`"valid_auc"`.
            (default: :obj:`"valid_loss"`)
        patience (int, optional): The number of epochs without improvement
            after which the training ends. (default: :obj:`2`)
        seed (int, optional): The seed of the order of the rows and of
            dropout. (default: :obj:`0`)
        resume (bool, optional): Whether to go on from the last epoch found
            in :obj:`directory`. (default: :obj:`False`)
        accelerator (str, optional): The kind of device, as in
            :class:`lightning.pytorch.Trainer`. (default: :obj:`"auto"`)
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`True`)
        drop_absent (bool, optional): Whether missing fields are left out of
            the graphs. (default: :obj:`False`)
        **trainer_options (optional): Additional arguments of
            :class:`lightning.pytorch.Trainer`.

    Raises:
        DataError: If a table has no labels or, for training and validation,
            a single class.
        ImportError: If Lightning is not installed.
    """
    pl = require('lightning.pytorch', 'train')
    from pyg_featgraph.training.module import FieldModule

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
        save_last=True,
        enable_version_counter=False,
    )
    stop = pl.callbacks.EarlyStopping(monitor, mode=mode, patience=patience)
    last = directory / 'last.ckpt'

    def evaluation(table: FieldTable) -> FieldGraphLoader:
        # Without gradients larger batches fit:
        return FieldGraphLoader(table, 4 * batch_size, drop_absent=drop_absent)

    with _quiet():
        pl.seed_everything(seed, verbose=False)
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=1,
            callbacks=[best, stop],
            logger=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
            num_sanity_val_steps=0,
            **trainer_options,
        )
        module = FieldModule(model, lr, weight_decay)
        trainer.fit(
            module,
            FieldGraphLoader(
                train,
                batch_size,
                shuffle=True,
                seed=seed,
                drop_absent=drop_absent,
            ),
            evaluation(valid),
            ckpt_path=last if resume and last.exists() else None,
            weights_only=True,
        )
        state = torch.load(best.best_model_path, weights_only=True)
        module.load_state_dict(state['state_dict'])
        metrics = trainer.validate(module, evaluation(valid), verbose=False)[0]
        if test is not None:
            metrics |= trainer.test(module, evaluation(test), verbose=False)[0]
    model_path = directory / 'model.safetensors'
    model.cpu().save(model_path)
    return FitResult(
        metrics, trainer.current_epoch, Path(best.best_model_path), model_path
    )


@torch.no_grad()
def predict(
    model: torch.nn.Module, table: FieldTable, batch_size: int = 4096
) -> Tensor:
    r"""The logits of all rows of a table, with shape :math:`(R)`.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows.
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`4096`)
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    outs = [
        model(batch.to(device)).cpu()
        for batch in FieldGraphLoader(table, batch_size)
    ]
    model.train(was_training)
    return torch.cat(outs)


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

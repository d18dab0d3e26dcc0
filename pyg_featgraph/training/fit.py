from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldGraphLoader, FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.training.loop import FitResult, run


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
    architecture_lr: float | None = None,
    monitor: str = 'valid_loss',
    patience: int = 2,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = 'auto',
    progress: bool = True,
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
        architecture_lr (float, optional): If given, the architecture
            parameters of the model are learned with this rate on validation
            rows, in turns with all others on training rows (Algorithm 1 of
            FIVES): what an edge is worth shows in rows that the model has not
            learned by heart. A step takes about twice as long, and the
            validation metrics are no longer those of unseen rows.
            (default: :obj:`None`)
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
        **trainer_options (optional): Additional arguments of
            :class:`lightning.pytorch.Trainer`.

    Raises:
        ValueError: If :obj:`architecture_lr` is given, but the model has no
            such parameters.
        DataError: If a table has no labels or, for training and validation,
            a single class.
        ImportError: If Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.bilevel import BilevelModule
    from pyg_featgraph.training.module import FieldModule

    module = FieldModule(model, lr, weight_decay)
    if architecture_lr is not None:
        module = BilevelModule(
            model,
            valid,
            batch_size,
            architecture_lr,
            seed=seed,
            lr=lr,
            weight_decay=weight_decay,
        )
    return run(
        module,
        train,
        valid,
        test,
        directory=directory,
        batch_size=batch_size,
        monitor=monitor,
        patience=patience,
        seed=seed,
        resume=resume,
        progress=progress,
        max_epochs=max_epochs,
        accelerator=accelerator,
        **trainer_options,
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

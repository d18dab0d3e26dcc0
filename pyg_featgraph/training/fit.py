r"""Training a model in one call, and what it predicts."""

from __future__ import annotations

import os
from typing import Any

from torch import Tensor

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.nn.logits import logits_of
from pyg_featgraph.training.loop import FitResult, run
from pyg_featgraph.training.options import TrainingOptions, split_options


def fit(
    model: FieldModel,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    options: TrainingOptions | None = None,
    resume: bool = False,
    **kwargs: Any,
) -> FitResult:
    r"""Trains a model with early stopping and restores its best epoch.

    It is short for a :class:`lightning.pytorch.Trainer` with a
    :class:`~pyg_featgraph.training.FieldModule` and a
    :class:`~pyg_featgraph.training.FieldDataModule`, which keeps a record of
    the run in :obj:`directory`: what it depends on, its last and its best
    state, and its result. A stopped training goes on exactly where it was,
    also within an epoch; SIGTERM and Ctrl-C save the state first. In the end
    the best weights are loaded back into :obj:`model`.

    Args:
        model (FieldModel): The model.
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where the record, checkpoints and the best model go.
        options (TrainingOptions, optional): The options of the training.
            (default: :obj:`TrainingOptions()`)
        resume (bool, optional): Whether to go on with the run found in
            :obj:`directory`, if there is one: only if data, model, options
            and version are those of its beginning. A run that has come to its
            end returns its result. Otherwise what is there is removed.
            (default: :obj:`False`)
        **kwargs (optional): Fields of
            :class:`~pyg_featgraph.training.TrainingOptions` in which the
            training differs from :obj:`options`, and any arguments of
            :class:`lightning.pytorch.Trainer`. Unless told otherwise it runs
            on one device, without a logger, and for at most as many epochs as
            have 4,000 steps, between 20 and 200.

    Raises:
        DataError: If the tables cannot be trained on, if the run to go on with
            differs, if another process uses the directory, or if a file is
            damaged.
        NonFiniteError: If the loss or a weight is not finite.
        ImportError: If Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.bilevel import BilevelModule
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.module import FieldModule

    options, rest = split_options(options or TrainingOptions(), kwargs)
    options = options.for_rows(len(train))
    data = FieldDataModule(train, valid, test, options.batch_size, options.seed)
    module = (
        FieldModule(model, options)
        if options.architecture_lr is None
        else BilevelModule(model, valid, options)
    )
    return run(module, data, directory=directory, resume=resume, **rest)


def predict(
    model: FieldModel, table: FieldTable, batch_size: int = 4096
) -> Tensor:
    r"""What a model predicts for all rows of a table: by its head
    probabilities, with shape :math:`(R)` of the second of two classes and
    :math:`(R, C)` of several, or means or scores, with shape :math:`(R)`.

    Args:
        model (FieldModel): The model.
        table (FieldTable): The rows.
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`4096`)
    """
    return model.head.predict(logits_of(model, table, batch_size)).cpu()

r"""A training in a directory, from its beginning or from where it was."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from pyg_featgraph.errors import require
from pyg_featgraph.html import html_table
from pyg_featgraph.nn.chance import warn_if_chance, warn_if_constant
from pyg_featgraph.nn.logits import logits_of
from pyg_featgraph.training.defaults import default_epochs
from pyg_featgraph.training.options import describe

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.module import FieldModule

#: Arguments of a trainer that change what is shown, not what comes out.
SHOWN_ONLY = frozenset(
    {
        'callbacks',
        'default_root_dir',
        'enable_autolog_hparams',
        'enable_model_summary',
        'enable_progress_bar',
        'log_every_n_steps',
        'logger',
        'profiler',
    }
)

#: The name of the file of the best model.
MODEL = 'model.safetensors'

#: Arguments of a trainer that would take away what a run is made of.
EXCLUDED = {
    'enable_checkpointing': True,
    'barebones': False,
    'overfit_batches': 0,
}


@dataclass(frozen=True)
class FitResult:
    r"""What a training has given.

    Args:
        metrics (dict): Figures of the best epoch on the validation rows and,
            if given, the test rows: of two classes :obj:`valid_auc`,
            :obj:`valid_loss`, :obj:`test_auc` and :obj:`test_loss`, and
            whatever else was asked for.
        history (list of dict): What there is to tell of each epoch that was
            run: its number from 1 on as :obj:`epoch`, the mean loss of its
            steps as :obj:`train_loss`, and the figures on the validation rows
            after it.
        checkpoint (pathlib.Path, optional): The training state of the best
            epoch, if there was an epoch.
        model_path (pathlib.Path, optional): The best model, written by
            :meth:`~pyg_featgraph.nn.FieldModel.save`; none after a
            :obj:`fast_dev_run`.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]]
    checkpoint: Path | None
    model_path: Path | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], directory: Path) -> FitResult:
        r"""The result that the record of a run holds.

        Args:
            values (dict): What the record holds.
            directory (pathlib.Path): The directory of the run.
        """
        name = values['checkpoint']
        return cls(
            values['metrics'],
            values['history'],
            None if name is None else directory / name,
            directory / MODEL,
        )

    @property
    def num_epochs(self) -> int:
        r"""The number of epochs that were run."""
        return len(self.history)

    def _repr_html_(self) -> str:
        return html_table(
            f'best of {self.num_epochs} epochs',
            ['figure', 'value'],
            [*self.metrics.items()],
            note=f'model: {self.model_path}' if self.model_path else '',
        )


def run(
    module: FieldModule,
    data: FieldDataModule,
    *,
    directory: str | os.PathLike[str],
    resume: bool = False,
    title: str | None = None,
    **trainer_options: Any,
) -> FitResult:
    r"""Trains a module as :func:`~pyg_featgraph.training.fit` does, where the
    arguments are described, and as stages of searches do; with a
    :obj:`title` that is shown instead of the class of the model.
    """
    require('lightning.pytorch', 'train')
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    from pyg_featgraph.training.record import RunRecord

    epochs = default_epochs(len(data.train), data.batch_size)
    trainer_options = with_limit(trainer_options, epochs)
    trainer_options = _with_progress(trainer_options, title)
    for name, allowed in EXCLUDED.items():
        if trainer_options.get(name, allowed) != allowed:
            raise ValueError(
                f"'{name}' must be {allowed} here: the best epoch is kept in a "
                'checkpoint, and all rows are seen. Use FieldModule and '
                'FieldDataModule with a Trainer of your own'
            )
    data.check(module.model.head)
    if trainer_options.get('fast_dev_run'):
        # It only tries out whether everything runs, and leaves no trace:
        return _train(module, data, Path(directory), None, trainer_options)
    fingerprint = {
        **data.fingerprint,
        **module.describe(),
        **describe_trainer(trainer_options),
    }
    leads = getattr(rank_zero_only, 'rank', 0) == 0
    record = RunRecord(directory, fingerprint, resume, leads=leads)
    with record:
        return _train(module, data, record.directory, record, trainer_options)


def describe_trainer(options: Mapping[str, Any]) -> dict[str, Any]:
    r"""The arguments of a trainer that decide the result, as JSON-compatible
    values.
    """
    return {k: describe(v) for k, v in options.items() if k not in SHOWN_ONLY}


def _train(
    module: FieldModule,
    data: FieldDataModule,
    directory: Path,
    record: Any,
    trainer_options: Mapping[str, Any],
) -> FitResult:
    from lightning.pytorch.utilities.seed import isolate_rng

    from pyg_featgraph.training.checkpoint import SealedCheckpointIO
    from pyg_featgraph.training.signals import SignalGuard, Stopped
    from pyg_featgraph.training.state import KeepState

    model_path = directory / MODEL
    if record is not None and record.result is not None:
        result = FitResult.from_dict(record.result, directory)
        if result.checkpoint is not None:
            _load(module, result.checkpoint)
        return result
    with SignalGuard() as guard, _quiet(), isolate_rng():
        state = KeepState(directory, module.options, guard)
        trainer = _make_trainer(
            directory, module, state, SealedCheckpointIO(), trainer_options
        )
        # Others may not have removed yet what an earlier run has left:
        resumes = record is not None and record.goes_on and state.last.exists()
        if resumes and state.best.exists():
            # Damage shows now, and not when everything else is done:
            SealedCheckpointIO().load_checkpoint(state.best)
        try:
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=state.last if resumes else None,
                weights_only=True,
            )
            checkpoint = None
            if record is not None:
                for path in (state.last, state.best):
                    checkpoint = path if path.exists() else checkpoint
            if checkpoint == state.best:
                _load(module, checkpoint)
            metrics: dict[str, float] = {}
            stages = [trainer.validate, *([trainer.test] * data.has_test)]
            for evaluate in stages:
                # There are no figures if no batch is to be looked at:
                for figures in evaluate(module, datamodule=data, verbose=False):
                    metrics |= figures
        except Stopped as stop:
            message = (
                f"{stop} has stopped the training in '{directory}' in epoch "
                f'{trainer.current_epoch} after {trainer.global_step} steps. '
                'The same call with resume=True goes on with it'
            )
            print(message, file=sys.stderr)
            raise stop.as_exit(message) from None
    module.model.cpu()
    if record is None:
        return FitResult(metrics, state.history, None, None)
    if trainer.is_global_zero:
        module.model.save(model_path)
        _warn_if_chance(module, data, metrics)
    record.finish(
        {
            'metrics': metrics,
            'history': state.history,
            'checkpoint': None if checkpoint is None else checkpoint.name,
        }
    )
    return FitResult(metrics, state.history, checkpoint, model_path)


def _warn_if_chance(
    module: FieldModule, data: FieldDataModule, metrics: Mapping[str, float]
) -> None:
    head, rows = module.model.head, 'validation rows'
    y, weight = cast(Tensor, data.valid.y), data.valid.sample_weight
    if 'valid_auc' in metrics:
        warn_if_chance(head, metrics['valid_auc'], y, weight, rows)
    elif metrics and module.options.loss is None:
        out = logits_of(module.model, data.valid)
        warn_if_constant(head, out, y, weight, rows)


def with_limit(options: Mapping[str, Any], max_epochs: int) -> dict[str, Any]:
    r"""The arguments of a trainer, with a number of epochs where they say
    nothing of its end.
    """
    limits = ('max_epochs', 'max_steps', 'max_time', 'fast_dev_run')
    if any(options.get(name) is not None for name in limits):
        return dict(options)
    return {**options, 'max_epochs': max_epochs}


def _make_trainer(
    directory: Path,
    module: FieldModule,
    state: Any,
    checkpoint_io: Any,
    options: Mapping[str, Any],
) -> Trainer:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import EarlyStopping
    from lightning.pytorch.plugins.io import CheckpointIO

    from pyg_featgraph.training.averaging import AverageWeights

    callbacks, plugins = (
        _as_list(options.get(name)) for name in ('callbacks', 'plugins')
    )
    if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        plugins.append(checkpoint_io)
    if module.options.ema_decay is not None:
        callbacks.append(AverageWeights(module.options.ema_decay))
    if module.options.patience is not None:
        stopping = EarlyStopping(
            str(module.options.monitor),
            mode=str(module.options.mode),
            patience=module.options.patience,
            # Whether there is such a figure is seen to where it decides what
            # is best; before the first validation there is none.
            strict=False,
        )
        callbacks.append(stopping)
    defaults = {
        'default_root_dir': directory,
        'devices': 1,
        'enable_model_summary': False,
        'logger': False,
        'num_sanity_val_steps': 0,
    }
    chosen = {
        **defaults,
        **options,
        'callbacks': [*callbacks, state],
        'plugins': plugins,
    }
    return Trainer(**chosen)


def _with_progress(
    options: Mapping[str, Any], title: str | None
) -> dict[str, Any]:
    from lightning.pytorch.callbacks import ProgressBar

    from pyg_featgraph.training.progress import EpochProgress

    callbacks = _as_list(options.get('callbacks'))
    if options.get('enable_progress_bar', True) and not any(
        isinstance(callback, ProgressBar) for callback in callbacks
    ):
        callbacks.append(EpochProgress(title))
    return {**options, 'callbacks': callbacks}


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [*value]
    return [] if value is None else [value]


def _load(module: FieldModule, path: Path) -> None:
    from pyg_featgraph.training.checkpoint import SealedCheckpointIO

    state = SealedCheckpointIO().load_checkpoint(path)
    module.load_state_dict(state['state_dict'])


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
                '.*treespec.*',
                '.*number of training batches.*',
                '.*conditioned on metric.*',
            ):
                warnings.filterwarnings('ignore', message)
            yield
    finally:
        logger.setLevel(level)

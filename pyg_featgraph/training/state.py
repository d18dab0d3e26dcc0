r"""The callback that keeps the state of a training in its directory."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from lightning import pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import replacing
from pyg_featgraph.training.checkpoint import (
    random_state,
    seed_all,
    set_random_state,
)
from pyg_featgraph.training.options import TrainingOptions
from pyg_featgraph.training.signals import SignalGuard


class KeepState(Checkpoint):
    r"""Saves the state of a training, of its last and of its best epoch, so
    that it can go on as if it had never been stopped; also within an epoch,
    and when a signal ends it.

    Nothing in the state depends on where the directory is.

    Args:
        directory (pathlib.Path): Where the files go.
        options (TrainingOptions): What is saved when, and which epoch is best.
        guard (SignalGuard): What has received signals.
    """

    def __init__(
        self, directory: Path, options: TrainingOptions, guard: SignalGuard
    ) -> None:
        self.last = directory / 'last.ckpt'
        self.best = directory / 'best.ckpt'
        self.options = options
        self.guard = guard
        #: The figures of each epoch.
        self.history: list[dict[str, float]] = []
        # The sum of the losses of the steps of this epoch, and their number:
        self._loss: Tensor | float = 0.0
        self._num_steps = 0
        self._losses: list[float] = []
        self._valid: dict[str, float] = {}
        self._best_score: float | None = None
        self._should_stop = False
        self._at_end_of_epoch = False
        self._begins_epoch = False
        self._random_states: list[dict[str, Any]] = []
        self._loader_states: list[dict[str, int]] = []
        self._saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {
            'history': self.history,
            'losses': _of_all_processes(float(self._loss)),
            'num_steps': self._num_steps,
            'valid': self._valid,
            'best_score': self._best_score,
            'should_stop': self._should_stop,
            'at_end_of_epoch': self._at_end_of_epoch,
            'random_states': _of_all_processes(random_state()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict['history']
        self._losses = state_dict['losses']
        self._num_steps = state_dict['num_steps']
        self._valid = state_dict['valid']
        self._best_score = state_dict['best_score']
        if self._best_score is not None and not self.best.exists():
            raise DataError(
                f"'{self.best}' is missing, which holds the best epoch so far: "
                'put it back, or start again with resume=False'
            )
        self._should_stop = state_dict['should_stop']
        self._begins_epoch = state_dict['at_end_of_epoch']
        self._random_states = state_dict['random_states']

    def on_save_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        if self._at_end_of_epoch:
            # The epoch counts as complete, and the next one begins with its
            # first batch:
            loop = checkpoint['loops']['fit_loop']
            loop['state_dict'].pop('combined_loader', None)
            for progress in loop['epoch_progress'].values():
                progress['completed'] = progress['processed']

    def on_load_checkpoint(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        loop = checkpoint['loops']['fit_loop']['state_dict']
        self._loader_states = loop.get('combined_loader', [])

    def on_train_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        rank = trainer.global_rank
        if self._random_states:
            own = min(rank, len(self._random_states) - 1)
            set_random_state(self._random_states[own])
            self._loss = self._losses[own]
        else:
            seed_all(self.options.seed + rank)
        if self._begins_epoch:
            # With a number of steps as its end, the loop would take it for one
            # to go on with:
            trainer.fit_loop.epoch_loop.restarting = False
        for state in self._loader_states:
            # Loops forget it if an optimizer has asked for the number of steps:
            trainer.train_dataloader.load_state_dict(state)
        trainer.should_stop = self._should_stop
        self._saved_at = time.monotonic()
        self.guard.defer()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Not as a number yet, for which a device would have to wait:
        self._loss = outputs['loss'] + self._loss
        self._num_steps += 1
        if not self._can_save_within(trainer, batch_idx):
            return
        must_stop = self._must_stop(trainer)
        if must_stop or self._is_due(trainer):
            self._save(trainer, self.last)
        if must_stop:
            self.guard.raise_received()

    def on_validation_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        if trainer.state.fn == 'fit' and not trainer.sanity_checking:
            figures = trainer.callback_metrics.items()
            self._valid = {k: float(x) for k, x in figures if k != 'train_loss'}

    def on_train_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        loss = torch.as_tensor(self._loss / max(self._num_steps, 1))
        loss = trainer.strategy.reduce(loss, reduce_op='mean')
        epoch = {'epoch': trainer.current_epoch + 1, 'train_loss': float(loss)}
        self.history.append({**epoch, **self._valid})
        self._loss, self._num_steps, self._valid = 0.0, 0, {}
        self._should_stop = trainer.should_stop
        self._at_end_of_epoch = True
        must_stop = self._must_stop(trainer)
        if self._is_best(trainer):
            # Before the last one, which tells that there is a better one:
            self._save(trainer, self.best)
            if trainer.is_global_zero and not trainer.fast_dev_run:
                with replacing(self.last) as temporary:
                    _link(self.best, temporary)
        else:
            self._save(trainer, self.last)
        self._at_end_of_epoch = False
        if must_stop:
            self.guard.raise_received()

    def on_train_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> None:
        self.guard.defer(False)
        self.guard.raise_received()

    def _can_save_within(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        # Not if gradients are being summed up, which no state holds, and not
        # before validation, which would be left out when the run goes on.
        step = batch_idx + 1
        loop = trainer.fit_loop
        if step % trainer.accumulate_grad_batches:
            return False
        if step >= trainer.num_training_batches:
            return False
        if loop.max_steps != -1 and trainer.global_step >= loop.max_steps:
            return False
        if trainer.check_val_every_n_epoch is None:
            step = loop.total_batch_idx + 1
        every = trainer.val_check_batch
        return every is not None and bool(step % every)

    def _is_due(self, trainer: pl.Trainer) -> bool:
        steps, seconds = self.options.save_steps, self.options.save_seconds
        if steps is not None and trainer.global_step % steps == 0:
            return True
        late = time.monotonic() - self._saved_at
        return _any_process(trainer, seconds is not None and late >= seconds)

    def _must_stop(self, trainer: pl.Trainer) -> bool:
        if _any_process(trainer, self.guard.received is not None):
            self.guard.received = self.guard.received or 15
            return True
        return False

    def _is_best(self, trainer: pl.Trainer) -> bool:
        if not self.options.early_stopping:
            return False
        name, figures = str(self.options.monitor), trainer.callback_metrics
        if name not in figures:
            if any(key.startswith('valid_') for key in figures):
                raise ValueError(
                    f"No figure '{name}' to monitor, but {sorted(figures)}"
                )
            return False  # There was no validation yet.
        score = float(figures[name])
        best = self._best_score
        if score != score or (
            best is not None
            and not (
                score < best if self.options.mode == 'min' else score > best
            )
        ):
            return False
        self._best_score = score
        return True

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        if trainer.fast_dev_run:
            return
        module: Any = trainer.lightning_module
        module.check_weights()
        trainer.save_checkpoint(path)
        self._saved_at = time.monotonic()


def _any_process(trainer: pl.Trainer, value: bool) -> bool:
    if trainer.world_size == 1:
        return value
    return bool(trainer.strategy.reduce_boolean_decision(value, all=False))


def _of_all_processes(value: Any) -> list[Any]:
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def _link(source: Path, target: Path) -> None:
    # The same content, which is replaced and never changed:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

r"""A search of settings on validation rows."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.files import read_json, write_json
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.progress import progress_bar
from pyg_featgraph.training.finite import NonFiniteError
from pyg_featgraph.training.fit import fit
from pyg_featgraph.training.loop import FitResult, describe_trainer
from pyg_featgraph.training.options import (
    TrainingOptions,
    describe,
    split_options,
)
from pyg_featgraph.training.tune_space import (
    SettingsSpace,
    Space,
    default_space,
    split_settings,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial


@dataclass(frozen=True)
class TuneResult:
    r"""What a search of settings has found.

    Args:
        model (FieldModel): The model of the best trial.
        settings (dict): Its settings, as JSON-compatible values: those that
            differ from the defaults. :func:`split_settings` tells those of
            the model from those of :func:`~pyg_featgraph.training.fit`.
        metrics (dict): Its figures of the validation rows.
        trials (pandas.DataFrame): All trials: their :obj:`state`
            (:obj:`"complete"`, :obj:`"pruned"` or :obj:`"failed"`), the
            :obj:`value` of the monitored figure, :obj:`epochs`,
            :obj:`seconds` and settings.
    """

    model: FieldModel
    settings: dict[str, Any]
    metrics: dict[str, float]
    trials: pd.DataFrame


def tune(
    model: Callable[..., FieldModel],
    train: FieldTable,
    valid: FieldTable,
    *,
    trials: int,
    directory: str | os.PathLike[str],
    space: Space | None = None,
    seed: int = 0,
    timeout: float | None = None,
    options: TrainingOptions | None = None,
    resume: bool = False,
    **kwargs: Any,
) -> TuneResult:
    r"""Searches settings of a model and of its training with Optuna.

    The first trial has the default settings. The others are drawn by the
    tree-structured Parzen estimator of Optuna from what the ones before have
    shown, and end early where they stay behind the median of those. Each
    trial is a :func:`~pyg_featgraph.training.fit` without test rows.

    A search may be stopped at any moment, or killed: with :obj:`resume` it
    goes on within the trial where it was, to the same result. With more
    :obj:`trials` than before it goes on from its end.

    .. code-block:: python

        found = tune(DNN, train, valid, trials=30, directory='runs/dnn')
        of_model, of_fit = split_settings(found.settings)
        model = DNN(train.info, **of_model)
        fit(model, train, valid, test, directory='runs/best', **of_fit)

    Args:
        model (callable): The class of a model, or any function of a
            :class:`~pyg_featgraph.data.FieldInfo` and settings that returns
            one, such as :obj:`functools.partial(DNN, head='regression')`.
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows, which decide.
        trials (int): The number of trials.
        directory (str): Where the trials go, and :obj:`settings.json` with
            the best settings.
        space (dict, optional): For each setting its choices, as a list, or a
            distribution of Optuna. Names of
            :class:`~pyg_featgraph.training.TrainingOptions` or of a
            :class:`lightning.pytorch.Trainer` are settings of the training,
            all others of the model.
            (default: :func:`~pyg_featgraph.training.default_space`)
        seed (int, optional): The seed of the search, of initial weights and
            of trainings. (default: :obj:`0`)
        timeout (float, optional): After so many seconds no further trial
            begins. (default: :obj:`None`)
        options (TrainingOptions, optional): The options that all trials share.
            (default: :obj:`TrainingOptions()`)
        resume (bool, optional): Whether to go on with the search found in
            :obj:`directory`, if there is one. Otherwise what is there is
            removed. (default: :obj:`False`)
        **kwargs (optional): Further arguments of
            :func:`~pyg_featgraph.training.fit` that all trials share.

    Raises:
        ValueError: If a setting is given both to all trials and in the space.
        DataError: As by :func:`~pyg_featgraph.training.fit`.
        NonFiniteError: If no trial has come to its end.
        ImportError: If Optuna or Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    require('optuna', 'tune')
    from pyg_featgraph.training.datamodule import FieldDataModule
    from pyg_featgraph.training.record import RunRecord

    if trials < 1:
        raise ValueError(f"'trials' must be positive (got {trials})")
    given = SettingsSpace(default_space(model) if space is None else space)
    twice = sorted(given.distributions.keys() & kwargs.keys())
    if twice and space is not None:
        raise ValueError(f'{twice} are both in the space and told for all')
    for name in twice:
        del given.distributions[name]
    options, trainer = split_options(
        options or TrainingOptions(), {**kwargs, 'seed': seed}
    )
    fingerprint = {
        **FieldDataModule(train, valid).fingerprint,
        'model': describe(model),
        'space': given.to_dict(),
        **options.to_dict(),
        **describe_trainer(trainer),
    }
    record = RunRecord(directory, fingerprint, resume, ('trial-*',))
    with record:
        search = _Search(
            model, (train, valid), record.directory, given, options, trainer
        )
        return search.run(trials, timeout)


class _Search:
    # Everything that decides a trial is its number and the trials before,
    # which are in a file; so a search that goes on comes to the same.
    def __init__(
        self,
        model: Callable[..., FieldModel],
        tables: tuple[FieldTable, FieldTable],
        directory: Path,
        space: SettingsSpace,
        options: TrainingOptions,
        trainer_options: Mapping[str, Any],
    ) -> None:
        self.model = model
        self.tables = tables
        self.directory = directory
        self.space = space
        self.options = options
        self.options = options.for_model(self._build({}))
        self.trainer_options = dict(trainer_options)
        self.trainer_options.setdefault('enable_progress_bar', False)
        self.path = directory / 'trials.json'
        self.done: list[dict[str, Any]] = []
        if self.path.exists():
            self.done = read_json(self.path, 'list of trials')['trials']

    def run(self, num_trials: int, timeout: float | None) -> TuneResult:
        begin = time.monotonic()
        with progress_bar(
            total=num_trials,
            initial=min(len(self.done), num_trials),
            unit='trial',
            enabled=self.trainer_options['enable_progress_bar'],
        ) as bar:
            while len(self.done) < num_trials:
                late = time.monotonic() - begin
                if self.done and timeout is not None and late >= timeout:
                    break
                self._next()
                bar.update()
        return self._result()

    def _next(self) -> None:
        import optuna

        number, begin = len(self.done), time.monotonic()
        # The first one has the defaults, which a space need not hold:
        trial = self._ask(number)
        params = trial.params if number else {}
        settings = self.space.decode(params)
        report = _make_report(trial, self.options)
        row: dict[str, Any] = {'params': params, 'settings': settings}
        try:
            result = self._train(number, settings, report)
            row |= {
                'state': 'complete',
                'value': result.metrics[str(self.options.monitor)],
                'metrics': result.metrics,
                'epochs': result.num_epochs,
            }
        except optuna.TrialPruned:
            values = [*report.values.values()]
            row |= {'state': 'pruned', 'value': values[-1]}
            row |= {'epochs': len(values)}
        except NonFiniteError:
            row |= {'state': 'failed', 'value': None, 'epochs': None}
        row['reports'] = [*report.values.items()]
        row['seconds'] = round(time.monotonic() - begin, 2)
        self.done.append(row)
        write_json(self.path, {'trials': self.done})
        best = self._best()
        for k in range(len(self.done)):
            if k != best:
                shutil.rmtree(self._folder(k), ignore_errors=True)

    def _train(
        self, number: int, settings: Mapping[str, Any], report: Any
    ) -> FitResult:
        of_model, of_fit = split_settings(settings)
        model = self._build(of_model)
        options = {**self.trainer_options, **of_fit}
        given = options.pop('callbacks', None) or []
        given = given if isinstance(given, list | tuple) else [given]
        return fit(
            model,
            *self.tables,
            directory=self._folder(number),
            options=self.options,
            # What an earlier search has left was removed:
            resume=True,
            callbacks=[*given, report],
            **options,
        )

    def _build(self, settings: Mapping[str, Any]) -> FieldModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed)
            return self.model(self.tables[0].info, **settings)

    def _ask(self, number: int) -> Trial:
        import optuna

        lowers = self.options.mode == 'min'
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(
                direction='minimize' if lowers else 'maximize',
                sampler=optuna.samplers.TPESampler(
                    seed=self.options.seed * 10_007 + number
                ),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=1),
            )
            study.add_trials([self._frozen(row) for row in self.done])
            return study.ask(self.space.distributions)
        finally:
            optuna.logging.set_verbosity(before)

    def _frozen(self, row: Mapping[str, Any]) -> FrozenTrial:
        import optuna

        state = {
            'complete': optuna.trial.TrialState.COMPLETE,
            'pruned': optuna.trial.TrialState.PRUNED,
            'failed': optuna.trial.TrialState.FAIL,
        }[row['state']]
        is_complete = row['state'] == 'complete'
        return optuna.trial.create_trial(
            state=state,
            value=row['value'] if is_complete else None,
            params=row['params'],
            distributions={
                k: self.space.distributions[k] for k in row['params']
            },
            intermediate_values={int(k): v for k, v in row['reports']},
        )

    def _best(self) -> int | None:
        found = [
            (row['value'] if self.options.mode == 'min' else -row['value'], k)
            for k, row in enumerate(self.done)
            if row['state'] == 'complete'
        ]
        return min(found)[1] if found else None

    def _folder(self, number: int) -> Path:
        return self.directory / f'trial-{number:04}'

    def _result(self) -> TuneResult:
        names = ('state', 'value', 'epochs', 'seconds')
        trials = pd.DataFrame(
            {**{k: row[k] for k in names}, **row['settings']}
            for row in self.done
        )
        trials.index.name = 'trial'
        best = self._best()
        if best is None:
            raise NonFiniteError(
                f'None of {len(self.done)} trials has come to an end with '
                'finite numbers: try lower learning rates'
            )
        row = self.done[best]
        write_json(self.directory / 'settings.json', row['settings'])
        path = self._folder(best) / 'model.safetensors'
        model = FieldModel.load(path)
        return TuneResult(model, row['settings'], row['metrics'], trials)


def _make_report(trial: Trial, options: TrainingOptions) -> Any:
    import optuna
    from lightning.pytorch import Callback, LightningModule, Trainer

    monitor = str(options.monitor)
    best_of = min if options.mode == 'min' else max

    class ReportEpochs(Callback):
        # Tells the trial how good the best epoch so far was, since that is
        # what counts, and ends it if it stays behind.
        def __init__(self) -> None:
            self.values: dict[int, float] = {}

        def on_validation_end(
            self, trainer: Trainer, pl_module: LightningModule
        ) -> None:
            if trainer.state.fn != 'fit' or trainer.sanity_checking:
                return
            epoch = trainer.current_epoch
            value = float(trainer.callback_metrics[monitor])
            self.values[epoch] = best_of([*self.values.values(), value])
            trial.report(self.values[epoch], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        def state_dict(self) -> dict[str, Any]:
            return {'values': dict(self.values)}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.values = dict(state_dict['values'])
            for epoch, value in self.values.items():
                trial.report(value, epoch)

    return ReportEpochs()

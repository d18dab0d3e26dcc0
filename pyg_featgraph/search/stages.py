r"""What searches of several stages share: options and a directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.nn.config import encode
from pyg_featgraph.progress import progress_bar
from pyg_featgraph.training import FitResult, TrainingOptions
from pyg_featgraph.training.defaults import default_search_epochs
from pyg_featgraph.training.loop import describe_trainer, run, with_limit
from pyg_featgraph.training.options import split_options

if TYPE_CHECKING:
    from pyg_featgraph.training import FieldDataModule, FieldModule


@dataclass(frozen=True, kw_only=True)
class SearchOptions(TrainingOptions):
    r"""The options of a search: those of a training, and what follows it. All
    epochs of a search are run, with one learning rate for all weights; the
    training that follows has early stopping.

    Args:
        retrain (str, optional): What follows with the edges that were found:
            :obj:`"scratch"` learns new weights, :obj:`"finetune"` starts from
            those of the search. (default: :obj:`None`)
        retrain_options (dict, optional): Arguments of
            :func:`~pyg_featgraph.training.fit` in which this differs from the
            search. (default: none)
        **kwargs (optional): Arguments of
            :class:`~pyg_featgraph.training.TrainingOptions`.
    """

    # Gates weigh what interactions say beside the linear part, so that none of
    # the two may be ahead:
    linear_scale: float | None = None
    early_stopping: bool = False
    retrain: str | None = None
    retrain_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ('early_stopping', 'patience', 'ema_decay'):
            if getattr(self, name) not in (None, False):
                raise ValueError(
                    'A search runs all epochs, and goes on with its last '
                    f"weights: '{name}' belongs into 'retrain_options'"
                )
        super().__post_init__()
        self._check_choice('retrain', None, 'scratch', 'finetune')

    def for_retraining(self) -> tuple[TrainingOptions, dict[str, Any]]:
        r"""The options of the training that follows, and in which arguments
        its trainer differs.
        """
        common = {
            x.name: getattr(self, x.name) for x in fields(TrainingOptions)
        }
        for name in ('architecture_lr', 'early_stopping'):
            del common[name]
        return split_options(TrainingOptions(**common), self.retrain_options)


class Search:
    r"""The tables, options and directory of a search, as a context in which
    its stages are run. Each stage has a folder with a record of its own.

    Args:
        model (FieldModel): The model that the search begins with.
        tables (list of FieldTable): Training, validation and, if there are
            some, test rows.
        directory (str): Where checkpoints, models and interactions go.
        options (SearchOptions): The options.
        resume (bool): Whether the search in :obj:`directory` goes on.
        folders (list of str): Patterns of the folders of the stages.
        num_stages (int): The number of stages that the progress bar shows.
        trainer_options (dict): Arguments of
            :class:`lightning.pytorch.Trainer`.

    Raises:
        DataError: As by :func:`~pyg_featgraph.training.fit`.
    """

    def __init__(
        self,
        model: FieldModel,
        tables: tuple[FieldTable, FieldTable, FieldTable | None],
        directory: str | os.PathLike[str],
        options: SearchOptions,
        resume: bool,
        folders: tuple[str, ...],
        num_stages: int,
        trainer_options: Mapping[str, Any],
    ) -> None:
        require('lightning.pytorch', 'train')
        from pyg_featgraph.training import FieldDataModule
        from pyg_featgraph.training.record import RunRecord

        self._tables = tables
        self.data = FieldDataModule(*tables, options.batch_size, options.seed)
        self.data.check(model.head)
        self._temporary = None
        if trainer_options.get('fast_dev_run'):
            # It only tries out whether everything runs, and leaves no trace:
            self._temporary = TemporaryDirectory()
            directory = self._temporary.name
        self.directory = Path(directory)
        self.options = options
        self.stages: dict[str, FitResult] = {}
        epochs = default_search_epochs(len(tables[0]), self.data.batch_size)
        self._trainer_options = with_limit(trainer_options, epochs)
        # The training that follows has a limit of its own, unless one is told:
        self._retrain_options = dict(trainer_options)
        fingerprint = {
            **self.data.fingerprint,
            'model': model.__class__.__name__,
            'config': encode(model.config),
            **options.to_dict(),
            **describe_trainer(self._trainer_options),
        }
        self._record = RunRecord(directory, fingerprint, resume, folders)
        self._bar = progress_bar(
            total=num_stages,
            unit='stage',
            enabled=num_stages > 1
            and bool(trainer_options.get('enable_progress_bar', True)),
        )

    def __enter__(self) -> Search:
        self._record.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._record.__exit__(kind, error, traceback)
        if self._temporary is not None:
            self._temporary.cleanup()

    def train(self, name: str, module: FieldModule) -> FitResult:
        r"""Runs a stage, goes on with it, or takes its result.

        Args:
            name (str): The name of its folder.
            module (FieldModule): What is trained.
        """
        return self._run(name, module, self.data, self._trainer_options)

    def retrain(self, name: str, model: FieldModel) -> FitResult:
        r"""Runs the training that follows a search, with early stopping.

        Args:
            name (str): The name of its folder.
            model (FieldModel): The model.
        """
        from pyg_featgraph.training import FieldDataModule, FieldModule

        options, changes = self.options.for_retraining()
        options = options.for_rows(len(self.data.train))
        data = FieldDataModule(*self._tables, options.batch_size, options.seed)
        changes = {**self._retrain_options, **changes}
        return self._run(name, FieldModule(model, options), data, changes)

    def _run(
        self,
        name: str,
        module: FieldModule,
        data: FieldDataModule,
        trainer_options: Mapping[str, Any],
    ) -> FitResult:
        self._bar.set_description(name)
        self.stages[name] = run(
            module,
            data,
            directory=self.directory / name,
            title=f'{module.model.__class__.__name__}, {name}',
            # What an earlier search has left was removed when this one began:
            resume=True,
            **trainer_options,
        )
        self._bar.update()
        return self.stages[name]

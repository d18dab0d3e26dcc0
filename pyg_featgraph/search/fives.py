from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FIVES
from pyg_featgraph.search.stages import open_directory
from pyg_featgraph.training import FitResult, fit
from pyg_featgraph.training.loop import run


@dataclass(frozen=True)
class SearchResult:
    r"""What a search has found.

    Args:
        interactions (InteractionSet): The interactions, which are also in
            :obj:`interactions.json` of the directory.
        searched (FitResult): The end of the search.
        retrained (FitResult, optional): The training with fixed edges, if
            there was one.
    """

    interactions: InteractionSet
    searched: FitResult
    retrained: FitResult | None = None

    @property
    def metrics(self) -> dict[str, float]:
        r"""The metrics of the last phase."""
        return (self.retrained or self.searched).metrics


def fives_search(
    model: FIVES,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    max_epochs: int = 10,
    batch_size: int = 1024,
    lr: float = 5e-3,
    architecture_lr: float = 5e-3,
    weight_decay: float = 0.0,
    temperature: tuple[float, float] | None = (1.0, 0.02),
    retrain: str | None = None,
    retrain_options: dict[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    accelerator: str = 'auto',
    progress: bool = True,
    **trainer_options: Any,
) -> SearchResult:
    r"""Searches for interactions as the `"FIVES: Feature Interaction Via Edge
    Search for Large-Scale Tabular Data" <https://arxiv.org/abs/2007.14573>`_
    paper does (Algorithm 1).

    The weights of the model are learned on training rows, its edges on
    validation rows, in turns, while the temperature falls so that soft edges
    become hard. A model is trained for all epochs; the last one counts.

    Args:
        model (FIVES): The model.
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows. Metrics on them are too good
            after a search, as the edges have seen them.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where checkpoints, models and interactions go.
        max_epochs (int, optional): The number of epochs of the search.
            (default: :obj:`10`)
        batch_size (int, optional): The number of rows of a batch.
            (default: :obj:`1024`)
        lr (float, optional): The learning rate of the weights.
            (default: :obj:`5e-3`)
        architecture_lr (float, optional): The learning rate of the edges.
            (default: :obj:`5e-3`)
        weight_decay (float, optional): The L2 penalty of the weights.
            (default: :obj:`0`)
        temperature (tuple of float, optional): The first and the last
            temperature; :obj:`None` leaves out the re-scaling (Section 3.3.2
            of the paper). (default: :obj:`(1.0, 0.02)`)
        retrain (str, optional): What follows with the hard edges:
            :obj:`"scratch"` learns new weights, :obj:`"finetune"` starts from
            those of the search ("LFS" and "FT" in Figure 6 of the paper).
            (default: :obj:`None`)
        retrain_options (dict, optional): Arguments of
            :func:`~pyg_featgraph.training.fit` in which the re-training
            differs from the search. (default: :obj:`None`)
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
        DataError: If a table has no labels or a single class, or if a search
            with other options is to be resumed.
        ImportError: If Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.bilevel import BilevelModule

    if retrain not in (None, 'scratch', 'finetune'):
        raise ValueError(
            f"'retrain' must be 'scratch' or 'finetune' (got '{retrain}')"
        )
    directory = Path(directory)
    open_directory(
        directory,
        ['search', *([retrain] if retrain else [])],
        {
            'model': model.config,
            'num_rows': [len(train), len(valid)],
            'max_epochs': max_epochs,
            'batch_size': batch_size,
            'lr': lr,
            'architecture_lr': architecture_lr,
            'weight_decay': weight_decay,
            'temperature': temperature,
            'retrain': retrain,
            'retrain_options': repr(retrain_options),
            'drop_absent': train.drop_absent,
            'seed': seed,
        },
        resume,
    )
    shared: dict[str, Any] = {
        'batch_size': batch_size,
        'seed': seed,
        'resume': resume,
        'accelerator': accelerator,
        'progress': progress,
        'max_epochs': max_epochs,
        **trainer_options,
    }
    module = BilevelModule(
        model,
        valid,
        batch_size,
        architecture_lr,
        temperature,
        seed,
        lr=lr,
        weight_decay=weight_decay,
    )
    searched = run(
        module, train, valid, test, directory=directory / 'search', **shared
    )
    found = model.derive()
    found.save(directory / 'interactions.json')
    if retrain is None:
        return SearchResult(found, searched)

    if retrain == 'scratch':
        edges = model.adjacency.state_dict()
        edges = {name: value.clone() for name, value in edges.items()}
        torch.manual_seed(seed)
        model.reset_parameters()
        model.adjacency.load_state_dict(edges)
    model.freeze()
    options = {**shared, 'lr': lr, 'weight_decay': weight_decay}
    retrained = fit(
        model,
        train,
        valid,
        test,
        directory=directory / retrain,
        **{**options, **(retrain_options or {})},
    )
    return SearchResult(found, searched, retrained)

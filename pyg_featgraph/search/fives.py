r"""The search of FIVES: edges are learned on validation rows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import require
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import FIVES
from pyg_featgraph.search.stages import Search, SearchOptions
from pyg_featgraph.training import FitResult
from pyg_featgraph.training.options import split_options


@dataclass(frozen=True, kw_only=True)
class FIVESOptions(SearchOptions):
    r"""The options of :func:`fives_search`.

    Args:
        lr (float, optional): The learning rate of the weights.
            (default: :obj:`5e-3`)
        architecture_lr (float, optional): The learning rate of the edges.
            (default: :obj:`5e-3`)
        temperature (tuple of float, optional): The first and the last
            temperature; :obj:`None` leaves out the re-scaling (Section 3.3.2
            of the paper). (default: :obj:`(1.0, 0.02)`)
        retrain (str, optional): What follows with the hard edges:
            :obj:`"scratch"` learns new weights, :obj:`"finetune"` starts from
            those of the search ("LFS" and "FT" in Figure 6 of the paper).
            (default: :obj:`None`)
        **kwargs (optional): Arguments of
            :class:`~pyg_featgraph.search.SearchOptions`.
    """

    lr: float = 5e-3
    architecture_lr: float | None = 5e-3
    temperature: tuple[float, float] | None = (1.0, 0.02)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.architecture_lr is None:
            raise ValueError("A search needs an 'architecture_lr'")
        if self.temperature is not None and min(self.temperature) <= 0:
            raise ValueError(
                f"'temperature' must be positive (got {self.temperature})"
            )


@dataclass(frozen=True)
class SearchResult:
    r"""What a search has found.

    Args:
        interactions (InteractionSet): The interactions by their effect on the
            logits of validation rows, which are also in
            :obj:`interactions.json` of the directory: all pairs, and of each
            higher order the first of :obj:`derived`, as many as pairs at most.
        derived (InteractionSet): The interactions that the edges spell out.
        searched (FitResult): The end of the search.
        retrained (FitResult, optional): The training with fixed edges, if
            there was one.
    """

    interactions: InteractionSet
    derived: InteractionSet
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
    options: FIVESOptions | None = None,
    resume: bool = False,
    **kwargs: Any,
) -> SearchResult:
    r"""Searches for interactions as the `"FIVES: Feature Interaction Via Edge
    Search for Large-Scale Tabular Data" <https://arxiv.org/abs/2007.14573>`_
    paper does (Algorithm 1).

    The weights of the model are learned on training rows, its edges on
    validation rows, in turns, while the temperature falls so that soft edges
    become hard. A model is trained for all epochs; the last one counts.

    What the edges spell out says where a layer looks, not what the model makes
    of it: as crosses of other models the interactions that come first by
    effect are worth more. So the search ranks by effect, which needs no labels.

    Args:
        model (FIVES): The model.
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows. Metrics on them are too good
            after a search, as the edges have seen them.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where checkpoints, models and interactions go.
        options (FIVESOptions, optional): The options of the search.
            (default: :obj:`FIVESOptions()`)
        resume (bool, optional): Whether to go on with the search in
            :obj:`directory`, as in :func:`~pyg_featgraph.training.fit`.
            (default: :obj:`False`)
        **kwargs (optional): Fields of :class:`FIVESOptions` in which the
            search differs from :obj:`options`, and any arguments of
            :class:`lightning.pytorch.Trainer`. Unless told otherwise it runs
            as many epochs as have 1,000 steps, between 10 and
            100.

    Raises:
        ValueError: If the edges of the model are not those of the paper.
        DataError: As by :func:`~pyg_featgraph.training.fit`.
        NonFiniteError: If the loss or a weight is not finite.
        ImportError: If Lightning is not installed.
    """
    require('lightning.pytorch', 'train')
    from pyg_featgraph.training.bilevel import BilevelModule

    adjacency = model.adjacency
    if adjacency is None:
        raise ValueError("Only edges of the kind 'adjacency' are searched")
    options, rest = split_options(options or FIVESOptions(), kwargs)
    options = options.for_rows(len(train))
    search = Search(
        model,
        (train, valid, test),
        directory,
        options,
        resume,
        folders=('search', 'scratch', 'finetune'),
        num_stages=1 + (options.retrain is not None),
        trainer_options=rest,
    )
    module = BilevelModule(model, valid, options, options.temperature)
    with search:
        searched = search.train('search', module)
        derived = model.derive()
        found = _rank(model, derived, valid, options.seed)
        found.save(search.directory / 'interactions.json')
        if options.retrain is None:
            return SearchResult(found, derived, searched)
        if options.retrain == 'scratch':
            edges = adjacency.state_dict()
            edges = {name: value.clone() for name, value in edges.items()}
            with torch.random.fork_rng():
                torch.manual_seed(options.seed)
                model.reset_parameters()
            adjacency.load_state_dict(edges)
        model.freeze()
        retrained = search.retrain(options.retrain, model)
        return SearchResult(found, derived, searched, retrained)


def _rank(
    model: FIVES, derived: InteractionSet, valid: FieldTable, seed: int
) -> InteractionSet:
    pairs = [Interaction(x, 0.0) for x in combinations(model.info.names, 2)]
    higher = [
        derived.of_order(order).top(len(pairs))
        for order in range(3, model.config['max_order'] + 1)
    ]
    return model.interactions(
        valid, seed=seed, candidates=InteractionSet(chain(pairs, *higher))
    )

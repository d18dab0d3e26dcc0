r"""The search of AIM in its stages."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pyg_featgraph.data import FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM
from pyg_featgraph.nn.gates import shared_gates
from pyg_featgraph.search.aim_dimensions import search_dimensions
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.aim_orders import extend_model, search_order
from pyg_featgraph.search.aim_retrain import retrain_compact
from pyg_featgraph.search.stages import Search
from pyg_featgraph.training import FitResult
from pyg_featgraph.training.options import split_options


@dataclass(frozen=True)
class AIMResult:
    r"""What a search has found.

    Args:
        model (AIM): The compact model, re-trained if that was asked for.
        interactions (InteractionSet): The open interactions with their
            functions, which are also in :obj:`interactions.json` of the
            directory.
        stages (dict): The end of each stage.
        kept (pandas.DataFrame): For each order how many pairs of interaction
            and function are possible, were candidates, and are open.
    """

    model: AIM
    interactions: InteractionSet
    stages: dict[str, FitResult]
    kept: pd.DataFrame

    @property
    def metrics(self) -> dict[str, float]:
        r"""The metrics of the last stage."""
        return list(self.stages.values())[-1].metrics


def aim_search(
    model: AIM,
    train: FieldTable,
    valid: FieldTable,
    test: FieldTable | None = None,
    *,
    directory: str | os.PathLike[str],
    options: AIMOptions | None = None,
    resume: bool = False,
    **kwargs: Any,
) -> AIMResult:
    r"""Searches interactions, their functions and the dimensions of node
    vectors in the stages of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_ paper
    (Section 3.5, Algorithm 1).

    1. For each order: gates on all candidates are trained with
       :class:`~pyg_featgraph.optim.GRDA`, which closes most of them
       (:func:`~pyg_featgraph.search.search_order`). The candidates of the
       next order are the best interactions of this one, each with every other
       field; lower orders are frozen then
       (:func:`~pyg_featgraph.search.extend_model`).
    2. With the open interactions, gates on dimensions are trained in the same
       way (:func:`~pyg_featgraph.search.search_dimensions`).
    3. What is left is re-trained as a compact model, with a perceptron on top
       if :obj:`hidden_channels` are given
       (:func:`~pyg_featgraph.search.retrain_compact`).

    Each stage goes on with the weights of the one before, and has a folder
    with its state; :obj:`resume` takes up the stage that was stopped.

    Args:
        model (AIM): The model with all candidates of the first order.
        train (FieldTable): The training rows, also of the gates.
        valid (FieldTable): The validation rows.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        directory (str): Where checkpoints, models and interactions go.
        options (AIMOptions, optional): The options of the search.
            (default: :obj:`AIMOptions()`)
        resume (bool, optional): Whether to go on with the search in
            :obj:`directory`, as in :func:`~pyg_featgraph.training.fit`.
            (default: :obj:`False`)
        **kwargs (optional): Fields of
            :class:`~pyg_featgraph.search.AIMOptions` in which the search
            differs from :obj:`options`, and any arguments of
            :class:`lightning.pytorch.Trainer`. Unless told otherwise each
            stage runs as many epochs as have 1,000 steps, between 10 and
            100.

    Raises:
        DataError: As by :func:`~pyg_featgraph.training.fit`.
        NonFiniteError: If the loss or a weight is not finite.
        ImportError: If Lightning is not installed.
    """
    options, rest = split_options(options or AIMOptions(), kwargs)
    options = options.for_rows(len(train))
    if model.dim_gate is not None or not model.config['norm']:
        raise ValueError('The model has no gates on normalised interactions')
    search = Search(
        model,
        (train, valid, test),
        directory,
        options,
        resume,
        folders=('order-*', 'dimensions', 'retrain'),
        num_stages=len(options.stages),
        trainer_options=rest,
    )
    with search:
        counts = []
        for order in range(2, options.max_order + 1):
            if order > 2:
                model = extend_model(model, order, options.pool, options.seed)
            counts.append(
                {
                    'order': order,
                    'possible': math.comb(model.info.num_fields, order)
                    * len(model.config['functions']),
                    'candidates': search_order(search, model, order, options),
                }
            )
        found, dims, small = model.gates(), None, model.compact()
        if options.search_dims and found:
            small = search_dimensions(search, model, options).compact()
            # Without a common dimension interactions are gone as well:
            found = shared_gates(found, small.gates())
            dims = small.config['dims']
        if options.retrain is not None:
            small = retrain_compact(search, model, found, dims, options)
        for row in counts:
            row['open'] = sum(
                len(x.detail['functions']) for x in found.of_order(row['order'])
            )
        found.save(search.directory / 'interactions.json')
        return AIMResult(small, found, search.stages, pd.DataFrame(counts))

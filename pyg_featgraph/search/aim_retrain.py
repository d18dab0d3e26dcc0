r"""Stage 3 of the search of AIM: a compact model of what is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import AIM
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.stages import Search


def retrain_compact(
    search: Search,
    model: AIM,
    found: InteractionSet,
    dims: Mapping[str, Any] | None,
    options: AIMOptions,
) -> AIM:
    r"""Trains a compact model.

    Args:
        search (Search): The search.
        model (AIM): The model after the search of interactions.
        found (InteractionSet): The interactions that are open.
        dims (dict, optional): The dimensions of each field that are open, of
            each table. (default: all)
        options (AIMOptions): The options.

    Returns:
        AIM: The compact model, with a perceptron on top if
        :obj:`hidden_channels` are given.
    """
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        out = model.rebuild(
            interactions=found,
            dims=dims,
            hidden_channels=options.hidden_channels,
            dropout=options.dropout,
        ).compact()
        if options.retrain == 'scratch':
            out.reset_parameters()
    search.retrain('retrain', out)
    return out

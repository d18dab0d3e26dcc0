r"""Interactions of a model, ranked by their effects."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.intervals import bootstrap_intervals
from pyg_featgraph.nn.effects import joint_effects
from pyg_featgraph.nn.gates.gates import members

if TYPE_CHECKING:
    from pyg_featgraph.nn.field_model import FieldModel


def rank_by_effect(
    model: FieldModel,
    table: FieldTable,
    candidates: InteractionSet | None,
    num_rows: int,
    batch_size: int,
    seed: int,
    progress: bool,
    num_bootstraps: int,
) -> InteractionSet:
    r"""Ranks sets of fields by what they do together to the logits, see
    :meth:`~pyg_featgraph.nn.FieldModel.interactions`, where the arguments are
    described.
    """
    if candidates is None:
        pairs = combinations(model.info.names, 2)
        candidates = InteractionSet(Interaction(x, 0) for x in pairs)
    effects = joint_effects(
        model,
        table,
        [members(x, model.info) for x in candidates],
        num_rows,
        batch_size,
        seed,
        progress,
        by_member=model.members > 1,
    )
    spread = None
    if model.members > 1:
        each = effects[1:].mean(-1).sqrt()
        effects, spread = effects[0], torch.stack(each.aminmax(dim=0), -1)
    details: list[dict[str, Any]] = [{} for _ in candidates]
    if num_bootstraps:
        ends = bootstrap_intervals(effects, num_bootstraps, seed=seed)
        details = [{'interval': x} for x in np.sqrt(ends).tolist()]
    if spread is not None:
        for detail, x in zip(details, spread.tolist(), strict=True):
            detail['members'] = x
    source, scores = type(model).__name__, effects.mean(-1).sqrt()
    # Below are differences of rounding in single precision:
    return InteractionSet(
        Interaction(x.fields, score, source, {**x.detail, **detail})
        for x, score, detail in zip(
            candidates, scores.tolist(), details, strict=True
        )
        if score > 1e-5
    )

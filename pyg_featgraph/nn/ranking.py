r"""Interactions of a model, ranked by their effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.intervals import bootstrap_intervals


def rank_by_effect(
    candidates: InteractionSet,
    effects: Tensor,
    source: str,
    unit: str = 'output',
    num_bootstraps: int = 0,
    seed: int = 0,
) -> InteractionSet:
    r"""Ranks sets of fields by what they do together to the logits, see
    :meth:`~pyg_featgraph.nn.FieldModel.interactions`.

    Args:
        candidates (InteractionSet): The sets, whose details are kept.
        effects (torch.Tensor): Their effects in each row, as
            :func:`~pyg_featgraph.nn.joint_effects` gives them, with shape
            :math:`(|\mathcal{S}|, R)`; or :math:`(1 + k, |\mathcal{S}|, R)`,
            those of the members behind those of the model.
        source (str): What has made the ranking.
        unit (str, optional): What the effects are on.
            (default: :obj:`"output"`)
        num_bootstraps (int, optional): How often rows are drawn anew for
            intervals. (default: :obj:`0`)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)
    """
    spread = None
    if effects.dim() == 3:
        each = effects[1:].mean(-1).sqrt()
        effects, spread = effects[0], torch.stack(each.aminmax(dim=0), -1)
    measured = {'unit': f'effect on the {unit}', 'rows': effects.size(-1)}
    details: list[dict[str, Any]] = [{**measured} for _ in candidates]
    if num_bootstraps:
        ends = bootstrap_intervals(effects, num_bootstraps, seed=seed)
        for detail, x in zip(details, np.sqrt(ends).tolist(), strict=True):
            detail['interval'] = x
    if spread is not None:
        for detail, x in zip(details, spread.tolist(), strict=True):
            detail['members'] = x
    scores = effects.mean(-1).sqrt()
    # Below are differences of rounding in single precision:
    return InteractionSet(
        Interaction(x.fields, score, source, {**x.detail, **detail})
        for x, score, detail in zip(
            candidates, scores.tolist(), details, strict=True
        )
        if score > 1e-5
    )

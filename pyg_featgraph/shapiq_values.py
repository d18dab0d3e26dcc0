r"""Interactions as the package shapiq has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyg_featgraph.errors import DataError, require

if TYPE_CHECKING:
    from shapiq import InteractionValues


def to_shapiq(
    scores: Mapping[tuple[str, ...], float],
    names: Sequence[str] | None = None,
    index: str = 'Moebius',
    baseline: float = 0.0,
) -> InteractionValues:
    r"""Of the scores of sets of fields, see :meth:`InteractionSet.to_shapiq
    <pyg_featgraph.interactions.InteractionSet.to_shapiq>`.
    """
    shapiq = require('shapiq', 'shapiq')
    occurring = {name for fields in scores for name in fields}
    players = sorted(occurring) if names is None else list(names)
    place = {name: i for i, name in enumerate(players)}
    if occurring - {*place}:
        raise DataError(
            f"'names' lack the fields {sorted(occurring - {*place})}"
        )
    values = {
        tuple(sorted(place[name] for name in fields)): score
        for fields, score in scores.items()
    }
    out: InteractionValues = shapiq.InteractionValues(
        values,
        index=index,
        min_order=1,
        max_order=max(map(len, scores), default=1),
        n_players=len(players),
        # Else all sets that there could be are made:
        interaction_lookup={fields: i for i, fields in enumerate(values)},
        estimated=True,
        baseline_value=baseline,
    )
    return out


def from_shapiq(
    values: InteractionValues, names: Sequence[str]
) -> dict[tuple[str, ...], float]:
    r"""The scores of sets of fields, see :meth:`InteractionSet.from_shapiq
    <pyg_featgraph.interactions.InteractionSet.from_shapiq>`.
    """
    if len(names) != values.n_players:
        raise DataError(
            f"'names' must be those of {values.n_players} players (got "
            f'{len(names)})'
        )
    return {
        tuple(names[i] for i in players): score
        for players, score in values.interactions.items()
        if players
    }

r"""What fields and sets of fields add to the output of one row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.intervals import bootstrap_intervals
from pyg_featgraph.nn.effects import subsets
from pyg_featgraph.nn.mixing import (
    mixed_logits,
    output_unit,
    pick_output,
    swaps,
)


@dataclass(frozen=True)
class RowEffects:
    r"""What fields and sets of fields add to the output of one row.

    Args:
        effects (InteractionSet): The effects as scores, which may be
            negative, of single fields and larger sets, each with an interval
            over other rows as :obj:`detail["interval"]`.
        base (float): The mean output over rows with nothing of this row.
        output (float): The output of the row.
        max_order (int): The number of fields of the largest sets.
        unit (str): What the output is.
        num_rows (int): The number of other rows.
    """

    effects: InteractionSet
    base: float
    output: float
    max_order: int
    unit: str
    num_rows: int

    @property
    def rest(self) -> float:
        r"""What larger sets add, so that base, effects and rest sum to the
        output.
        """
        total = math.fsum(x.score for x in self.effects)
        return self.output - self.base - total


def row_effects(
    model: Any,
    table: FieldTable,
    row: int,
    output: int | None = None,
    max_order: int = 2,
    num_rows: int = 64,
    batch_size: int = 2048,
    seed: int = 0,
    progress: bool = False,
    num_bootstraps: int = 200,
) -> RowEffects:
    r"""What fields and sets of fields add to the output of one row.

    With :math:`v_T` the mean output over other rows that take the fields
    :math:`T` from the row, the effect of a set is

    .. math::
        m_S = \sum_{T \subseteq S} (-1)^{|S| - |T|} \, v_T .

    So a field adds what the output gains when other rows take it over, and a
    pair what they gain beyond both of its fields. These are the dividends of
    `"A Simplified Bargaining Model for the n-Person Cooperative Game"
    <https://doi.org/10.2307/2525487>`_ for the game of which rows have the
    values of this row; those of all sets sum to its output.
    :func:`~pyg_featgraph.plot.plot_waterfall` draws them.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows.
        row (int): Which of them to explain.
        output (int, optional): Which output, if the model has several.
            (default: :obj:`None`)
        max_order (int, optional): The number of fields of the largest sets.
            All sets of up to so many are measured. (default: :obj:`2`)
        num_rows (int, optional): The number of other rows to draw.
            (default: :obj:`64`)
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`2048`)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`False`)
        num_bootstraps (int, optional): How often rows are drawn anew for the
            intervals. (default: :obj:`200`)

    Raises:
        IndexError: If there is no such row.
        ValueError: If the table has no other row, if there is no such output,
            or if sets have no fields or more than there are.
    """
    n = table.info.num_fields
    if not 0 <= row < len(table):
        raise IndexError(f'There is no row {row} among {len(table)}')
    if not 1 <= max_order <= n:
        raise ValueError(f"'max_order' must lie in 1 to {n} (got {max_order})")
    if len(table) < 2:
        raise ValueError('Effects need other rows to take fields over')
    order = torch.randperm(
        len(table), generator=torch.Generator().manual_seed(seed)
    )
    base = order[order != row][:num_rows]
    # The row, and others, which may be few of very many:
    table = table.subset(torch.cat([torch.tensor([row]), base]))
    row, base = 0, torch.arange(1, len(table))
    sizes = range(1, max_order + 1)
    sets = [*chain(*(combinations(range(n), size) for size in sizes))]
    # The row itself is the last variant:
    taken = [(), *sets, tuple(range(n))]
    variants = {s: i for i, s in enumerate(taken)}
    swapped = torch.zeros(len(taken), n, dtype=torch.bool)
    for i, s in enumerate(taken):
        swapped[i, list(s)] = True
    other = torch.full_like(base, row)
    parts = swaps(base, other, swapped, batch_size, progress)
    values = pick_output(mixed_logits(model, table, parts)[:, 0], output)
    effects = values.new_zeros(len(sets), len(base))
    for effect, s in zip(effects, sets, strict=True):
        for t in subsets(s):
            effect += (-1) ** (len(s) - len(t)) * values[variants[t]]
    ends = bootstrap_intervals(effects, num_bootstraps, seed=seed).tolist()
    unit = output_unit(model)
    detail = {'unit': f'effect on the {unit}', 'rows': len(base)}
    names, source = table.info.names, model.__class__.__name__
    found = InteractionSet(
        Interaction(
            tuple(names[i] for i in s),
            score,
            source,
            {**detail, 'interval': interval},
        )
        for s, score, interval in zip(
            sets, effects.mean(-1).tolist(), ends, strict=True
        )
    )
    return RowEffects(
        found,
        float(values[0].mean()),
        float(values[-1].mean()),
        max_order,
        unit,
        len(base),
    )

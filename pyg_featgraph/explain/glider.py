r"""The interactions that a black box uses in general."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyg_featgraph.explain.local import LocalInteractions
from pyg_featgraph.explain.madex import madex
from pyg_featgraph.explain.perturb.base import Perturbation
from pyg_featgraph.html import html_table, ranking_html
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.intervals import bootstrap_intervals

#: How many rows a run begins with that goes on until it agrees with itself.
_FIRST = 32


@dataclass(frozen=True)
class GlobalInteractions:
    r"""What a black box does at many rows.

    Args:
        interactions (InteractionSet): The interactions, of which none lies
            inside another one; their scores are counts of rows.
        counts (InteractionSet): All interactions that were found, likewise,
            each with an interval of its count in so many other rows as
            :obj:`detail["interval"]`.
        num_rows (int): The number of rows.
        significant_count (int): A higher count is no chance, see
            :func:`significant_count`.
        agreement (float): The share of the first interactions that half of
            the rows has in common with the other half, see
            :func:`split_agreement`. Two runs of so many rows have more.
    """

    interactions: InteractionSet
    counts: InteractionSet
    num_rows: int
    significant_count: int
    agreement: float

    def _repr_html_(self) -> str:
        figures = [
            ('rows', self.num_rows),
            ('significant above', self.significant_count),
            ('agreement of halves', self.agreement),
        ]
        table = html_table('GLIDER', ['', ''], figures)
        return table + ranking_html(self.interactions)


def glider(
    perturbation: Perturbation,
    k: int | None = None,
    *,
    num_rows: int | None = 1000,
    agreement: float | None = None,
    top: int | None = None,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
    **madex_options: Any,
) -> GlobalInteractions:
    r"""Detects the interactions that a black box uses in general, with
    GLIDER of the `"Feature Interaction Interpretability: A Case for
    Explaining Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Algorithm 1): how many rows
    have an interaction in their ranking.

    What is found in a strong model becomes columns
    (:class:`~pyg_featgraph.crossing.CrossFeatures`) of a simpler one, which
    is distillation, or of the same one, which is enhancement. It also serves
    any model of this library that takes interactions.

    .. note::
        That a count is significant does not say that it is among the first in
        another run as well: with tens of rows, half of the first ten may be
        others. An :obj:`agreement` takes as many rows as it needs.

    Args:
        perturbation (Perturbation): The rows and the black box. All rows must
            have the same features.
        k (int, optional): How many interactions to return, nested ones left
            out as by
            :meth:`~pyg_featgraph.interactions.InteractionSet.prune`.
            (default: all)
        num_rows (int, optional): The number of rows to draw without
            replacement, if there are more. (default: :obj:`1000`)
        agreement (float, optional): Begins with 32 of these rows and doubles
            them until the halves have this share of their first :obj:`k` (ten
            if it is not given) in common. (default: all rows)
        top (int, optional): The length of the ranking of a row at most. If it
            holds most of what there is, counts tell nothing apart and do not
            repeat. (default: as large a share of the pairs as in the paper,
            which takes 100 of 741, and 100 at most)
        seed (int, optional): The seed of everything. (default: :obj:`0`)
        directory (str, optional): A folder that takes results as soon as they
            are there, see :func:`~pyg_featgraph.explain.madex`.
            (default: :obj:`None`)
        **madex_options (optional): Additional arguments of
            :func:`~pyg_featgraph.explain.madex`, among them :obj:`resume` to
            go on after a break.

    Raises:
        ValueError: If rows differ in their features, or if no agreement can be
            as large.
    """
    if agreement is not None and not 0 < agreement <= 1:
        raise ValueError(f"'agreement' must lie in (0, 1] (got {agreement})")
    size = len(perturbation)
    names = perturbation.names(0)
    rows = np.random.default_rng(seed).permutation(size)[:num_rows].tolist()
    for row in rows:
        if perturbation.names(row) != names:
            raise ValueError(
                f'Rows 0 and {row} have different features, of which '
                'no interactions in general can be counted'
            )
    if top is None:
        top = min(100, -(-math.comb(len(names), 2) * 100 // 741))
    local: list[LocalInteractions] = []
    start, stop = 0, len(rows)
    share = math.nan
    while start < len(rows):
        if agreement is not None:
            stop = min(max(2 * start, _FIRST), len(rows))
        # A folder for each part, as each is a call of its own:
        folder = directory and Path(directory) / f'rows-{start}'
        local += madex(
            perturbation,
            rows[start:stop],
            top=top,
            seed=seed,
            directory=folder,
            **madex_options,
        )
        share = split_agreement(local, len(names), k or 10, seed=seed)
        if agreement is not None and share >= agreement:
            break
        start = stop
    counts = count_interactions(local, len(names), seed)
    # As in the paper, as if there were none of higher order:
    order = min(3, madex_options.get('max_order') or 3)
    if madex_options.get('detector') == 'gradient_nid':
        order = 2
    found = sum(x.score for x in counts.of_order(*range(2, order + 1)))
    return GlobalInteractions(
        counts.prune(k),
        counts,
        len(local),
        significant_count(len(local), found / len(local), len(names), order),
        share,
    )


def count_interactions(
    local: Sequence[LocalInteractions], num_features: int, seed: int = 0
) -> InteractionSet:
    r"""In how many rows an interaction was found, with an interval over rows,
    see :func:`~pyg_featgraph.intervals.bootstrap_intervals`. That of all
    features says nothing and is left out.

    Args:
        local (list of LocalInteractions): What was found in each row.
        num_features (int): The number of features of a row.
        seed (int, optional): The seed of the intervals. (default: :obj:`0`)
    """
    sets, found = _presence(local, num_features)
    sources = {x.source for row in local for x in row.interactions}
    source = f'GLIDER ({", ".join(sorted(sources))})'
    measured = {'unit': 'rows with the interaction', 'rows': len(local)}
    # In parts, as there may be a hundred sets for each row:
    ends = [
        len(local) * bootstrap_intervals(part.T, seed=seed)
        for part in np.array_split(found, -(-len(sets) // 1000) or 1, axis=1)
    ]
    return InteractionSet(
        Interaction(fields, count, source, {**measured, 'interval': interval})
        for fields, count, interval in zip(
            sets,
            found.sum(axis=0).tolist(),
            np.concatenate(ends).tolist(),
            strict=True,
        )
    )


def split_agreement(
    local: Sequence[LocalInteractions],
    num_features: int,
    k: int = 10,
    num_splits: int = 50,
    seed: int = 0,
) -> float:
    r"""The share of the :obj:`k` interactions with the highest counts that
    two halves of the rows have in common, as the mean over splits at random.
    Equal counts are ranked at random in each half, so that counts which tell
    nothing apart agree by chance only.

    Args:
        local (list of LocalInteractions): What was found in each row.
        num_features (int): The number of features of a row.
        k (int, optional): How many interactions count. (default: :obj:`10`)
        num_splits (int, optional): The number of splits.
            (default: :obj:`50`)
        seed (int, optional): The seed of the splits. (default: :obj:`0`)

    Returns:
        float: The share, NaN for a single row or if nothing was found.
    """
    _, found = _presence(local, num_features)
    half, num_sets = len(found) // 2, found.shape[1]
    k = min(k, num_sets)
    if half == 0 or k == 0:
        return math.nan
    rng = np.random.default_rng(seed)
    total = 0
    for _ in range(num_splits):
        order = rng.permutation(len(found))
        one, two = (
            # The random part is below one, so that it ranks equal counts alone:
            np.argsort(-found[part].sum(axis=0) - rng.random(num_sets))[:k]
            for part in (order[:half], order[half : 2 * half])
        )
        total += len(np.intersect1d(one, two))
    return total / (k * num_splits)


def _presence(
    local: Sequence[LocalInteractions], num_features: int
) -> tuple[list[tuple[str, ...]], NDArray[np.bool_]]:
    r"""The sets that were found, and in which rows."""
    rows = [
        {x.fields for x in row.interactions if x.order < num_features}
        for row in local
    ]
    place = {fields: i for i, fields in enumerate(sorted(set().union(*rows)))}
    found = np.zeros((len(rows), len(place)), dtype=bool)
    for i, sets in enumerate(rows):
        found[i, [place[fields] for fields in sets]] = True
    return list(place), found


def significant_count(
    num_rows: int,
    num_found: float,
    num_features: int,
    max_order: int = 3,
    level: float = 0.05,
) -> int:
    r"""The count that some interaction exceeds with a probability below
    :obj:`level`, if each row chose its interactions at random,

    .. math::
        \min \{ c : N \cdot P(X > c) < \textrm{level} \}, \quad X \sim
        \mathrm{Bin} \Big( \textrm{rows}, \frac{\textrm{found}}{N} \Big),
        \quad N = \sum_{k=2}^{\textrm{order}} \binom{d}{k},

    with Bonferroni's correction for the number of interactions. For 1,000
    rows of 39 features with 100 found in each it is 27, where the paper has
    25 (Section 6.2.1).

    Args:
        num_rows (int): The number of rows.
        num_found (float): The mean number of interactions of a row.
        num_features (int): The number :math:`d` of features.
        max_order (int, optional): The largest order to choose from.
            (default: :obj:`3`)
        level (float, optional): The level. (default: :obj:`0.05`)
    """
    num_sets = sum(math.comb(num_features, k) for k in range(2, max_order + 1))
    if not 0 <= num_found <= num_sets:
        raise ValueError(
            f'A row cannot have {num_found} of {num_sets} interactions'
        )
    share = num_found / num_sets
    # From the largest count downwards, adding up the probabilities of all
    # that are larger:
    tail = 0.0
    for count in range(num_rows, -1, -1):
        tail += _binomial(count, num_rows, share)
        if num_sets * tail >= level:
            return count
    return 0


def _binomial(count: int, size: int, share: float) -> float:
    if share in (0, 1):
        return float(count == size * share)
    log = (
        math.lgamma(size + 1)
        - math.lgamma(count + 1)
        - math.lgamma(size - count + 1)
        + count * math.log(share)
        + (size - count) * math.log1p(-share)
    )
    return math.exp(log)

r"""The interactions that a black box uses in general."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyg_featgraph.explain.local import LocalInteractions
from pyg_featgraph.explain.madex import madex
from pyg_featgraph.explain.perturb.base import Perturbation
from pyg_featgraph.interactions import Interaction, InteractionSet


@dataclass(frozen=True)
class GlobalInteractions:
    r"""What a black box does at many rows.

    Args:
        interactions (InteractionSet): The interactions, of which none lies
            inside another one; their scores are counts of rows.
        counts (InteractionSet): All interactions that were found, likewise.
        num_rows (int): The number of rows.
        significant_count (int): A higher count is no chance, see
            :func:`significant_count`.
    """

    interactions: InteractionSet
    counts: InteractionSet
    num_rows: int
    significant_count: int


def glider(
    perturbation: Perturbation,
    k: int | None = None,
    *,
    num_rows: int | None = 1000,
    top: int = 100,
    seed: int = 0,
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

    Args:
        perturbation (Perturbation): The rows and the black box. All rows must
            have the same features.
        k (int, optional): How many interactions to return, nested ones left
            out as by
            :meth:`~pyg_featgraph.interactions.InteractionSet.prune`.
            (default: all)
        num_rows (int, optional): The number of rows to draw without
            replacement, if there are more. (default: :obj:`1000`)
        top (int, optional): The length of the ranking of a row at most.
            (default: :obj:`100`)
        seed (int, optional): The seed of everything. (default: :obj:`0`)
        **madex_options (optional): Additional arguments of
            :func:`~pyg_featgraph.explain.madex`, among them
            :obj:`directory` and :obj:`resume` to go on after a break.

    Raises:
        ValueError: If rows differ in their features.
    """
    size = len(perturbation)
    rows: Sequence[int] = range(size)
    if num_rows is not None and num_rows < size:
        draw = np.random.default_rng(seed).permutation(size)[:num_rows]
        rows = sorted(draw.tolist())
    names = perturbation.names(rows[0])
    for row in rows:
        if perturbation.names(row) != names:
            raise ValueError(
                f'Rows {rows[0]} and {row} have different features, of which '
                'no interactions in general can be counted'
            )
    local = madex(perturbation, rows, top=top, seed=seed, **madex_options)
    counts = count_interactions(local, len(names))
    # As in the paper, as if there were none of higher order:
    order = min(3, madex_options.get('max_order') or 3)
    if madex_options.get('detector') == 'gradient_nid':
        order = 2
    found = sum(x.score for x in counts.of_order(*range(2, order + 1)))
    return GlobalInteractions(
        counts.prune(k),
        counts,
        len(rows),
        significant_count(len(rows), found / len(rows), len(names), order),
    )


def count_interactions(
    local: Iterable[LocalInteractions], num_features: int
) -> InteractionSet:
    r"""In how many rows an interaction was found. That of all features says
    nothing and is left out.

    Args:
        local (list of LocalInteractions): What was found in each row.
        num_features (int): The number of features of a row.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    sources = set()
    for row in local:
        for entry in row.interactions:
            if entry.order < num_features:
                counts[entry.fields] += 1
                sources.add(entry.source)
    source = f'GLIDER ({", ".join(sorted(sources))})'
    return InteractionSet(
        Interaction(fields, count, source) for fields, count in counts.items()
    )


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

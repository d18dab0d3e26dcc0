r"""The interactions that searched edges spell out."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nlargest

import numpy as np
from numpy.typing import ArrayLike

from pyg_featgraph.interactions import Interaction, InteractionSet


def derive_interactions(
    scores: ArrayLike,
    names: Sequence[str],
    threshold: float | Sequence[float] = 0.5,
    max_candidates: int = 10_000,
    include_fields: bool = False,
    source: str = 'FIVES',
) -> InteractionSet:
    r"""The interactions that layer-wise edges spell out, from the `"FIVES:
    Feature Interaction Via Edge Search for Large-Scale Tabular Data"
    <https://arxiv.org/abs/2007.14573>`_ paper (Section 2.5).

    With the edges :math:`\mathcal{N}^{(k)}_i` of layer :math:`k` that reach
    their threshold, field :math:`i` gives the interactions

    .. math::
        \{ f_i \otimes f_{c_1} \otimes \ldots \otimes f_{c_k} \mid c_j \in
        \mathcal{N}^{(j)}_i, \; j = 1, \ldots, k \}

    of order :math:`k + 1`. Those which repeat a field are dropped, and an
    interaction that arises from several fields counts once. The paper does
    not define a score; here it is the smallest of the edges used, at best.

    Args:
        scores (array): The scores of the edges, with shape
            :math:`(K - 1, n, n)`, rows being the fields :math:`i`.
        names (list of str): The names of the :math:`n` fields.
        threshold (float or list of float, optional): The threshold of each
            layer; a score of zero never is an edge. (default: :obj:`0.5`)
        max_candidates (int, optional): How many to keep of each order, and
            of each order and field on the way to the next.
            (default: :obj:`10_000`)
        include_fields (bool, optional): If set to :obj:`True`, single fields
            are part of the result, with score one. (default: :obj:`False`)
        source (str, optional): The method. (default: :obj:`"FIVES"`)
    """
    values = np.asarray(scores, dtype=np.float64)
    n = len(names)
    if values.ndim != 3 or values.shape[1:] != (n, n):
        raise ValueError(
            f"'scores' must have shape (layers, {n}, {n}) (got {values.shape})"
        )
    if not isinstance(threshold, Sequence):
        threshold = [threshold] * len(values)
    if len(threshold) != len(values):
        raise ValueError(
            f"'threshold' needs one entry for each of {len(values)} layers "
            f'(got {list(threshold)})'
        )

    # For each field the interactions of one order, with their best score:
    found = [{frozenset([i]): 1.0} for i in range(n)]
    orders = [found] if include_fields else []
    for layer, least in zip(values, threshold, strict=True):
        found = [
            _extend(found[i], layer[i], least, max_candidates) for i in range(n)
        ]
        orders.append(found)
    out: list[Interaction] = []
    for found in orders:
        best: dict[frozenset[int], float] = {}
        for candidates in found:
            for fields, score in candidates.items():
                best[fields] = max(score, best.get(fields, 0.0))
        out += [
            Interaction(
                tuple(names[i] for i in fields),
                score,
                source,
                {'unit': 'smallest edge score'},
            )
            for fields, score in _head(best, max_candidates)
        ]
    return InteractionSet(out)


def _extend(
    candidates: dict[frozenset[int], float],
    scores: np.ndarray,
    threshold: float,
    limit: int,
) -> dict[frozenset[int], float]:
    # Whatever the threshold, a score of zero is no edge:
    active = np.flatnonzero((scores >= threshold) & (scores > 0)).tolist()
    edges = [(j, float(scores[j])) for j in active]
    out: dict[frozenset[int], float] = {}
    for fields, score in candidates.items():
        for j, edge in edges:
            if j not in fields:
                more = fields | {j}
                out[more] = max(min(score, edge), out.get(more, 0.0))
    return dict(_head(out, limit))


def _head(
    candidates: dict[frozenset[int], float], limit: int
) -> list[tuple[frozenset[int], float]]:
    # Of equal scores the first fields win, so that a cut is reproducible:
    return nlargest(
        limit,
        candidates.items(),
        key=lambda x: (x[1], [-i for i in sorted(x[0])]),
    )

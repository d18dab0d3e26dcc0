r"""How strongly sets of fields interact in the logits of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldTable
from pyg_featgraph.nn.mixing import mixed_logits, swaps


def joint_effects(
    model: Any,
    table: FieldTable,
    sets: Iterable[Sequence[int]] | None = None,
    num_rows: int = 256,
    batch_size: int = 2048,
    seed: int = 0,
    progress: bool = False,
    by_member: bool = False,
) -> Tensor:
    r"""How strongly sets of fields interact in the logits of a model, row by
    row.

    With :math:`f_{\setminus T}` the logit of a row in which the fields
    :math:`T` are taken from another row, the mean over rows of

    .. math::
        2^{-|S|} \Big( \sum_{T \subseteq S} (-1)^{|T|} f_{\setminus T} \Big)^2

    is the superset importance of the `"Estimating Mean Dimensionality of
    Analysis of Variance Decompositions"
    <https://doi.org/10.1198/016214505000001410>`_ paper, estimated by
    exchanging fields between rows: the variance of all terms of the model
    that contain the fields :math:`S` together, if fields are independent. It
    is zero if there is no such term. A set has at least the importance of
    those that contain it.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`,
            of one output or several, over which the mean is taken.
        table (FieldTable): The rows to draw from.
        sets (list of tuple, optional): The sets, as indices of fields.
            (default: all pairs)
        num_rows (int, optional): The number of rows to draw, each with a
            partner of its own, so that rows are independent; at most half of
            the table. The model is evaluated on a variant of each for every
            subset of one of the sets. (default: :obj:`256`)
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`2048`)
        seed (int, optional): The seed of the draw. (default: :obj:`0`)
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`False`)
        by_member (bool, optional): Whether the effects on the logits of each
            of :math:`k` members come behind those on the logits of the model,
            a :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`False`)

    Shapes:
        - **output:** :math:`(|\mathcal{S}|, R)` for :math:`R` rows, in double
          precision; or :math:`(1 + k, |\mathcal{S}|, R)`

    Raises:
        ValueError: If the table has a single row, or a set no fields or one
            that does not exist.
    """
    n = table.info.num_fields
    chosen = [tuple(s) for s in combinations(range(n), 2)]
    if sets is not None:
        chosen = [tuple(sorted(s)) for s in sets]
    for s in chosen:
        if not s or len({*s}) < len(s) or not 0 <= s[0] <= s[-1] < n:
            raise ValueError(f'{s} is no set of some of {n} fields')
    size = min(num_rows, len(table) // 2)
    if size < 1:
        raise ValueError('Effects need two rows to exchange fields between')
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(table), generator=generator)[: 2 * size]
    # Which may be few of very many:
    table = table.subset(rows)
    base, other = torch.arange(2 * size).split(size)
    # Every variant once: which fields come from the other row.
    needed = {(), *(t for s in chosen for t in subsets(s))}
    variants = {t: i for i, t in enumerate(sorted(needed))}
    swapped = torch.zeros(len(variants), n, dtype=torch.bool)
    for t, i in variants.items():
        swapped[i, list(t)] = True
    parts = swaps(base, other, swapped, batch_size, progress)
    values = mixed_logits(model, table, parts, by_member)
    out = values.new_empty(len(chosen), *values.shape[1:3])
    for order in {len(s) for s in chosen}:
        of_order = [i for i, s in enumerate(chosen) if len(s) == order]
        index = torch.tensor(
            [[variants[t] for t in subsets(chosen[i])] for i in of_order]
        )
        joint = values.new_zeros(len(of_order), *values.shape[1:])
        for t, column in zip(subsets(range(order)), index.t(), strict=True):
            joint += (-1) ** len(t) * values[column]
        out[of_order] = joint.square().mean(-1) / 2**order
    out = out.transpose(0, 1)
    return out if by_member else out[0]


def subsets(fields: Sequence[int]) -> list[tuple[int, ...]]:
    r"""All of them, in an order that depends on their number alone."""
    sizes = range(len(fields) + 1)
    return [t for k in sizes for t in combinations(fields, k)]

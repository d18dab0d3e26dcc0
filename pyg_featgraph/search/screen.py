r"""A test of every set of fields of an order, without a model of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from pyg_featgraph.data import FieldSchema, to_frame
from pyg_featgraph.data.bins import quantile_edges
from pyg_featgraph.data.values import check_frame, to_numbers
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet

Floats = NDArray[np.float64]


def screen(
    frame: Any,
    residual: ArrayLike,
    order: int = 3,
    *,
    schema: FieldSchema | None = None,
    bins: int = 8,
    max_cells: int = 2**15,
    top: int | None = None,
    progress: bool = False,
) -> InteractionSet:
    r"""Tests every set of fields of an order for an interaction that the
    residuals still hold, one that no set of fewer fields betrays included.

    With the values :math:`x_{if}` of row :math:`i`, cut into buckets of
    probability :math:`p_f`, and the residuals :math:`r_i`, the statistic of a
    set is

    .. math::
        T_S = \sum_{i \neq j} r_i r_j \prod_{f \in S} k_f(x_{if}, x_{jf}),
        \quad k_f(a, b) = [a = b] - p_f(a) - p_f(b) + \sum_c p_f(c)^2.

    Kernels are centred (as in `"Kernel Tests for Lancaster Three-Variable
    Interaction" <https://arxiv.org/abs/1306.2281>`_), so what depends on fewer
    fields of the set does not count if fields are independent. It is summed up
    over the cells of the cross, in a time that grows with rows plus cells. The
    variance is the exact one under random signs of the residuals, the
    skewness that of independent fields, and p-values are those of the gamma
    distribution with these moments.

    .. note::
        If fields depend on each other, effects of fewer fields shine through.
        The residuals should then be those of a model that has them, predicted
        for rows that it was not trained on.

    Args:
        frame (pandas.DataFrame): The columns of the fields, in any table that
            :func:`~pyg_featgraph.data.to_frame` takes. What the schema does
            not have plays no part.
        residual (array): What a model leaves unexplained, one number for each
            row: the label minus the prediction, or the label itself. The mean
            is taken off.
        order (int, optional): The number of fields of each set.
            (default: :obj:`3`)
        schema (FieldSchema, optional): The kinds of the fields; its other
            options play no part. (default: as
            :meth:`~pyg_featgraph.data.FieldSchema.infer` reads them)
        bins (int, optional): The number of quantile buckets of a numeric
            field, in which mass points have their own. (default: :obj:`8`)
        max_cells (int, optional): How many combinations of values a set may
            have. Of fields with more than the root of it, the most frequent
            values have a bucket of their own and all others share one, which
            loses what tells these apart. (default: :obj:`32768`)
        top (int, optional): How many to return. (default: all)
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`False`)

    Returns:
        InteractionSet: All sets, scored by :math:`-\log_{10}` of the p-value,
        which is :obj:`detail["p"]`; :obj:`detail["p_adjusted"]` is that for the
        best of so many sets (Bonferroni).

    Raises:
        DataError: If a field is multi-valued or a vector, or if residuals are
            not one finite number for each row.
    """
    frame = to_frame(frame)
    check_frame(frame, frame.columns)
    schema = schema or FieldSchema.infer(frame)
    fields = [x for x in schema if x.column in frame.columns]
    names = [x.name for x in fields]
    if not 2 <= order <= len(names):
        raise ValueError(f"'order' must lie in 2 to {len(names)} (got {order})")
    if bins < 2 or max_cells < 2**order:
        raise ValueError(
            f"'bins' must be at least 2 and 'max_cells' at least {2**order} "
            f'(got {bins} and {max_cells})'
        )
    for field in fields:
        if field.kind not in ('numeric', 'categorical'):
            raise DataError(
                f"Column '{field.name}' is of the kind '{field.kind}', which "
                'cannot be screened; leave it out, or name its kind in the '
                'schema'
            )
    r = np.asarray(residual, dtype=np.float64)
    if r.shape != (len(frame),) or not np.isfinite(r).all() or len(r) < 2:
        raise DataError(
            'The residuals must be finite numbers, one for each of '
            f'{len(frame)} rows, of which there are two at least (got shape '
            f'{r.shape} with {int((~np.isfinite(r)).sum())} not finite)'
        )
    size = int(max_cells ** (1 / order) + 1e-9)
    codes = [
        bucket(field.read(frame), field.kind, min(bins, size), size)
        for field in fields
    ]
    log_p = _log_tails(*_statistics(codes, r - r.mean(), order, progress))
    p, score = np.exp(log_p), np.maximum(-log_p / math.log(10), 0)
    adjusted = np.minimum(p * len(p), 1)
    sets = combinations(names, order)
    source = f'screen of order {order}'
    return InteractionSet(
        Interaction(
            fields,
            z,
            source,
            {'unit': '-log10 p', 'rows': len(r), 'p': q, 'p_adjusted': least},
        )
        for fields, z, q, least in zip(
            sets, score.tolist(), p.tolist(), adjusted.tolist(), strict=True
        )
    ).top(top)


def bucket(
    values: pd.Series, kind: str, bins: int, max_values: int
) -> NDArray[np.int32]:
    r"""The buckets of values, numbered from zero. Missing ones have one of
    their own.

    Args:
        values (pandas.Series): The values.
        kind (str): The kind of the field.
        bins (int): The number of quantile buckets of a numeric field.
        max_values (int): The number of buckets at most: all but the most
            frequent values share the last one.
    """
    if kind == 'numeric':
        number = to_numbers(values)
        missing = np.isnan(number)
        # One less with a bucket for missing ones:
        num_bins = min(bins, max_values - int(missing.any()))
        known = np.unique(number[~missing], return_counts=True)
        cut = np.searchsorted(quantile_edges(*known, num_bins), number)
        values = pd.Series(np.where(missing, -1, cut))
    code, _ = pd.factorize(values, use_na_sentinel=False)
    ranked = np.argsort(-np.bincount(code), kind='stable')
    place = np.empty(len(ranked), dtype=np.int32)
    place[ranked] = np.arange(len(ranked)).clip(max=max_values - 1)
    return place[code]


def _statistics(
    codes: Sequence[NDArray[np.int32]], r: Floats, order: int, progress: bool
) -> tuple[Floats, Floats, Floats]:
    r"""The statistic of each set, its variance, and its degrees of freedom:
    how many equal eigenvalues would make it as skewed.
    """
    num_rows, n = len(r), len(codes)
    sizes = [int(code.max()) + 1 for code in codes]
    probs = [np.bincount(code) / num_rows for code in codes]
    kernels = [np.eye(len(p)) - p[:, None] - p + p @ p for p in probs]
    squares = [k**2 for k in kernels]
    own = [np.diag(k) for k in kernels]
    freedoms = [_freedom(k * p) for k, p in zip(kernels, probs, strict=True)]
    r2 = r**2
    # Single precision is enough for what corrects a variance:
    own_squares = np.stack(
        [
            (x**2).astype(np.float32)[code]
            for x, code in zip(own, codes, strict=True)
        ]
    )
    r4 = (r2**2).astype(np.float32)
    out = np.empty((3, math.comb(n, order)))
    prefixes = list(combinations(range(n), order - 1))
    place = 0
    for prefix in tqdm(prefixes, disable=not progress):
        rest = range(prefix[-1] + 1, n)
        if not rest:
            continue
        key, fourth = np.zeros(num_rows, dtype=np.int32), r4
        for f in prefix:
            key = key * sizes[f] + codes[f]
            fourth = fourth * own_squares[f]
        same = own_squares[rest.start :] @ fourth
        for f in rest:
            chosen = (*prefix, f)
            shape = [sizes[g] for g in chosen]
            cell = key * sizes[f] + codes[f]
            sums, mass = (
                np.bincount(cell, w, math.prod(shape)).reshape(shape)
                for w in (r, r2)
            )
            diagonal = mass
            for g in reversed(chosen):
                diagonal = diagonal @ own[g]
            out[0, place] = _form(sums, [kernels[g] for g in chosen]) - diagonal
            out[1, place] = 2 * (
                _form(mass, [squares[g] for g in chosen]) - same[f - rest.start]
            )
            out[2, place] = math.prod(freedoms[g] for g in chosen)
            place += 1
    return out[0], out[1], out[2]


def _form(cells: Floats, kernels: Sequence[Floats]) -> float:
    r"""The quadratic form of the product of the kernels."""
    out = cells
    for axis, kernel in enumerate(kernels):
        out = np.moveaxis(np.tensordot(kernel, out, (1, axis)), 0, axis)
    return float((cells * out).sum())


def _freedom(kernel: Floats) -> float:
    second, third = (
        float(np.trace(np.linalg.matrix_power(kernel, k))) for k in (2, 3)
    )
    # A field with a single value has none:
    return second**3 / third**2 if second > 0 else 0.0


def _log_tails(statistic: Floats, variance: Floats, freedom: Floats) -> Floats:
    r"""The logarithms of the p-values, of gamma distributions that are moved
    to the mean zero.
    """
    varies = freedom > 0
    shape = np.where(varies, freedom / 2, 1)
    scale = np.sqrt(variance / shape, where=varies, out=np.ones_like(shape))
    a = torch.from_numpy(shape)
    t = torch.from_numpy((shape + statistic / scale).clip(min=0) * varies)
    p = torch.special.gammaincc(a, t)
    # Where it underflows, the first term of the continued fraction is left:
    far = a * t.log() - t - a.lgamma() - (t + 1 - a).log()
    out: Floats = torch.where(p > 1e-290, p.log(), far).numpy()
    return out

r"""A synthetic table with known interactions."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from numpy.typing import NDArray
from tqdm import tqdm

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.planted_columns import (
    Column,
    make_categorical,
    make_numeric,
)

# Rows are drawn in blocks of this size, each from a generator of its own, so
# that a row is the same whatever the number of rows or the size of chunks:
BLOCK = 8192

Floats = NDArray[np.float64]


class PlantedInteractions:
    r"""A table shaped like the Criteo log whose interactions are known.

    Columns are independent. The logit of a row is

    .. math::
        z = b + \sum_{c} m_c(x_c) + \sum_{k} s_k \prod_{c \in I_k}
        u_{k,c}(x_c),

    with main effects :math:`m_c` of some columns and planted interactions
    :math:`I_k` of strength :math:`s_k`. Every :math:`u_{k,c}` has mean zero
    and variance one under the distribution of its column, so that an
    interaction is *pure*: averaged over any one member it vanishes, and no
    main effect or interaction of lower order betrays it. A missing entry is
    one more value of its column, so it is informative.

    Columns are numeric :obj:`I1, I2, ...` (heavy-tailed counts) and
    categorical :obj:`C1, C2, ...` (strings with Zipf-tailed vocabularies).
    Members of interactions are numeric columns or categorical ones with a
    small vocabulary, which a training set can cover; the vocabularies of the
    others range to tens of thousands.

    Args:
        num_rows (int, optional): The number of rows.
            (default: :obj:`100_000`)
        orders (dict, optional): How many interactions to plant of each order
            from 2 to 4. (default: :obj:`{2: 10, 3: 1}`)
        num_numeric (int, optional): The number of numeric columns.
            (default: :obj:`13`)
        num_categorical (int, optional): The number of categorical columns.
            (default: :obj:`26`)
        strength (float, optional): The strength of every interaction, which
            is the standard deviation that it adds to the logit.
            (default: :obj:`1.0`)
        main_strength (float, optional): The same of every main effect.
            (default: :obj:`0.25`)
        positive_rate (float, optional): The expected share of positive
            labels. (default: :obj:`0.25`)
        correlated (int, optional): The number of categorical columns without
            effect that repeat a categorical member in four of five rows.
            (default: :obj:`0`)
        seed (int, optional): The seed of everything. (default: :obj:`0`)
    """

    label = 'label'

    def __init__(
        self,
        num_rows: int = 100_000,
        orders: Mapping[int, int] | None = None,
        num_numeric: int = 13,
        num_categorical: int = 26,
        strength: float = 1.0,
        main_strength: float = 0.25,
        positive_rate: float = 0.25,
        correlated: int = 0,
        seed: int = 0,
    ) -> None:
        orders = {2: 10, 3: 1} if orders is None else dict(orders)
        if num_rows < 1:
            raise ValueError(f"'num_rows' must be positive (got {num_rows})")
        if not all(2 <= order <= 4 for order in orders):
            raise ValueError(f"'orders' must lie in 2 to 4 (got {orders})")
        if not 0 < positive_rate < 1:
            raise ValueError(
                f"'positive_rate' must lie in (0, 1) (got {positive_rate})"
            )
        self.num_rows = num_rows
        self.positive_rate = positive_rate
        self.seed = seed
        rng = np.random.default_rng([seed, 0])
        # Half of the categorical columns are small enough for a member:
        num_small = -(-num_categorical // 2)
        small = np.zeros(num_categorical, dtype=bool)
        small[rng.permutation(num_categorical)[:num_small]] = True
        self.columns: list[Column] = [
            make_numeric(f'I{i + 1}', rng) for i in range(num_numeric)
        ] + [
            make_categorical(f'C{i + 1}', i, bool(small[i]), rng)
            for i in range(num_categorical)
        ]
        pool = [i for i, column in enumerate(self.columns) if column.is_small]
        members = _draw_members(orders, pool, rng)
        self._members = [
            [(i, self.columns[i].draw_code(rng)) for i in group]
            for group in members
        ]
        names = [c.name for c in self.columns]
        self.truth: dict[tuple[str, ...], float] = {
            tuple(names[i] for i in group): strength for group in members
        }
        self._main = [
            (i, main_strength * column.draw_code(rng, binary=False))
            for i, column in enumerate(self.columns)
            if column.is_small
        ]
        self._copies = self._draw_copies(correlated, rng)
        used = {i for group in members for i in group}
        used |= {i for i, _ in self._main}
        #: The columns that have no effect at all.
        self.noise_columns = tuple(
            name for i, name in enumerate(names) if i not in used
        )
        self._intercept = 0.0
        self._intercept = self._solve_intercept()

    def schema(self, **defaults: Any) -> FieldSchema:
        r"""The fields of the table: counts in 20 quantiles, and categories
        seen less than ten times are rare.
        """
        defaults.setdefault('min_count', 10)
        defaults.setdefault('bins', (20,))
        return FieldSchema.infer(self.frame(nrows=8), self.label, **defaults)

    def frame(self, nrows: int | None = None, start: int = 0) -> pd.DataFrame:
        r"""Rows of the table.

        Args:
            nrows (int, optional): How many. (default: all)
            start (int, optional): The first one. (default: :obj:`0`)
        """
        stop = self._stop(nrows, start)
        ranks, label, _ = self._rows(start, stop)
        data: dict[str, Any] = {self.label: label}
        for column, rank in zip(self.columns, ranks, strict=True):
            data[column.name] = column.to_pandas(rank)
        return pd.DataFrame(data)

    def chunks(self, chunk_rows: int = 100_000) -> Iterator[pd.DataFrame]:
        r"""All rows in order, a chunk at a time."""
        for start in range(0, self.num_rows, chunk_rows):
            yield self.frame(min(chunk_rows, self.num_rows - start), start)

    def logits(self, nrows: int | None = None, start: int = 0) -> Floats:
        r"""The true logits of rows, with the arguments of :meth:`frame`."""
        return self._rows(start, self._stop(nrows, start))[2]

    @cached_property
    def bayes_auc(self) -> float:
        r"""The expected AUC of the true logits, over the rows of the table
        (at most a million of them).
        """
        return expected_auc(_sigmoid(self._bayes_logits))

    @cached_property
    def bayes_log_loss(self) -> float:
        r"""The expected log loss of the true logits, over the same rows."""
        p = _sigmoid(self._bayes_logits)
        return float(-(p * np.log(p) + (1 - p) * np.log1p(-p)).mean())

    @cached_property
    def _bayes_logits(self) -> Floats:
        return self.logits(min(self.num_rows, 1_000_000))

    def write_criteo(
        self,
        path: str | os.PathLike[str],
        num_rows: int | None = None,
        progress: bool = False,
    ) -> None:
        r"""Streams rows as text in the format of the Criteo log: label, 13
        integers and 26 categories, separated by tabs, missing ones empty.

        The planted interactions are written beside it as
        :obj:`<path>.truth.json`. Both files appear as a whole or not at all.

        Args:
            path (str): The file; compressed if it ends in :obj:`.gz`.
            num_rows (int, optional): The number of rows, which may exceed
                that of the table. (default: :obj:`None`)
            progress (bool, optional): Whether to show a progress bar.
                (default: :obj:`False`)
        """
        shape = [c.name for c in self.columns]
        if shape != [f'I{i + 1}' for i in range(13)] + [
            f'C{i + 1}' for i in range(26)
        ]:
            raise ValueError(
                'The Criteo format has 13 numeric and 26 categorical columns, '
                f'this table has {len(shape)} columns'
            )
        num_rows = self.num_rows if num_rows is None else num_rows
        path = Path(path)
        temporary = path.with_name(path.name + '.tmp')
        options = pacsv.WriteOptions(
            include_header=False, delimiter='\t', quoting_style='none'
        )
        opener = gzip.open if path.suffix == '.gz' else open
        with (
            opener(temporary, 'wb') as file,
            tqdm(total=num_rows, unit='row', disable=not progress) as bar,
        ):
            for start in range(0, num_rows, BLOCK):
                stop = min(start + BLOCK, num_rows)
                ranks, label, _ = self._rows(start, stop)
                arrays = [pa.array(label)] + [
                    column.to_arrow(rank)
                    for column, rank in zip(self.columns, ranks, strict=True)
                ]
                table = pa.table(arrays, names=[self.label, *shape])
                pacsv.write_csv(table, file, options)
                bar.update(stop - start)
        truth = path.with_name(path.name + '.truth.json')
        truth_temporary = truth.with_name(truth.name + '.tmp')
        truth_temporary.write_text(
            json.dumps(
                [
                    {'fields': fields, 'strength': strength}
                    for fields, strength in self.truth.items()
                ],
                indent=1,
            )
        )
        os.replace(truth_temporary, truth)
        os.replace(temporary, path)

    def _stop(self, nrows: int | None, start: int) -> int:
        stop = self.num_rows if nrows is None else start + nrows
        if not 0 <= start <= stop:
            raise ValueError(f'No rows from {start} to {stop}')
        return stop

    def _rows(
        self, start: int, stop: int
    ) -> tuple[list[NDArray[np.int64]], NDArray[np.int8], Floats]:
        # The rank of the value in each column, the labels and the logits.
        first, last = start // BLOCK, max(start, stop - 1) // BLOCK
        draws = []
        for block in range(first, last + 1):
            rng = np.random.default_rng([self.seed, 1, block])
            draws.append(rng.random((BLOCK, len(self.columns) + 1)))
        keep = slice(start - first * BLOCK, stop - first * BLOCK)
        draw = np.concatenate(draws)[keep]
        ranks = [
            column.rank(draw[:, i]) for i, column in enumerate(self.columns)
        ]
        for target, source in self._copies:
            # The first four fifths of a uniform draw repeat the member, the
            # last is stretched to a uniform draw again:
            u = draw[:, target]
            own = self.columns[target].rank(np.clip(5 * u - 4, 0, None))
            rank = ranks[source] % len(self.columns[target].prob)
            ranks[target] = np.where(u < 0.8, rank, own)
        z = np.full(len(draw), self._intercept)
        for i, effect in self._main:
            z += effect[ranks[i]]
        for group, strength in zip(
            self._members, self.truth.values(), strict=True
        ):
            term = np.full(len(draw), strength)
            for i, code in group:
                term *= code[ranks[i]]
            z += term
        label = (draw[:, -1] < _sigmoid(z)).astype(np.int8)
        return ranks, label, z

    def _draw_copies(
        self, correlated: int, rng: np.random.Generator
    ) -> list[tuple[int, int]]:
        sources = sorted(
            {
                i
                for group in self._members
                for i, _ in group
                if not self.columns[i].is_numeric
            }
        )
        targets = [
            i
            for i, column in enumerate(self.columns)
            if not column.is_numeric and not column.is_small
        ]
        if correlated > min(len(targets), correlated * len(sources)):
            raise ValueError(
                f"'correlated' is {correlated}, but there are {len(targets)} "
                f'columns without effect and {len(sources)} categorical '
                'members'
            )
        return [
            (target, int(rng.choice(sources)))
            for target in targets[:correlated]
        ]

    def _solve_intercept(self) -> float:
        z = self._rows(0, 8 * BLOCK)[2]
        low, high = -30.0, 30.0
        for _ in range(60):
            middle = (low + high) / 2
            too_many = _sigmoid(z + middle).mean() > self.positive_rate
            low, high = (low, middle) if too_many else (middle, high)
        return (low + high) / 2

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.num_rows}, '
            f'num_columns={len(self.columns)}, '
            f'num_interactions={len(self.truth)})'
        )


def expected_auc(p: Floats) -> float:
    r"""The expected AUC of probabilities that are true.

    Of all pairs of rows, the weight of "first positive, second negative" is
    :math:`p_i (1 - p_j)`; those with :math:`p_i > p_j` are ranked right.
    """
    p = np.sort(p)
    # Equal probabilities share one place in the ranking:
    value, start = np.unique(p, return_index=True)
    positive = np.add.reduceat(p, start)
    negative = np.add.reduceat(1 - p, start)
    below = np.cumsum(negative) - negative
    count = np.diff(np.append(start, len(p)))
    # A row makes no pair with itself:
    own = count * value * (1 - value)
    right = (positive * below).sum()
    tied = (positive * negative - own).sum()
    return float(
        (right + 0.5 * tied) / (positive.sum() * negative.sum() - own.sum())
    )


def _sigmoid(z: Floats) -> Floats:
    return 1 / (1 + np.exp(-z))


def _draw_members(
    orders: Mapping[int, int], pool: Sequence[int], rng: np.random.Generator
) -> list[tuple[int, ...]]:
    if max(orders, default=0) > len(pool):
        raise ValueError(
            f'An interaction of order {max(orders)} needs as many columns '
            f'that can be members, of which there are {len(pool)}'
        )
    out: list[tuple[int, ...]] = []
    for order, count in sorted(orders.items()):
        tries = 0
        while sum(len(group) == order for group in out) < count:
            group = tuple(sorted(rng.choice(pool, order, replace=False)))
            tries += 1
            if tries > 1000 * count:
                raise ValueError(
                    f'No {count} different interactions of order {order} fit '
                    f'into {len(pool)} columns'
                )
            # A set that contains another would blur which of them is found:
            if not any(
                set(group) <= set(g) or set(g) <= set(group) for g in out
            ):
                out.append(tuple(int(i) for i in group))
    return out

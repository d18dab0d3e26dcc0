r"""A synthetic table with known interactions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets.planted_columns import (
    Block,
    Column,
    Floats,
    draw_copies,
    draw_members,
    make_categorical,
    make_numeric,
)
from pyg_featgraph.datasets.planted_logits import (
    bayes_metrics,
    sigmoid,
    solve_intercept,
)
from pyg_featgraph.datasets.planted_text import write_text
from pyg_featgraph.progress import progress_bar

# Rows are drawn in blocks of this size, each from a generator of its own, so
# that a row is the same whatever the number of rows or the size of chunks:
BLOCK = 8192


class PlantedInteractions:
    r"""A table shaped like the Criteo log whose interactions are known.

    Columns are independent. The logit of a row is

    .. math::
        z = b + \sum_{c} m_c(x_c) + \sum_{k} \frac{s_k}{\sqrt{r_k}}
        \sum_{t=1}^{r_k} \prod_{c \in I_k} u_{k,c,t}(x_c),

    with main effects :math:`m_c` of some columns and planted interactions
    :math:`I_k` of strength :math:`s_k` and rank :math:`r_k`. Every
    :math:`u_{k,c,t}` has mean zero and variance one under the distribution of
    its column, so that an interaction is *pure*: averaged over any one member
    it vanishes, and no main effect or interaction of lower order betrays it.
    The codes :math:`u_{k,c,1}, u_{k,c,2}, \ldots` are uncorrelated, so that
    the strength does not depend on the rank. A missing entry is one more
    value of its column, so it is informative.

    An interaction of rank one is a product of one number for each value. A
    higher rank needs vectors, as in an inner product.

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
        strength (float or dict, optional): The strength of every interaction,
            or of those of each order. It is the standard deviation that an
            interaction has on the logit. (default: :obj:`1.0`)
        main_strength (float, optional): The same of every main effect.
            (default: :obj:`0.25`)
        positive_rate (float, optional): The expected share of positive
            labels. (default: :obj:`0.25`)
        correlated (int, optional): The number of categorical columns without
            effect that repeat a categorical member in four of five rows.
            (default: :obj:`0`)
        seed (int, optional): The seed of everything. (default: :obj:`0`)
        rank (int or list of int, optional): The number of products that an
            interaction sums up. Several ranks are dealt in turns to the
            interactions of each order. They change neither columns, members
            nor main effects. A member needs more distinct values than the
            rank (buckets if it is numeric), a missing one included; a rank up
            to 3 always fits. (default: :obj:`1`)

    Attributes:
        truth (dict): The strength of each planted interaction, by the names
            of its members.
        ranks (dict): The rank of each planted interaction, likewise.
        noise_columns (tuple of str): The columns that have no effect at all,
            including those that repeat a member.
    """

    label = 'label'

    def __init__(
        self,
        num_rows: int = 100_000,
        orders: Mapping[int, int] | None = None,
        num_numeric: int = 13,
        num_categorical: int = 26,
        strength: float | Mapping[int, float] = 1.0,
        main_strength: float = 0.25,
        positive_rate: float = 0.25,
        correlated: int = 0,
        seed: int = 0,
        rank: int | Sequence[int] = 1,
    ) -> None:
        orders = {2: 10, 3: 1} if orders is None else dict(orders)
        if num_rows < 1:
            raise ValueError(f"'num_rows' must be positive (got {num_rows})")
        if not all(order in (2, 3, 4) for order in orders):
            raise ValueError(f"'orders' must lie in 2 to 4 (got {orders})")
        if not 0 < positive_rate < 1:
            raise ValueError(
                f"'positive_rate' must lie in (0, 1) (got {positive_rate})"
            )
        for option, count in (
            ('num_numeric', num_numeric),
            ('num_categorical', num_categorical),
            ('correlated', correlated),
            ('seed', seed),
            *((f'orders[{order}]', count) for order, count in orders.items()),
        ):
            if count < 0:
                raise ValueError(f"'{option}' is negative (got {count})")
        if num_numeric + num_categorical == 0:
            raise ValueError('The table needs at least one column')
        if not isinstance(strength, Mapping):
            strength = dict.fromkeys(orders, strength)
        if not set(orders) <= set(strength):
            raise ValueError(
                f"'strength' must have an entry for each of the orders "
                f'{sorted(orders)} (got {dict(strength)})'
            )
        if not np.isfinite([*strength.values(), main_strength]).all():
            raise ValueError(
                f"'strength' and 'main_strength' must be finite (got "
                f'{dict(strength)} and {main_strength})'
            )
        dealt = (rank,) if isinstance(rank, int) else tuple(rank)
        if min(dealt, default=0) < 1:
            raise ValueError(f"'rank' must be positive (got {rank})")
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
        members = draw_members(orders, pool, rng)
        first_codes = [
            [self.columns[i].draw_code(rng) for i in group] for group in members
        ]
        names = [c.name for c in self.columns]
        self.truth: dict[tuple[str, ...], float] = {
            tuple(names[i] for i in group): float(strength[len(group)])
            for group in members
        }
        self._main = [
            (i, main_strength * column.draw_code(rng, binary=False))
            for i, column in enumerate(self.columns)
            if column.is_small
        ]
        self._copies = draw_copies(self.columns, members, correlated, rng)
        self.ranks: dict[tuple[str, ...], int] = {}
        turns = {order: cycle(dealt) for order in orders}
        for fields in self.truth:
            self.ranks[fields] = next(turns[len(fields)])
        # Further codes are drawn last, so that nothing else depends on ranks:
        self._members = [
            [
                (i, self.columns[i].extend_code(code, count, rng))
                for i, code in zip(group, codes, strict=True)
            ]
            for group, codes, count in zip(
                members, first_codes, self.ranks.values(), strict=True
            )
        ]
        used = {i for group in members for i in group}
        used |= {i for i, _ in self._main}
        self.noise_columns: tuple[str, ...] = tuple(
            name for i, name in enumerate(names) if i not in used
        )
        self._intercept = 0.0
        self._intercept = solve_intercept(self.logits(8 * BLOCK), positive_rate)

    def schema(
        self,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        **defaults: Any,
    ) -> FieldSchema:
        r"""The fields of the table: counts in 20 quantiles, and categories
        seen less than ten times are rare. The arguments are those of
        :meth:`~pyg_featgraph.data.FieldSchema.infer`.
        """
        defaults.setdefault('min_count', 10)
        if 'transform' not in defaults:
            defaults.setdefault('bins', (20,))
            # The 20 buckets are not for a column with another transform:
            overrides = {
                name: {'bins': (), **options}
                if 'transform' in options
                else options
                for name, options in (overrides or {}).items()
            }
        return FieldSchema.infer(
            self.frame(nrows=8), self.label, overrides, **defaults
        )

    def frame(
        self,
        split: None = None,
        nrows: int | None = None,
        start: int = 0,
    ) -> pd.DataFrame:
        r"""Rows of the table.

        Args:
            split (None, optional): As in the other data sets; this one has no
                official parts. (default: :obj:`None`)
            nrows (int, optional): How many rows, also more than
                :obj:`num_rows`. (default: all)
            start (int, optional): The first one. (default: :obj:`0`)
        """
        if split is not None:
            raise ValueError(f"This data set has no parts (got '{split}')")
        ranks, label, _ = self._rows(start, self._stop(nrows, start))
        data: dict[str, Any] = {self.label: label}
        for column, rank in zip(self.columns, ranks, strict=True):
            data[column.name] = column.to_pandas(rank)
        return pd.DataFrame(data)

    def chunks(
        self, chunk_rows: int = 100_000, split: None = None
    ) -> Iterator[pd.DataFrame]:
        r"""All rows in order, a chunk at a time."""
        if chunk_rows < 1:
            raise ValueError(
                f"'chunk_rows' must be positive (got {chunk_rows})"
            )
        for start in range(0, self.num_rows, chunk_rows):
            nrows = min(chunk_rows, self.num_rows - start)
            yield self.frame(split, nrows, start)

    def logits(self, nrows: int | None = None, start: int = 0) -> Floats:
        r"""The true logits of the same rows as in :meth:`frame`."""
        blocks = self._blocks(start, self._stop(nrows, start))
        return np.concatenate([z for _, _, z in blocks])

    @property
    def bayes_auc(self) -> float:
        r"""The expected AUC of the true logits, over the rows of the table
        (at most a million of them). For other rows there is
        :func:`~pyg_featgraph.datasets.planted_logits.bayes_metrics`.
        """
        return self._bayes_metrics['auc']

    @property
    def bayes_log_loss(self) -> float:
        r"""The expected log loss of the true logits, over the same rows."""
        return self._bayes_metrics['log_loss']

    @cached_property
    def _bayes_metrics(self) -> dict[str, float]:
        return bayes_metrics(self.logits(min(self.num_rows, 1_000_000)))

    def write_criteo(
        self,
        path: str | os.PathLike[str],
        num_rows: int | None = None,
        progress: bool = False,
        start: int = 0,
    ) -> None:
        r"""Streams rows as text in the format of the Criteo log: label, 13
        integers and 26 categories, separated by tabs, missing ones empty.

        The planted interactions are written beside it as
        :obj:`<path>.truth.json`. Each file appears as a whole or not at all,
        the rows last.

        Args:
            path (str): The file; compressed if it ends in :obj:`.gz`.
            num_rows (int, optional): The number of rows, which may exceed
                that of the table. (default: :obj:`None`)
            progress (bool, optional): Whether to show a progress bar.
                (default: :obj:`False`)
            start (int, optional): The first row, so that the days of a log
                can be files of their own. (default: :obj:`0`)
        """
        shape = [c.name for c in self.columns]
        if shape != [f'I{i + 1}' for i in range(13)] + [
            f'C{i + 1}' for i in range(26)
        ]:
            raise ValueError(
                'The Criteo format has 13 numeric and 26 categorical columns, '
                f'this table has {len(shape)} columns'
            )
        stop = self._stop(num_rows, start)
        if stop == start:
            raise ValueError(f"'num_rows' must be positive (got {num_rows})")
        blocks = self._blocks(start, stop)
        with progress_bar(
            total=stop - start, unit='row', enabled=progress
        ) as bar:
            write_text(Path(path), self.columns, blocks, self.truth, bar.update)

    def _stop(self, nrows: int | None, start: int) -> int:
        stop = self.num_rows if nrows is None else start + nrows
        if not 0 <= start <= stop:
            raise ValueError(f'No rows from {start} to {stop}')
        return stop

    def _rows(self, start: int, stop: int) -> Block:
        # The rank of the value in each column, the labels and the logits.
        size = stop - start
        # A million rows take 160 MB as 32-bit ranks:
        ranks = np.empty((len(self.columns), size), dtype=np.int32)
        label, z = np.empty(size, dtype=np.int8), np.empty(size)
        done = 0
        for part, part_label, part_z in self._blocks(start, stop):
            rows = slice(done, done + len(part_z))
            ranks[:, rows], label[rows], z[rows] = part, part_label, part_z
            done = rows.stop
        return list(ranks), label, z

    def _blocks(self, start: int, stop: int) -> Iterator[Block]:
        # At least one block, which may be empty.
        first, last = start // BLOCK, max(start, stop - 1) // BLOCK
        for block in range(first, last + 1):
            rng = np.random.default_rng([self.seed, 1, block])
            draw = rng.random((BLOCK, len(self.columns) + 1))
            begin = block * BLOCK
            yield self._draw(draw[max(start - begin, 0) : stop - begin])

    def _draw(self, draw: Floats) -> Block:
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
            num_terms = len(group[0][1])
            scale = strength / np.sqrt(num_terms)
            terms = np.full((num_terms, len(draw)), scale)
            for i, codes in group:
                terms *= codes[:, ranks[i]]
            z += terms.sum(axis=0)
        label = (draw[:, -1] < sigmoid(z)).astype(np.int8)
        return ranks, label, z

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.num_rows}, '
            f'num_columns={len(self.columns)}, '
            f'num_interactions={len(self.truth)})'
        )

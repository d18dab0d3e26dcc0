r"""The columns of :class:`~pyg_featgraph.datasets.PlantedInteractions`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ranks = NDArray[np.integer]
#: Of some rows: the ranks of the values in each column, labels and logits.
Block = tuple[list[Ranks], NDArray[np.int8], Floats]

# Numeric columns are floor(10^(4 u)) with uniform u, so counts from 1 to 9999
# with an equal share per decade:
_DECADES = 4
_NUM_BUCKETS = 6


@dataclass(frozen=True, eq=False)
class Column:
    r"""A column that takes one of finitely many values, or is missing.

    Values are addressed by their rank; the last rank is "missing" if
    :obj:`missing` is positive.

    Args:
        name (str): The name of the column.
        prob (numpy.ndarray): The probability of each rank.
        missing (float): The probability that the entry is missing.
        is_small (bool): Whether a training set can cover all values.
        is_numeric (bool): Whether the values are counts.
        salt (int): What makes the strings of a categorical column its own.
    """

    name: str
    prob: Floats
    missing: float
    is_small: bool
    is_numeric: bool = False
    salt: int = 0

    @cached_property
    def _cumulative(self) -> Floats:
        return np.cumsum(self.prob)[:-1]

    @cached_property
    def _buckets(self) -> Ranks:
        # The bucket of each rank; effects are constant on buckets. Counts are
        # cut at integers, so that a value never belongs to two buckets.
        if not self.is_numeric:
            return np.arange(len(self.prob))
        edges = np.floor(
            10 ** (_DECADES * np.arange(1, _NUM_BUCKETS) / _NUM_BUCKETS)
        )
        buckets = np.searchsorted(edges, np.arange(1, 10**_DECADES), 'right')
        missing = np.full(int(self.missing > 0), _NUM_BUCKETS)
        return np.append(buckets, missing)

    def rank(self, u: Floats) -> Ranks:
        r"""The ranks that uniform draws stand for."""
        return np.searchsorted(self._cumulative, u, side='right')

    def draw_code(
        self, rng: np.random.Generator, binary: bool = True
    ) -> Floats:
        r"""Draws an effect of the values with mean zero and variance one.

        Args:
            rng (numpy.random.Generator): The source of randomness.
            binary (bool, optional): Whether values take one of two levels,
                each with about half of the probability, or a level of their
                own. (default: :obj:`True`)
        """
        share = np.bincount(self._buckets, self.prob)
        if binary:
            level = np.empty(len(share))
            balance = 0.0
            # Likely values first, each to the lighter side, with some
            # randomness so that codes of the same column differ:
            order = np.argsort(-share * rng.uniform(0.5, 1.5, len(share)))
            for i in order:
                sign = -1.0 if balance > 0 else 1.0
                if balance == 0 and rng.random() < 0.5:
                    sign = -sign
                level[i] = sign
                balance += sign * share[i]
        else:
            level = rng.standard_normal(len(share))
        level -= share @ level
        level /= np.sqrt(share @ level**2)
        return level[self._buckets]

    def extend_code(
        self, code: Floats, count: int, rng: np.random.Generator
    ) -> Floats:
        r"""Adds effects that are uncorrelated with a given one and with each
        other, of mean zero and variance one like it.

        Args:
            code (numpy.ndarray): The first effect, from :meth:`draw_code`.
            count (int): The number of effects, with the first one.
            rng (numpy.random.Generator): The source of randomness.

        Returns:
            numpy.ndarray: A row for each effect, the given one first.
        """
        share = np.bincount(self._buckets, self.prob)
        if count >= len(share):
            raise ValueError(
                f"Column '{self.name}' has {len(share)} levels, so at most "
                f'{len(share) - 1} uncorrelated codes, but the rank is {count}'
            )
        _, first = np.unique(self._buckets, return_index=True)
        # Two binary codes can be the same, normal ones are independent:
        more = rng.standard_normal((count - 1, len(share)))
        levels = np.vstack([np.ones(len(share)), code[first], more])
        # Gram-Schmidt under the probabilities; the constant as the first
        # vector makes the means of the others zero:
        basis, _ = np.linalg.qr((levels * np.sqrt(share)).T)
        added = (basis.T[2:] / np.sqrt(share))[:, self._buckets]
        return np.vstack([code, added])

    def to_pandas(self, rank: Ranks) -> Any:
        r"""The values of ranks as a column of a DataFrame."""
        if self.is_numeric:
            return np.where(self._is_missing(rank), np.nan, rank + 1.0)
        code = np.where(self._is_missing(rank), -1, rank)
        return self._tokens.take(code, allow_fill=True)

    def to_arrow(self, rank: Ranks) -> pa.Array:
        r"""The values of ranks as an Arrow array, counts being integers."""
        missing = self._is_missing(rank)
        if self.is_numeric:
            return pa.array(rank + 1, mask=missing)
        tokens = pa.array(self._tokens, pa.string())
        return tokens.take(pa.array(rank, mask=missing))

    def _is_missing(self, rank: Ranks) -> NDArray[np.bool_]:
        is_last: NDArray[np.bool_] = rank == len(self.prob) - 1
        return is_last & (self.missing > 0)

    @cached_property
    def _tokens(self) -> Any:
        # Multiplication by an odd number permutes 32-bit integers, so that
        # the strings of a column are distinct:
        code = np.arange(len(self.prob), dtype=np.uint64)
        code = (code * 2654435761 + self.salt * 97) % 2**32
        return pd.array([f'{c:08x}' for c in code], dtype='str')


def make_numeric(name: str, rng: np.random.Generator) -> Column:
    r"""A numeric column."""
    value = np.arange(1, 10**_DECADES)
    prob = np.log10((value + 1) / value) / _DECADES
    missing = float(rng.choice([0.0, 0.1, 0.25]))
    return Column(
        name, _with_missing(prob, missing), missing, True, is_numeric=True
    )


def make_categorical(
    name: str, position: int, is_small: bool, rng: np.random.Generator
) -> Column:
    r"""A categorical column with a Zipf-tailed vocabulary."""
    if is_small:
        size, exponent = int(rng.integers(4, 25)), rng.uniform(0.5, 0.9)
    else:
        size, exponent = int(10 ** rng.uniform(2, 4.5)), rng.uniform(1, 1.3)
    prob = np.arange(1, size + 1) ** -exponent
    missing = float(rng.choice([0.0, 0.05, 0.2]))
    prob = _with_missing(prob / prob.sum(), missing)
    return Column(name, prob, missing, is_small, salt=position + 1)


def _with_missing(prob: Floats, missing: float) -> Floats:
    if missing == 0:
        return prob
    return np.append(prob * (1 - missing), missing)


def draw_members(
    orders: Mapping[int, int], pool: Sequence[int], rng: np.random.Generator
) -> list[tuple[int, ...]]:
    r"""Draws different sets of columns, none of which contains another.

    Args:
        orders (dict): How many sets of each size.
        pool (list of int): The columns to draw from.
        rng (numpy.random.Generator): The source of randomness.
    """
    if max(orders, default=0) > len(pool):
        raise ValueError(
            f'An interaction of order {max(orders)} needs as many columns '
            f'that can be members, of which there are {len(pool)}'
        )
    out: list[tuple[int, ...]] = []
    for order, count in sorted(orders.items()):
        possible = count <= math.comb(len(pool), order)
        tries = 0
        while sum(len(group) == order for group in out) < count:
            tries += 1
            if not possible or tries > 1000 * count:
                raise ValueError(
                    f'No {count} different interactions of order {order} fit '
                    f'into {len(pool)} columns'
                )
            group = tuple(sorted(rng.choice(pool, order, replace=False)))
            # A set that contains another would blur which of them is found:
            if not any(
                set(group) <= set(g) or set(g) <= set(group) for g in out
            ):
                out.append(tuple(int(i) for i in group))
    return out


def draw_copies(
    columns: Sequence[Column],
    members: Sequence[tuple[int, ...]],
    count: int,
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    r"""Draws which column without effect repeats which categorical member.

    Args:
        columns (list of Column): The columns of the table.
        members (list of tuple): The members of each interaction.
        count (int): The number of columns that repeat another.
        rng (numpy.random.Generator): The source of randomness.
    """
    used = {i for group in members for i in group}
    sources = sorted(i for i in used if not columns[i].is_numeric)
    targets = [i for i, column in enumerate(columns) if not column.is_small]
    if count > (len(targets) if sources else 0):
        raise ValueError(
            f"'correlated' is {count}, but there are {len(targets)} columns "
            f'without effect and {len(sources)} categorical members'
        )
    return [(target, int(rng.choice(sources))) for target in targets[:count]]

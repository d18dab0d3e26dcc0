r"""The common currency: a ranked set of interactions of fields.

Every method of this package can produce one, and a linear model, a boosted
tree or another method can consume it.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import reading, write_json
from pyg_featgraph.html import ranking_html

if TYPE_CHECKING:
    import pandas as pd
    from shapiq import InteractionValues

#: The version of the file format.
VERSION = 1


@dataclass(frozen=True)
class Interaction:
    r"""A set of fields that matter together.

    Args:
        fields (tuple of str): The distinct names of the fields; they are a
            set, which is stored sorted.
        score (float): How much the interaction matters. Scores of one source
            can be compared with each other only.
        source (str, optional): The method that has found it.
            (default: :obj:`""`)
        detail (dict, optional): What the method has to say beyond the score,
            as JSON-compatible values. Figures know :obj:`"unit"`, what the
            score is, :obj:`"rows"`, on how many it was measured, and
            :obj:`"interval"`, two ends. It does not count when interactions
            are compared. (default: :obj:`{}`)
    """

    fields: tuple[str, ...]
    score: float
    source: str = ''
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        # A string would pass for the tuple of its letters:
        names = (None,) if isinstance(self.fields, str) else tuple(self.fields)
        if not all(isinstance(x, str) for x in (*names, self.source)):
            raise TypeError(
                "'fields' must be a tuple of names, 'source' a name "
                f'(got {self.fields!r}, {self.source!r})'
            )
        if not names or len(set(names)) != len(names):
            raise ValueError(f'An interaction needs distinct fields: {names}')
        if not math.isfinite(self.score):
            raise ValueError(f'{names} has no finite score: {self.score}')
        object.__setattr__(self, 'fields', tuple(sorted(names)))
        object.__setattr__(self, 'score', float(self.score))
        object.__setattr__(self, 'detail', dict(self.detail))

    @property
    def order(self) -> int:
        r"""The number of fields."""
        return len(self.fields)


class InteractionSet(Sequence[Interaction]):
    r"""Interactions ranked by falling score.

    A set of fields occurs once: of several entries the one with the highest
    score stays. Equal scores are ranked by the names of the fields. All
    methods return new sets.

    Args:
        interactions (iterable of Interaction, optional): The entries.
            (default: none)
    """

    def __init__(self, interactions: Iterable[Interaction] = ()) -> None:
        unique: dict[tuple[str, ...], Interaction] = {}
        for x in sorted(
            interactions, key=lambda x: (-x.score, x.fields, x.source)
        ):
            unique.setdefault(x.fields, x)
        self._entries = tuple(unique.values())

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        names: Sequence[str],
        source: str = '',
        detail: Mapping[str, Any] | None = None,
    ) -> InteractionSet:
        r"""Pairs from a matrix of edge weights; both directions of an edge
        are averaged and self loops are left out.

        Args:
            matrix (array): The weights, with shape :math:`(n, n)`.
            names (list of str): The names of the :math:`n` fields.
            source (str, optional): The method. (default: :obj:`""`)
            detail (dict, optional): What there is to say of all of them.
                (default: :obj:`None`)
        """
        weight, n = np.asarray(matrix, dtype=np.float64), len(names)
        if weight.shape != (n, n):
            raise ValueError(f"'matrix' is {weight.shape}, not {(n, n)}")
        weight = (weight + weight.T) / 2
        return cls(
            Interaction((a, b), weight[i, j], source, detail or {})
            for i, a in enumerate(names)
            for j, b in enumerate(names[:i])
        )

    @overload
    def __getitem__(self, index: int) -> Interaction: ...

    @overload
    def __getitem__(self, index: slice) -> InteractionSet: ...

    def __getitem__(self, index: int | slice) -> Interaction | InteractionSet:
        if isinstance(index, slice):
            return InteractionSet(self._entries[index])
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, InteractionSet):
            return NotImplemented
        return self._entries == other._entries

    def __hash__(self) -> int:
        return hash(self._entries)

    def top(self, k: int | None) -> InteractionSet:
        r"""The first :obj:`k` entries, or all if it is :obj:`None`."""
        return self if k is None else self[: _at_least(0, k)]

    def of_order(self, *orders: int) -> InteractionSet:
        r"""The entries with the given numbers of fields."""
        return InteractionSet(x for x in self if x.order in orders)

    def merge(
        self, *others: InteractionSet, method: str = 'rank', k: int = 60
    ) -> InteractionSet:
        r"""Joins rankings, in any order but all in one call.

        Scores of different methods have different units, so only ranks count
        by default: the new score is :math:`\sum_r 1 / (k + \mathrm{rank}_r)`
        over the rankings that hold the entry, from `"Reciprocal Rank Fusion
        Outperforms Condorcet and Individual Rank Learning Methods"
        <https://doi.org/10.1145/1571941.1572114>`_.

        Args:
            *others (InteractionSet): The other rankings.
            method (str, optional): :obj:`"rank"`; or, for several runs of
                one source, the :obj:`"max"` or the :obj:`"mean"` of the
                scores, the mean over all rankings with zero where one lacks
                the entry. Only :obj:`"max"` keeps details.
                (default: :obj:`"rank"`)
            k (int, optional): How little the first ranks stand out.
                (default: :obj:`60`)
        """
        _at_least(0, k)
        if method not in ('rank', 'max', 'mean'):
            raise ValueError(f"No 'method' named '{method}' (rank, max, mean)")
        rankings = (self, *others)
        sources = {x.source for ranking in rankings for x in ranking}
        if method != 'rank' and len(sources) > 1:
            raise ValueError(
                f"'{method}' needs scores of one unit (got {sorted(sources)})"
            )
        if method == 'max':
            return InteractionSet(chain(*rankings))
        terms = defaultdict(list)
        for ranking in rankings:
            for rank, x in enumerate(ranking, start=1):
                mean = x.score / len(rankings)
                value = 1 / (k + rank) if method == 'rank' else mean
                terms[x.fields].append((value, x.source))
        # An exact sum does not depend on the order of the rankings:
        return InteractionSet(
            Interaction(
                fields,
                math.fsum(value for value, _ in parts),
                '+'.join(sorted({source for _, source in parts})),
            )
            for fields, parts in terms.items()
        )

    def prune(self, k: int | None = None) -> InteractionSet:
        r"""Keeps one of nested interactions, by the rule of GLIDER: going down
        the ranking, an entry inside an accepted one is skipped, and an entry
        that contains accepted ones replaces them.

        Args:
            k (int, optional): Stops once so many are accepted, as GLIDER
                does. Without it all entries that no other contains are left.
                (default: :obj:`None`)
        """
        limit = math.inf if k is None else _at_least(0, k)
        kept: dict[frozenset[str], Interaction] = {}
        for entry in self:
            if len(kept) == limit:
                break
            fields = frozenset(entry.fields)
            if not any(fields < accepted for accepted in kept):
                kept = {x: y for x, y in kept.items() if not x < fields}
                kept[fields] = entry
        return InteractionSet(kept.values())

    def precision_at(self, k: int, truth: Iterable[Iterable[str]]) -> float:
        r"""The share of true interactions among the first :obj:`k`; a shorter
        ranking counts as filled up with wrong ones.
        """
        true = _as_sets(truth)
        found = sum({*x.fields} in true for x in self.top(k))
        return found / _at_least(1, k)

    def recall_at(self, k: int | None, truth: Iterable[Iterable[str]]) -> float:
        r"""The share of the true interactions that the first :obj:`k` hold
        (all, if it is :obj:`None`); NaN if there is none.
        """
        true = _as_sets(truth)
        found = sum({*x.fields} in true for x in self.top(k))
        return found / len(true) if true else math.nan

    def recall_per_order(
        self, truth: Iterable[Iterable[str]], k: int | None = None
    ) -> dict[int, float]:
        r"""For each order of a true interaction, the share of those which the
        first :obj:`k` entries *of that order* hold.
        """
        true = _as_sets(truth)
        return {
            n: self.of_order(n).recall_at(k, [x for x in true if len(x) == n])
            for n in sorted({len(x) for x in true})
        }

    def overlap_at(self, k: int, other: InteractionSet) -> float:
        r"""The share of the first :obj:`k` that another ranking has among its
        first :obj:`k` as well; shorter ones count as filled up with different
        entries.
        """
        there = {x.fields for x in other.top(k)}
        return sum(x.fields in there for x in self.top(k)) / _at_least(1, k)

    def average_precision(self, truth: Iterable[Iterable[str]]) -> float:
        r"""The mean over the true interactions of the precision at their
        ranks, zero for those that are not found; NaN if there is none.
        """
        true = _as_sets(truth)
        ranks = [i for i, x in enumerate(self, 1) if {*x.fields} in true]
        total = sum(found / rank for found, rank in enumerate(ranks, 1))
        return total / len(true) if true else math.nan

    def to_pandas(self) -> pd.DataFrame:
        r"""One row for each entry, in the order of the ranking; with a column
        of details if an entry has some.
        """
        # Models rank interactions without it:
        import pandas as pd

        columns = ['fields', 'order', 'score', 'source']
        if any(x.detail for x in self):
            columns.append('detail')
        return pd.DataFrame({c: [getattr(x, c) for x in self] for c in columns})

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame) -> InteractionSet:
        r"""The inverse of :meth:`to_pandas`, else :class:`.DataError`;
        :obj:`"source"` and :obj:`"detail"` may be absent or empty.
        """
        records = frame.astype(object).where(frame.notna(), None)
        return cls(map(_entry, records.to_dict('records'), count()))

    def to_json(self) -> str:
        r"""The set as JSON text."""
        return json.dumps(self._values(), indent=1, default=_plain)

    @classmethod
    def from_json(cls, text: str) -> InteractionSet:
        r"""The inverse of :meth:`to_json`, else :class:`.DataError`."""
        try:
            values = json.loads(text)
            version = values['version']
            entries = list(values['interactions']) if version == VERSION else []
        except (LookupError, RecursionError, TypeError, ValueError) as error:
            raise DataError(f'No interactions ({error!r})') from error
        if version != VERSION:
            raise DataError(f'Format version is {version}, not {VERSION}')
        return cls(map(_entry, entries, count()))

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes a JSON file with a checksum, as a whole or not at all."""
        write_json(path, self._values(), _plain)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InteractionSet:
        r"""Reads what :meth:`save` has written, else :class:`.DataError`.

        The checksum refuses a file that was edited by hand; its text can
        still be read by :meth:`from_json`.
        """
        with reading(path, 'interactions'):
            return cls.from_json(Path(path).read_text(encoding='utf-8'))

    def _values(self) -> dict[str, Any]:
        return {'version': VERSION, 'interactions': [asdict(x) for x in self]}

    def to_shapiq(
        self,
        names: Sequence[str] | None = None,
        index: str = 'Moebius',
        baseline: float = 0.0,
    ) -> InteractionValues:
        r"""The set as values of the package shapiq, which has further figures
        and measures.

        Args:
            names (list of str, optional): The fields that its players are.
                (default: those that occur, sorted)
            index (str, optional): What shapiq takes the scores for; its
                :obj:`"Moebius"` is what
                :func:`~pyg_featgraph.nn.row_effects` measures.
                (default: :obj:`"Moebius"`)
            baseline (float, optional): The output without any field.
                (default: :obj:`0`)

        Raises:
            DataError: If :obj:`names` lack a field.
            ImportError: If shapiq is not installed.
        """
        from pyg_featgraph.shapiq_values import to_shapiq

        scores = {x.fields: x.score for x in self}
        return to_shapiq(scores, names, index, baseline)

    @classmethod
    def from_shapiq(
        cls, values: InteractionValues, names: Sequence[str]
    ) -> InteractionSet:
        r"""What the package shapiq has found, but for its baseline.

        Args:
            values (shapiq.InteractionValues): The values.
            names (list of str): The fields that its players are.

        Raises:
            DataError: If they differ in their number.
        """
        from pyg_featgraph.shapiq_values import from_shapiq

        source = f'shapiq {values.index}'
        return cls(
            Interaction(fields, score, source)
            for fields, score in from_shapiq(values, names).items()
        )

    def plot(
        self,
        top: int | None = 20,
        truth: Iterable[Iterable[str]] | None = None,
    ) -> Any:
        r"""Draws the ranking, see
        :func:`pyg_featgraph.plot.plot_interactions`.
        """
        from pyg_featgraph.plot import plot_interactions

        return plot_interactions(self, top, truth)

    def _repr_html_(self) -> str:
        return ranking_html(self)

    def __repr__(self) -> str:
        if not self:
            return f'{self.__class__.__name__}(0): no interactions found'
        lines = [f'{self.__class__.__name__}({len(self)})']
        lines += [
            f'{rank:4d}. {x.score:10.4g}  {" x ".join(x.fields)}  {x.source}'
            for rank, x in enumerate(self.top(10), start=1)
        ]
        if len(self) > 10:
            lines.append(f'      and {len(self) - 10} more')
        return '\n'.join(map(str.rstrip, lines))


def _plain(value: Any) -> Any:
    r"""Arrays and numbers of NumPy or PyTorch in details, as JSON has them."""
    if not hasattr(value, 'tolist'):
        raise TypeError(f'{value!r} in a detail is nothing that JSON can hold')
    return value.tolist()


def _as_sets(truth: Iterable[Iterable[str]]) -> set[frozenset[str]]:
    true = list(truth)
    if any(isinstance(x, str) for x in true):
        raise TypeError("'truth' must hold tuples of names, not single names")
    return {frozenset(fields) for fields in true}


def _at_least(low: int, k: int) -> int:
    if k < low:
        raise ValueError(f"'k' must be at least {low} (got {k})")
    return k


def _entry(record: Any, index: int) -> Interaction:
    try:
        fields, score = record['fields'], record['score']
        source, detail = record.get('source') or '', record.get('detail') or {}
        return Interaction(fields, score, source, detail)
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        raise DataError(f'Entry {index}: {error!r}') from error

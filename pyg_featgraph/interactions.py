r"""The common currency: a ranked set of interactions of fields.

Every method of this package can produce one, and a linear model, a boosted
tree or another method can consume it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pyg_featgraph.errors import DataError

#: The version of the file format.
VERSION = 1


@dataclass(frozen=True)
class Interaction:
    r"""A set of fields that matter together.

    Args:
        fields (tuple of str): The names of the fields; they are a set, which
            is stored sorted.
        score (float): How much the interaction matters. Scores of one source
            can be compared with each other only.
        source (str, optional): The method that has found it.
            (default: :obj:`""`)
        detail (dict, optional): What the method has to say beyond the score,
            as JSON-compatible values. (default: :obj:`{}`)
    """

    fields: tuple[str, ...]
    score: float
    source: str = ''
    detail: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.fields, str):
            raise TypeError(f"'fields' must be a tuple (got '{self.fields}')")
        fields = tuple(sorted(self.fields))
        if not fields or len(set(fields)) != len(fields):
            raise ValueError(
                f'An interaction needs distinct fields (got {self.fields})'
            )
        if not math.isfinite(self.score):
            raise ValueError(
                f'The score of {fields} must be finite (got {self.score})'
            )
        object.__setattr__(self, 'fields', fields)
        object.__setattr__(self, 'score', float(self.score))

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
        ranked = sorted(interactions, key=lambda x: (-x.score, x.fields))
        unique: dict[tuple[str, ...], Interaction] = {}
        for entry in ranked:
            unique.setdefault(entry.fields, entry)
        self._entries = tuple(unique.values())

    @classmethod
    def from_matrix(
        cls,
        matrix: ArrayLike,
        names: Sequence[str],
        source: str = '',
    ) -> InteractionSet:
        r"""Pairs from a matrix of edge weights; both directions of an edge
        are averaged and self loops are left out.

        Args:
            matrix (array): The weights, with shape :math:`(n, n)`.
            names (list of str): The names of the :math:`n` fields.
            source (str, optional): The method. (default: :obj:`""`)
        """
        weight = np.asarray(matrix, dtype=np.float64)
        if weight.shape != (len(names), len(names)):
            raise ValueError(
                f"'matrix' must have shape {(len(names), len(names))} "
                f'(got {weight.shape})'
            )
        weight = (weight + weight.T) / 2
        return cls(
            Interaction((a, b), weight[i, j], source)
            for i, a in enumerate(names)
            for j, b in enumerate(names[i + 1 :], start=i + 1)
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
        return self[:k]

    def of_order(self, *orders: int) -> InteractionSet:
        r"""The entries with the given numbers of fields."""
        return InteractionSet(x for x in self if x.order in orders)

    def merge(self, *others: InteractionSet, k: int = 60) -> InteractionSet:
        r"""Joins rankings of different methods by reciprocal rank fusion.

        Scores of different methods have different units, so only ranks count:
        the new score is :math:`\sum_r 1 / (k + \mathrm{rank}_r)` over the
        rankings that hold the entry, from `"Reciprocal Rank Fusion
        Outperforms Condorcet and Individual Rank Learning Methods"
        <https://doi.org/10.1145/1571941.1572114>`_.

        Args:
            *others (InteractionSet): The other rankings.
            k (int, optional): How little the first ranks stand out.
                (default: :obj:`60`)
        """
        score: dict[tuple[str, ...], float] = {}
        sources: dict[tuple[str, ...], set[str]] = {}
        for ranking in (self, *others):
            for rank, entry in enumerate(ranking, start=1):
                value = score.get(entry.fields, 0.0)
                score[entry.fields] = value + 1 / (k + rank)
                sources.setdefault(entry.fields, set()).add(entry.source)
        return InteractionSet(
            Interaction(fields, value, '+'.join(sorted(sources[fields])))
            for fields, value in score.items()
        )

    def prune(self) -> InteractionSet:
        r"""Keeps one of nested interactions, by the rule of GLIDER: going down
        the ranking, an entry inside an accepted one is skipped, and an entry
        that contains accepted ones replaces them.
        """
        kept: list[Interaction] = []
        for entry in self:
            fields = set(entry.fields)
            if any(fields < set(x.fields) for x in kept):
                continue
            kept = [x for x in kept if not set(x.fields) < fields]
            kept.append(entry)
        return InteractionSet(kept)

    def precision_at(self, k: int, truth: Iterable[Sequence[str]]) -> float:
        r"""The share of true interactions among the first :obj:`k`."""
        true = _as_sets(truth)
        if k < 1:
            raise ValueError(f"'k' must be positive (got {k})")
        return sum(frozenset(x.fields) in true for x in self.top(k)) / k

    def recall_at(self, k: int, truth: Iterable[Sequence[str]]) -> float:
        r"""The share of the true interactions that the first :obj:`k` hold,
        NaN if there is none.
        """
        true = _as_sets(truth)
        found = sum(frozenset(x.fields) in true for x in self.top(k))
        return found / len(true) if true else math.nan

    def to_pandas(self) -> pd.DataFrame:
        r"""One row for each entry, in the order of the ranking."""
        return pd.DataFrame(
            {
                'fields': [x.fields for x in self],
                'order': [x.order for x in self],
                'score': [x.score for x in self],
                'source': [x.source for x in self],
            }
        )

    def to_json(self) -> str:
        r"""The set as JSON text."""
        return json.dumps(
            {
                'version': VERSION,
                'interactions': [
                    {
                        'fields': x.fields,
                        'score': x.score,
                        'source': x.source,
                        'detail': dict(x.detail),
                    }
                    for x in self
                ],
            },
            indent=1,
        )

    @classmethod
    def from_json(cls, text: str) -> InteractionSet:
        r"""The inverse of :meth:`to_json`.

        Raises:
            DataError: If the text is something else.
        """
        try:
            values = json.loads(text)
            version = values['version']
            if version != VERSION:
                raise DataError(
                    f'Interactions have format version {version}; this '
                    f'release reads version {VERSION}'
                )
            return cls(
                Interaction(
                    tuple(x['fields']),
                    x['score'],
                    x.get('source', ''),
                    x.get('detail', {}),
                )
                for x in values['interactions']
            )
        except DataError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'The text holds no interactions ({error!r})'
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes a JSON file, as a whole or not at all."""
        path = Path(path)
        temporary = path.with_name(path.name + '.tmp')
        temporary.write_text(self.to_json(), encoding='utf-8')
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> InteractionSet:
        r"""Reads a file written by :meth:`save`.

        Raises:
            DataError: If the file holds something else.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding='utf-8'))
        except (DataError, UnicodeDecodeError) as error:
            raise DataError(f"'{path}': {error}") from error

    def plot(
        self,
        top: int = 20,
        truth: Iterable[Sequence[str]] | None = None,
    ) -> Any:
        r"""Draws the ranking, see
        :func:`pyg_featgraph.plot.plot_interactions`.
        """
        from pyg_featgraph.plot import plot_interactions

        return plot_interactions(self, top, truth)

    def __repr__(self) -> str:
        lines = [f'{self.__class__.__name__}({len(self)})']
        lines += [
            f'  {rank:3d}. {x.score:10.4g}  {" x ".join(x.fields)}'
            for rank, x in enumerate(self.top(10), start=1)
        ]
        if len(self) > 10:
            lines.append('  ...')
        return '\n'.join(lines)


def _as_sets(truth: Iterable[Sequence[str]]) -> set[frozenset[str]]:
    return {frozenset(fields) for fields in truth}

r"""What crosses are once they are learned from training rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from pyg_featgraph.crossing.keys import join, num_keys
from pyg_featgraph.crossing.statistics import Target, smoothed_means
from pyg_featgraph.crossing.vocabulary import Vocabulary
from pyg_featgraph.data.codecs import Codec
from pyg_featgraph.data.texts import Ids
from pyg_featgraph.data.values import Floats

Fields = tuple[str, ...]


class Fitted(NamedTuple):
    r"""Crosses with what is known of their values.

    Args:
        codecs (dict): The codec of each field.
        crosses (dict): The vocabulary of each cross.
        means (dict): The means of the label, with shape :math:`(V + 1, C)`,
            of each cross; empty if there are none.
    """

    codecs: Mapping[str, Codec]
    crosses: dict[Fields, Vocabulary]
    means: dict[Fields, Floats]

    @classmethod
    def learn(
        cls,
        codecs: Mapping[str, Codec],
        ids: Mapping[str, Ids],
        chosen: Iterable[Fields],
        min_count: int,
        keep_rare: bool,
        target: Target | None = None,
        smooth: float | str = 'auto',
    ) -> Self:
        r"""Takes the values of crosses from training rows.

        Args:
            codecs (dict): The codec of each field.
            ids (dict): The ids of each field, with shape :math:`(R)`.
            chosen (list of tuple): The fields of each cross.
            min_count (int): The number of rows from which on a value has an
                id.
            keep_rare (bool): Whether those without an id are kept.
            target (Target, optional): The labels whose means are taken.
                (default: :obj:`None`)
            smooth (float or str, optional): See
                :func:`~pyg_featgraph.crossing.statistics.smoothed_means`.
                (default: :obj:`"auto"`)
        """
        out = cls(codecs, {}, {})
        for fields in chosen:
            num_keys(fields, codecs)
            key = join(fields, codecs, ids)
            vocabulary = Vocabulary.learn(key, min_count, keep_rare)
            out.crosses[fields] = vocabulary
            if target is not None:
                at, size = vocabulary.find(key), len(vocabulary)
                out.means[fields] = smoothed_means(
                    at, target.values, size, smooth
                )
        return out

    def find(
        self, ids: Mapping[str, Ids]
    ) -> Iterator[tuple[Fields, Vocabulary, Ids]]:
        r"""For each cross its fields, its vocabulary and the position that
        each row has in it, with shape :math:`(R)`.
        """
        for fields, vocabulary in self.crosses.items():
            key = join(fields, self.codecs, ids)
            yield fields, vocabulary, vocabulary.find(key)

    def one_hot(self, ids: Mapping[str, Ids], num_rows: int) -> csr_array:
        r"""A column for each id of each cross but 0, with a one where a row
        has it.
        """
        # -1 where a row has no id; the others rise from cross to cross:
        column = np.full((num_rows, len(self.crosses)), -1, np.int32)
        width = 0
        for i, (_, vocabulary, at) in enumerate(self.find(ids)):
            own = vocabulary.ids[at]
            column[:, i] = np.where(own > 0, own + (width - 1), -1)
            width += vocabulary.num_ids
        kept = column >= 0
        start = np.append(0, kept.sum(axis=1).cumsum()).astype(np.int32)
        column = column[kept]
        ones = np.ones(len(column))
        return csr_array((ones, column, start), (num_rows, width))


def columns_of(
    vocabulary: Vocabulary,
    at: Ids,
    encodings: Collection[str],
    means: Floats | None,
    own: int = 0,
) -> list[Any]:
    r"""The columns of a cross, of rows with some values of it.

    Args:
        vocabulary (Vocabulary): The values of the cross.
        at (numpy.ndarray): The position of each row in it, with shape
            :math:`(R)`.
        encodings (set of str): What is wanted of ids and counts.
        means (numpy.ndarray, optional): The means of each row, with shape
            :math:`(R, C)`.
        own (int, optional): How often a row is among those that were counted.
            (default: :obj:`0`)
    """
    columns: list[Any] = []
    if 'ids' in encodings:
        # All ids are categories, seen or not, so that tables agree:
        every = pd.CategoricalDtype(pd.RangeIndex(vocabulary.num_ids + 1))
        ids = vocabulary.ids[at]
        columns.append(pd.Categorical.from_codes(ids, dtype=every))
    if means is not None:
        columns += [*means.T]
    if 'count' in encodings:
        columns.append(np.log1p(vocabulary.counts[at] - own))
    return columns

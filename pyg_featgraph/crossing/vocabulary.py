r"""The values of one cross that the training rows hold."""

from __future__ import annotations

from typing import Self

import numpy as np

from pyg_featgraph.data.texts import Ids


class Vocabulary:
    r"""Which values a cross has, how many rows have each, and their ids.

    Sorted arrays take 16 bytes for a value, a hash table several times that.

    Args:
        keys (numpy.ndarray): The rising keys of the values, with shape
            :math:`(V)`.
        counts (numpy.ndarray): The number of training rows of each, with
            shape :math:`(V)`.
        min_count (int): The number of rows from which on a value has an id.

    Attributes:
        counts (numpy.ndarray): With shape :math:`(V + 1)`, ending with a zero
            for the position -1.
        ids (numpy.ndarray): From 1 upwards, the most frequent value first,
            and 0 for what is too rare or not there; with shape
            :math:`(V + 1)`.
        num_ids (int): How many values have an id.
    """

    def __init__(self, keys: Ids, counts: Ids, min_count: int) -> None:
        self.keys = keys
        self.counts = np.append(counts, 0).astype(np.int32)
        # Stable, so that keys with one count keep their order:
        order = np.argsort(-counts, kind='stable')
        order = order[counts[order] >= min_count]
        self.num_ids = len(order)
        self.ids = np.zeros(len(keys) + 1, np.int32)
        self.ids[order] = np.arange(1, len(order) + 1)

    @classmethod
    def learn(cls, key: Ids, min_count: int, keep_rare: bool) -> Self:
        r"""Takes the values from rows.

        Args:
            key (numpy.ndarray): The key of each row, negative where there is
                none, with shape :math:`(R)`.
            min_count (int): The number of rows from which on a value has an
                id.
            keep_rare (bool): Whether those without an id are kept.
        """
        keys, counts = np.unique(key[key >= 0], return_counts=True)
        kept = counts >= (1 if keep_rare else min_count)
        return cls(keys[kept], counts[kept], min_count)

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: Ids) -> Ids:
        r"""The position of each key, -1 if it is not there.

        Shapes:
            - **input:** keys :math:`(R)`
            - **output:** positions :math:`(R)`
        """
        if not len(self):
            return np.full(len(key), -1)
        at = np.searchsorted(self.keys, key)
        at[at == len(self)] = 0
        return np.where(self.keys[at] == key, at, -1)

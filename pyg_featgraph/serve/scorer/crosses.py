r"""Fields of several columns together, and which codec a field has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .codecs import (
    BucketCodec,
    CategoricalCodec,
    Codec,
    Floats,
    Ids,
    MultiCodec,
    NumericCodec,
    PiecewiseLinearCodec,
    Slots,
    VectorCodec,
)


class CrossCodec(Codec):
    r"""What the values of some columns are together: an id, or a number such
    as the mean of the label. The values that are known have a key each, which
    the ids of its members make; all others have the last entry.
    """

    def __init__(self, spec: Mapping[str, Any], offset: int) -> None:
        super().__init__(spec, offset)
        self.members = [make_codec(x, 0) for x in spec['members']]
        self.sizes = [int(x['size']) for x in spec['members']]
        self.places = {key: i for i, key in enumerate(spec['keys'])}
        self.ids = np.array(spec['ids'], np.int64) + offset
        self.values = np.array(spec['values'], np.float64)
        entries = zip(self.ids.tolist(), self.values.tolist(), strict=True)
        self.entries: list[Slots] = [*entries]

    @property
    def readers(self) -> Sequence[Codec]:
        return self.members

    def read(self, row: Mapping[str, Any]) -> Slots:
        key = self._key([x.read(row)[0][0] for x in self.members])
        return self.entries[self.places.get(key, -1)]

    def read_all(
        self, columns: Mapping[str, Sequence[Any]]
    ) -> tuple[Ids, Floats]:
        ids = [x.read_all(columns)[0][:, 0].tolist() for x in self.members]
        keys = map(self._key, zip(*ids, strict=True))
        at = [self.places.get(key, -1) for key in keys]
        return self.ids[at], self.values[at]

    def _key(self, ids: Sequence[int]) -> int:
        # Of rare members as well, whose keys no training row has:
        key = 0
        for i, size in zip(ids, self.sizes, strict=True):
            key = key * size + i
        return key


def make_codec(spec: Mapping[str, Any], offset: int) -> Codec:
    r"""The codec of a field.

    Args:
        spec (dict): The field, as an exported folder describes it.
        offset (int): The first of its ids.
    """
    codecs: tuple[type[Codec], ...] = (
        *(BucketCodec, CategoricalCodec, CrossCodec, MultiCodec),
        *(NumericCodec, PiecewiseLinearCodec, VectorCodec),
    )
    return {cls.__name__: cls for cls in codecs}[spec['codec']](spec, offset)

r"""How one column becomes ids and values, one class for each way.

All of them number the ids of their field from zero: 0 stands for "missing",
1 for "rare or unseen" (categories, buckets) or "a number" (numeric values),
and the vocabulary follows. In a vector, each component has an id from 1 on.
"""

from pyg_featgraph.data.codecs.base import (
    MISSING,
    NUM_SPECIAL,
    NUMBER,
    RARE,
    Codec,
)
from pyg_featgraph.data.codecs.bucket import BucketCodec
from pyg_featgraph.data.codecs.categorical import CategoricalCodec, MultiCodec
from pyg_featgraph.data.codecs.numeric import NumericCodec
from pyg_featgraph.data.codecs.piecewise import PiecewiseLinearCodec
from pyg_featgraph.data.codecs.vector import VectorCodec
from pyg_featgraph.data.schema import Field

__all__ = [
    'MISSING',
    'RARE',
    'NUMBER',
    'NUM_SPECIAL',
    'Codec',
    'BucketCodec',
    'CategoricalCodec',
    'MultiCodec',
    'NumericCodec',
    'PiecewiseLinearCodec',
    'VectorCodec',
    'make_codec',
]


def make_codec(field: Field) -> Codec:
    r"""The codec of a field."""
    if field.kind == 'multi':
        return MultiCodec(field)
    if field.kind == 'vector':
        return VectorCodec(field)
    if field.kind == 'categorical':
        return CategoricalCodec(field)
    if field.interpolate:
        return PiecewiseLinearCodec(field)
    return BucketCodec(field) if field.is_bucketised else NumericCodec(field)

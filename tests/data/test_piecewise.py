from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError


def fit(x, label=None, **field):
    frame = pd.DataFrame({'x': x})
    schema = FieldSchema((Field('x', 'numeric', interpolate=True, **field),))
    return FieldEncoder(schema).fit(frame)


def encoded(encoder, x):
    table = encoder.transform(pd.DataFrame({'x': x}))
    return table.slot_index.numpy(), table.slot_value.double().numpy()


def plain(x, knots):
    """The encoding of the paper (Eq. 1), one number for each bin."""
    out = np.empty((len(x), len(knots) - 1))
    for t, (low, high) in enumerate(pairwise(knots)):
        out[:, t] = np.clip((x - low) / (high - low), 0, 1)
    return out


@pytest.mark.parametrize('transform', ['quantile', 'equal_width'])
def test_it_is_the_encoding_of_the_paper_with_a_linear_layer(transform):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(500) < 0.3, 2.0, rng.normal(size=500) ** 3)
    encoder = fit(x, transform=transform, bins=(12,))
    (knots,) = encoder.codecs[0].knots
    assert (knots[0], knots[-1]) == (x.min(), x.max())
    weight, bias = rng.normal(size=(len(knots) - 1, 4)), rng.normal(size=4)
    # The vectors of the knots are the partial sums of the layer:
    steps = np.concatenate([bias[None], weight])
    vectors = np.concatenate([np.zeros((2, 4)), steps.cumsum(axis=0)])
    ids, value = encoded(encoder, x)
    assert ids.shape == (500, 2)
    assert encoder.info.sizes == (len(vectors),)
    out = (vectors[ids] * value[..., None]).sum(axis=1)
    np.testing.assert_allclose(out, plain(x, knots) @ weight + bias, atol=1e-6)


def test_mass_points_have_vectors_of_their_own():
    x = np.r_[np.zeros(50), np.linspace(-3, 4, 100)]
    encoder = fit(x, bins=(6,))
    (knots,) = encoder.codecs[0].knots
    assert 0.0 in knots
    ids, value = encoded(encoder, x)
    assert (value[:50] == [1, 0]).all()
    of_mass = ids[0, 0]
    # Which no other training row has a part of:
    share = np.where(ids == of_mass, value, 0).sum(axis=1)
    assert (share[x != 0] < 1e-6).all()


def test_beyond_the_training_rows():
    encoder = fit([0.0, 1.0, 2.0, 4.0], bins=(3,))
    ids, value = encoded(encoder, [-1e30, 0.0, 4.0, 5.0, 1e30])
    vectors = np.eye(encoder.info.sizes[0])
    out = (vectors[ids] * value[..., None]).sum(axis=1)
    assert (out[0] == out[1]).all()
    assert (out[2] == out[3]).all()
    assert (out[2] == out[4]).all()
    assert not (out[1] == out[2]).all()


def test_several_resolutions_and_missing_entries(tmp_path):
    x = np.r_[np.random.default_rng(1).normal(size=200), np.nan]
    encoder = fit(x, bins=(3, 20))
    ids, value = encoded(encoder, x)
    assert encoder.info.slots == (4,)
    assert encoder.info.kinds == ('bucket',)
    np.testing.assert_allclose(value[:-1, :2].sum(1), 0.5, rtol=1e-6)
    np.testing.assert_allclose(value[:-1, 2:].sum(1), 0.5, rtol=1e-6)
    assert ids[:-1, :2].max() < ids[:-1, 2:].min()
    assert ids[-1].tolist() == [0, 0, 0, 0]
    assert value[-1].tolist() == [1, 0, 0, 0]
    path = tmp_path / 'encoder.parquet'
    encoder.save(path)
    again = encoded(FieldEncoder.load(path), x)
    np.testing.assert_array_equal(again, (ids, value))


def test_impossible_knots_are_refused(tmp_path):
    encoder = fit([1.0, 2.0, 3.0])
    encoder.codecs[0].knots[0].reverse()
    encoder.save(tmp_path / 'encoder.parquet')
    with pytest.raises(DataError, match="state of 'x' is impossible"):
        FieldEncoder.load(tmp_path / 'encoder.parquet')

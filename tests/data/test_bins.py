from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.data.bins import (
    LEAF_ROWS,
    has_mass,
    quantile_edges,
    tree_edges,
)
from pyg_featgraph.errors import DataError

NUMBERS = st.lists(
    st.one_of(
        st.integers(-3, 3).map(float),
        st.floats(-(2.0**99), 2.0**99, width=32),
        st.sampled_from([0.0, 1.0, 1.0 + 2**-52]),
    ),
    min_size=1,
    max_size=80,
)


def counted(x):
    return np.unique(np.asarray(x, float), return_counts=True)


def encode(frame, test=None, label=None, **field):
    """The ids of the column x, numbered from zero, and the encoder."""
    schema = FieldSchema((Field('x', 'numeric', **field),), label)
    encoder = FieldEncoder(schema).fit(frame)
    table = encoder.transform(frame if test is None else test)
    return table.slot_index.numpy(), encoder


@given(NUMBERS, st.integers(1, 12), st.integers(1, 9))
@settings(max_examples=300, deadline=None)
def test_quantiles(x, bins, min_count):
    values, counts = counted(x)
    edges = quantile_edges(values, counts, bins, min_count)
    assert (np.diff(edges) > 0).all()
    bucket = np.searchsorted(edges, values, side='right')
    rows = np.bincount(bucket, counts, minlength=len(edges) + 1)
    # None is empty, and none has too few rows, but if there are no more:
    assert rows.min() >= min(min_count, len(x))
    if min_count > 1:
        return
    alone = np.bincount(bucket)[bucket] == 1
    assert alone[has_mass(counts, bins)].all()
    if len(values) <= bins:
        assert alone.all()
    # Without mass points, all have the same rows, up to those of a value:
    if not has_mass(counts, bins).any():
        assert np.ptp(rows) <= 2 * counts.max()


def test_a_column_that_is_mostly_one_value():
    rng = np.random.default_rng(0)
    x = np.where(rng.random(5000) < 0.9, 0.0, rng.exponential(1000, 5000))
    assert len(np.unique(np.quantile(x, np.arange(1, 50) / 50))) < 7
    values, counts = counted(x)
    assert values[has_mass(counts, 50)].tolist() == [0]
    edges = quantile_edges(values, counts, 50)
    rows = np.histogram(x, [-np.inf, *edges, np.inf])[0]
    # Zero alone, and 49 buckets of the other ten percent:
    assert len(rows) == 50
    assert rows[0] == (x == 0).sum()
    assert np.ptp(rows[1:]) <= 1


def test_mass_points_lie_among_the_buckets_in_the_order_of_values():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=900), np.full(300, 0.5), [0.5] * 9])
    frame = pd.DataFrame({'x': x})
    probe = pd.DataFrame({'x': np.sort(np.append(x, 0.5))})
    ids, encoder = encode(frame, probe, bins=(10,))
    assert (np.diff(ids[:, 0]) >= 0).all()
    at = ids[probe['x'].to_numpy() == 0.5, 0]
    assert len({*at}) == 1
    assert set(probe['x'][ids[:, 0] == at[0]]) == {0.5}
    assert encoder.report().loc['x', 'mass_points'] == [0.5]
    assert ids.max() + 1 == encoder.info.sizes[0]


def test_a_number_not_seen_goes_with_the_nearer_one():
    frame = pd.DataFrame({'x': [1.0, 2.0, 10.0]})
    probe = pd.DataFrame({'x': [-1e30, 1.49, 1.51, 5.99, 6.01, 1e30, None]})
    ids, _ = encode(frame, probe, bins=(5,))
    assert ids[:, 0].tolist() == [2, 2, 3, 3, 4, 4, 0]


def test_values_without_a_number_between_them():
    one, two = 1.0, np.nextafter(1.0, 2.0)
    values, counts = counted([one] * 5 + [two] * 5)
    (edge,) = quantile_edges(values, counts, 2)
    assert np.searchsorted([edge], values, side='right').tolist() == [0, 1]


def test_few_rows_join_their_neighbours():
    frame = pd.DataFrame({'x': [0.0] * 10 + [1.0, 2.0, 3.0] + [9.0] * 10})
    ids, _ = encode(frame, bins=(5,), min_count=3)
    # Neither rare ids nor buckets of one row:
    assert np.bincount(ids[:, 0]).tolist() == [0, 0, 10, 3, 10]
    # All rows together are too few:
    ids, _ = encode(frame, bins=(5,), min_count=30)
    assert {*ids[:, 0]} == {1}


@pytest.mark.parametrize('classes', [True, False])
def test_a_tree_is_that_of_scikit_learn(classes):
    rng = np.random.default_rng(2)
    x = rng.normal(size=3000).astype(np.float32).astype(float)
    signal = np.sin(3 * x) + 0.3 * rng.normal(size=3000)
    y = np.digitize(signal, [-0.5, 0.5]) if classes else signal
    values, counts = counted(x)
    edges = tree_edges(values, counts, x, y, 12)
    options = {'max_leaf_nodes': 12, 'min_samples_leaf': LEAF_ROWS}
    tree = (
        DecisionTreeClassifier(criterion='entropy', **options)
        if classes
        else DecisionTreeRegressor(**options)
    ).fit(x[:, None], y)
    thresholds = np.sort(tree.tree_.threshold[tree.tree_.children_left >= 0])
    assert len(thresholds) == 11
    np.testing.assert_allclose(edges, thresholds, rtol=1e-6)


def test_the_type_of_labels_decides_what_a_tree_minimises():
    # One number tells a class of many labels, the other the size of few:
    x = np.repeat([0.0, 1, 2], [400, 400, 50])
    rng = np.random.default_rng(3)
    y = np.where(x == 0, rng.integers(0, 2, 850), 1)
    y[x == 2] = rng.choice([9, 1], 50)
    values, counts = counted(x)
    assert tree_edges(values, counts, x, y, 2).tolist() == [0.5]
    assert tree_edges(values, counts, x, y.astype(float), 2).tolist() == [1.5]


@given(NUMBERS, st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_a_leaf_has_many_rows(x, seed, min_count):
    rng = np.random.default_rng(seed)
    x = rng.choice(x, 300) + rng.choice([0, 1e-3, 1], 300)
    values, counts = counted(x)
    edges = tree_edges(
        values, counts, x, rng.integers(0, 2, 300), 64, min_count
    )
    bucket = np.searchsorted(edges, x, side='right')
    assert np.bincount(bucket).min() >= max(LEAF_ROWS, min_count)


def test_several_resolutions_of_a_tree():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({'x': rng.normal(size=4000)})
    frame['y'] = (np.sin(4 * frame['x']) > rng.normal(size=4000)).astype(int)
    ids, encoder = encode(frame, label='y', transform='tree', bins=(4, 32))
    assert encoder.info.slots == (2,)
    assert len({*ids[:, 0]}) == 4
    assert 20 < len({*ids[:, 1]}) <= 32
    assert not {*ids[:, 0]} & {*ids[:, 1]}
    table = encoder.transform(frame)
    assert table.slot_value.eq(0.5).all()


def test_a_tree_needs_labels():
    frame = pd.DataFrame({'x': [1.0, 2.0]})
    with pytest.raises(DataError, match=r"'x'.* 'tree' .* name it in the sch"):
        encode(frame, transform='tree')
    with pytest.raises(DataError, match='which the training rows lack'):
        encode(frame, label='y', transform='tree')


TYPES = {
    'float32': lambda x: x.astype(np.float32),
    'Float64': lambda x: x.astype('Float64'),
    'text': lambda x: x.map(lambda v: None if pd.isna(v) else str(v)),
    'decimal': lambda x: pd.Series(
        [None if pd.isna(v) else Decimal(str(v)) for v in x], dtype=object
    ),
}
WAYS = {
    'quantile': {'bins': (9,)},
    'tree': {'transform': 'tree'},
    'interpolated': {'bins': (9,), 'interpolate': True},
    'interpolated tree': {'transform': 'tree', 'interpolate': True},
    'auto': {},
}


@pytest.mark.parametrize('way', WAYS)
def test_ids_do_not_depend_on_the_type(way):
    rng = np.random.default_rng(5)
    x = pd.Series(rng.normal(size=600).round(2))
    x[rng.random(600) < 0.2] = 0.0
    x[rng.random(600) < 0.1] = np.nan
    y = (rng.random(600) < np.where(x > 0.3, 0.9, 0.3)).astype(int)
    ids, encoder = encode(
        pd.DataFrame({'x': x, 'y': y}), label='y', **WAYS[way]
    )
    missing = x.isna().to_numpy()
    assert (ids[missing] == 0).all()
    assert (ids[~missing, 0] >= 2).all()
    assert encoder.report().loc['x', 'missing'] == missing.mean()
    for name, convert in TYPES.items():
        frame = pd.DataFrame({'x': convert(x), 'y': y})
        again, other = encode(frame, label='y', **WAYS[way])
        np.testing.assert_array_equal(again, ids, name)
        value = encoder.transform(frame).slot_value
        assert value.equal(other.transform(frame).slot_value)
    with pytest.raises(DataError, match=r"'x', row 0: .*inf.* is not finite"):
        encoder.transform(pd.DataFrame({'x': [np.inf]}))


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('column', [[None] * 4, [7.0] * 4, [7.0, None, 7, 7]])
def test_columns_with_one_value_or_none(way, column, tmp_path):
    frame = pd.DataFrame(
        {'x': pd.Series(column, dtype=float), 'y': [0, 1, 0, 1]}
    )
    probe = pd.DataFrame({'x': [1.0, 7.0, 1e30, None]})
    _, encoder = encode(frame, label='y', **WAYS[way])
    table = encoder.transform(probe)
    ids, value = table.slot_index, table.slot_value
    # All numbers are the one that was seen, if any was:
    assert (ids[0] == ids[2]).all()
    assert (ids[1] == ids[2]).all()
    assert ids[0, 0] == (1 if column == [None] * 4 else 2)
    assert value.sum(dim=1).tolist() == [1.0] * 4
    assert (ids[3] == 0).all()
    assert ids.max() < encoder.info.num_embeddings
    encoder.save(tmp_path / 'encoder.parquet')
    again = FieldEncoder.load(tmp_path / 'encoder.parquet').transform(probe)
    assert again.slot_index.equal(ids)
    assert again.slot_value.equal(value)

import bisect
import collections
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_limits

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.data.bins import quantile_edges
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, sealing
from pyg_featgraph.interactions import Interaction, InteractionSet

NUMERIC = ('float', 'tied', 'whole')
CROSSES = [
    ('text', 'kind'),
    ('float', 'tied'),
    ('whole', 'flag'),
    ('text', 'float', 'kind'),
    ('tied',),
    ('text',),
]


def frame(rows, seed, spread=1):
    """Columns of several kinds; a larger spread has values of its own."""
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 12 * spread, rows).astype(str).astype(object)
    whole = pd.array(rng.integers(0, 9 * spread, rows), 'Int64')
    floats = rng.normal(scale=spread, size=rows)
    # The first row is complete, so that no column lacks all values:
    text[1:][rng.random(rows - 1) < 0.2] = None
    floats[1:][rng.random(rows - 1) < 0.2] = np.nan
    whole[1:][rng.random(rows - 1) < 0.2] = pd.NA
    return pd.DataFrame(
        {
            'text': text,
            'kind': pd.Categorical(rng.integers(0, 3 * spread, rows)),
            'float': floats,
            # Most values are the smallest one, hence an empty bucket:
            'tied': np.maximum(rng.integers(-4 * spread, 4, rows), -spread),
            'whole': whole,
            'flag': rng.random(rows) < 0.5,
        },
        index=rng.permutation(rows) + 100,
    )


def reference(train, test, fields, min_count, bins):
    """What a cross means, row by row; returns the ids and their number."""
    rank, cut = {}, {}
    for name in fields:
        seen = [x for x in train[name] if not pd.isna(x)]
        if name in NUMERIC:
            known = np.unique(np.array(seen, float), return_counts=True)
            edges = quantile_edges(*known, bins).tolist()
            cut[name] = lambda x, edges=edges: bisect.bisect_right(edges, x)
            rank[name] = {i: i + 1 for i in range(len(edges) + 1)}
        else:
            count = collections.Counter(map(str, seen))
            order = sorted(count, key=lambda x, n=count: (-n[x], x))
            cut[name], rank[name] = str, {x: i for i, x in enumerate(order, 1)}

    def keys(table):
        for row in table[list(fields)].itertuples(index=False):
            yield tuple(
                None if pd.isna(x) else cut[name](x)
                for name, x in zip(fields, row, strict=True)
            )

    def rise(key):
        ranks = [rank[n].get(x, 0) for n, x in zip(fields, key, strict=True)]
        return -count[key], ranks

    count = collections.Counter(keys(train))
    kept = sorted((x for x in count if count[x] >= min_count), key=rise)
    ids = {key: i for i, key in enumerate(kept, 1)}
    return [ids.get(key, 0) for key in keys(test)], range(len(kept) + 1)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(10, 300),
    min_count=st.integers(1, 9),
    bins=st.integers(1, 8),
)
def test_reference(seed, rows, min_count, bins):
    train, test = frame(rows, seed), frame(50, seed + 1, spread=2)
    crosses = CrossFeatures(CROSSES, min_count=min_count, bins=bins).fit(train)
    for table in (train, test, test[:0]):
        out = crosses.transform(table)
        assert out.index.equals(table.index)
        for fields, name in zip(CROSSES, out, strict=True):
            ids, categories = reference(
                train, table, sorted(fields), min_count, bins
            )
            assert out[name].tolist() == ids
            # The same in all tables, whatever they hold:
            assert out[name].dtype == pd.CategoricalDtype(categories)


def test_threshold():
    df = pd.DataFrame(
        {'a': list('xxxxyyyzzw'), 'b': ['p', 'p', 'p', None] * 2 + ['p'] * 2}
    )
    out = CrossFeatures([('b', 'a')], min_count=2).fit_transform(df)
    # (x, p) three times, (y, p) three times, (z, p) and (w, p) once:
    assert out['a x b'].tolist() == [1, 1, 1, 0, 2, 2, 2, 0, 0, 0]
    out = CrossFeatures([('b', 'a')], min_count=4).fit_transform(df)
    assert out['a x b'].tolist() == [0] * 10
    assert out['a x b'].cat.categories.tolist() == [0]
    # Nothing but missing entries to learn from, be they text or numbers:
    for value in (None, np.nan):
        crosses = CrossFeatures([('a', 'b')], min_count=2)
        crosses.fit(df.assign(b=value))
        out = crosses.transform(df.assign(b=[value] * 9 + [1]))
        assert out['a x b'].tolist() == [1] * 4 + [2] * 3 + [3, 3, 0]


def test_representations_agree():
    forms = [
        pd.Series([1, 2, 2, None, None], dtype='Int64'),
        pd.Series([1, 2, 2, None, None], dtype='float64'),
        pd.Series(['1', '2', '2', None, None], dtype='object'),
        pd.Series(['1', '2', '2', None, None], dtype='string'),
        pd.Series(['1', '2', '2', None, None], dtype='category'),
    ]
    schema = FieldSchema((Field('a', 'categorical'), Field('b', 'numeric')))
    tables = [pd.DataFrame({'a': x, 'b': range(5)}) for x in forms]
    crosses = CrossFeatures([('a', 'b')], min_count=1, bins=1, schema=schema)
    crosses.fit(tables[0])
    for table in tables:
        assert crosses.transform(table)['a x b'].tolist() == [3, 2, 2, 1, 1]


def test_choice():
    df = frame(200, 0)
    ranked = InteractionSet(
        [Interaction(('text', 'kind'), 1), Interaction(('float', 'flag'), 2)]
    )
    names = ['flag x float', 'kind x text']
    assert list(CrossFeatures(ranked).fit_transform(df)) == names
    assert list(CrossFeatures(ranked, top=1).fit_transform(df)) == names[:1]
    assert CrossFeatures(ranked, top=0).fit_transform(df).shape == (200, 0)
    # Each set of fields once, in the order given:
    given = [('text', 'kind'), ['kind', 'text'], ranked[0]]
    out = CrossFeatures(given, top=2).fit_transform(df)
    assert list(out) == names[::-1]
    # The kind of a schema counts, its other options do not:
    schema = FieldSchema.infer(df, transform='standard')
    cross = [('whole', 'flag')]
    plain = CrossFeatures(cross).fit_transform(df)
    same = CrossFeatures(cross, schema=schema).fit_transform(df)
    pd.testing.assert_frame_equal(plain, same)
    schema = FieldSchema.infer(df, kind='categorical')
    other = CrossFeatures(cross, bins=2, schema=schema).fit_transform(df)
    assert other.nunique().item() > 6


def xor(rows, seed, numeric):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 2))
    df = pd.DataFrame(x if numeric else np.where(x > 0, 'p', 'q'))
    return df.set_axis(['a', 'b'], axis=1), (x[:, 0] > 0) ^ (x[:, 1] > 0)


def auc(model, table, y):
    return roc_auc_score(y, model.predict_proba(table)[:, 1])


@pytest.mark.parametrize('numeric', [False, True])
def test_models_see_an_interaction(numeric):
    lightgbm = pytest.importorskip('lightgbm')
    (df, y), (new, y_new) = xor(3000, 0, numeric), xor(3000, 1, numeric)
    one_hot = OneHotEncoder(handle_unknown='ignore')
    main = CrossFeatures([('a',), ('b',)])
    alone = make_pipeline(main, one_hot, LogisticRegression()).fit(df, y)
    assert abs(auc(alone, new, y_new) - 0.5) < 0.05
    crosses = CrossFeatures([('a', 'b')], bins=10)
    models = [
        [one_hot, LogisticRegression()],
        [HistGradientBoostingClassifier(max_iter=20)],
        [lightgbm.LGBMClassifier(n_estimators=20, n_jobs=1, verbose=-1)],
    ]
    for steps in models:
        pipeline = clone(make_pipeline(crosses, *steps))
        # Threads that wait for each other take minutes on busy cores:
        with threadpool_limits(1):
            pipeline.fit(df, y)
            assert auc(pipeline, new, y_new) > 0.99


def test_sklearn_conventions():
    df = frame(300, 0)
    interactions = [('text', 'kind'), ('float', 'tied')]
    crosses = CrossFeatures(interactions, append=True, min_count=np.int64(2))
    assert crosses.get_params()['interactions'] is interactions
    assert interactions == [('text', 'kind'), ('float', 'tied')]
    with pytest.raises(NotFittedError):
        crosses.transform(df)
    out = clone(crosses).fit_transform(df)
    assert not hasattr(crosses, 'crosses_')
    crosses.fit(df)
    names = [*df, 'kind x text', 'float x tied']
    assert list(crosses.get_feature_names_out()) == list(out) == names
    assert crosses.get_feature_names_out(df.columns)[-1] == 'float x tied'
    with pytest.raises(ValueError, match='input_features'):
        crosses.get_feature_names_out(['a'])
    assert list(crosses.feature_names_in_) == list(df)
    assert crosses.n_features_in_ == 6
    pd.testing.assert_frame_equal(out[list(df)], df)
    # Columns keep their names when a table has them in another order:
    mixed = df[df.columns[::-1]].assign(more=1)
    again = crosses.set_output(transform='pandas').transform(mixed)
    pd.testing.assert_frame_equal(again, out)
    again = pickle.loads(pickle.dumps(crosses)).transform(mixed)
    pd.testing.assert_frame_equal(again, out)


def test_extend():
    df = frame(300, 0).assign(label=np.arange(300) % 2)
    crosses = CrossFeatures(CROSSES, append=True).fit(df)
    out = crosses.transform(df)
    schema = crosses.extend(FieldSchema.infer(df, 'label'))
    assert schema.names[-2:] == ('tied (bucket)', 'text (bucket)')
    assert schema == FieldSchema.infer(out[[*schema.names, 'label']], 'label')
    encoder = FieldEncoder(schema).fit(out)
    ids = (
        encoder.transform(out).slot_index.numpy()[:, -1]
        - encoder.info.offsets[-1]
    )
    # Each id of the cross has one of its own, none is "missing" or "rare":
    pairs = set(zip(ids.tolist(), out['text (bucket)'], strict=True))
    assert len(pairs) == len(set(ids)) == out['text (bucket)'].nunique()
    assert ids.min() == 2
    with pytest.raises(ValueError, match='unique'):
        crosses.extend(schema)


@pytest.mark.parametrize('schema', [False, True])
def test_save(tmp_path, monkeypatch, schema):
    df, new = frame(300, 0), frame(100, 1, spread=2)
    crosses = CrossFeatures(
        InteractionSet(Interaction(x, 1) for x in CROSSES),
        top=np.int64(5),
        min_count=3,
        bins=7,
        schema=FieldSchema.infer(df) if schema else None,
        append=True,
    )
    path = tmp_path / 'crosses.parquet'
    with pytest.raises(NotFittedError):
        crosses.save(path)
    crosses.fit(df).save(path)
    assert [x.name for x in tmp_path.iterdir()] == [path.name]
    types = pq.read_schema(path).types
    assert types == [pa.int32(), pa.large_string(), pa.int64()]
    loaded = CrossFeatures.load(path)
    out = crosses.transform(new)
    pd.testing.assert_frame_equal(loaded.transform(new), out)
    assert (loaded.get_feature_names_out() == out.columns).all()
    assert loaded.schema == crosses.schema
    pd.testing.assert_frame_equal(clone(loaded).fit(df).transform(new), out)

    def fail(table, where):
        where.write_bytes(b'half of it')
        raise OSError('disk full')

    monkeypatch.setattr(pq, 'write_table', fail)
    with pytest.raises(OSError, match='disk full'):
        crosses.save(path)
    assert CrossFeatures.load(path).n_features_in_ == 6


def test_save_without_vocabulary(tmp_path):
    df = frame(50, 0)
    for interactions in ([], [('float', 'tied')]):
        crosses = CrossFeatures(interactions, min_count=99).fit(df)
        crosses.save(tmp_path / 'x')
        again = CrossFeatures.load(tmp_path / 'x').transform(df)
        pd.testing.assert_frame_equal(again, crosses.transform(df))


def test_load_errors(tmp_path):
    path = tmp_path / 'x'
    path.write_text('no Parquet')
    with pytest.raises(DataError, match='x'):
        CrossFeatures.load(path)
    df = frame(50, 0).assign(y=np.arange(50) % 2)
    FieldEncoder(FieldSchema.infer(df, 'y')).fit(df).save(path)
    with pytest.raises(DataError, match='is no crosses'):
        CrossFeatures.load(path)
    meta = {'pyg_featgraph.crosses': '{"version": 99}', 'checksum': SEAL}
    with sealing(path) as temporary:
        table = pa.table({'a': [1]}).replace_schema_metadata(meta)
        pq.write_table(table, temporary)
    with pytest.raises(DataError, match='99'):
        CrossFeatures.load(path)


LISTS = pd.DataFrame({'m': [['p'], ['q']], 'a': [1, 2]})
TWICE = pd.DataFrame([[1, 2, 3]], columns=['a', 'a', 'b'])
WIDE = pd.DataFrame(dict.fromkeys('abcdefgh', np.arange(300).astype(str)))
TAKEN = pd.DataFrame({'a': [1], 'b': [2], 'a x b': [3], 'a (bucket)': [4]})
SCHEMA = FieldSchema((Field('a', 'numeric'),))


@pytest.mark.parametrize(
    ('table', 'interactions', 'options', 'error', 'message'),
    [
        (TAKEN, [('a', 'q'), ('p', 'b')], {}, DataError, r"\['p', 'q'\]"),
        (TAKEN, [('a', 'b')], {'schema': SCHEMA}, DataError, "'b' is no field"),
        (TAKEN, [('a', 'b')], {'append': True}, DataError, 'a x b'),
        (TAKEN, [('a',)], {'append': True}, DataError, r'a \(bucket\)'),
        (TAKEN[:0], [('a', 'b')], {}, DataError, 'no rows'),
        (LISTS, [('a', 'm')], {}, DataError, "'m' is of the kind 'multi'"),
        (TWICE, [('a', 'b')], {}, DataError, 'must be distinct'),
        (TWICE, [('b',)], {}, DataError, 'must be distinct'),
        (WIDE, [tuple(WIDE)], {'min_count': 1}, DataError, "raise 'min_count'"),
        (
            TAKEN.to_numpy(),
            [('a', 'b')],
            {},
            DataError,
            "columns \\['a', 'b'\\]",
        ),
        (TAKEN, [('a', 'a')], {}, ValueError, 'distinct'),
        (TAKEN, ['ab'], {}, TypeError, 'tuple of names'),
        (TAKEN, [('a', 'b')], {'min_count': 0}, ValueError, 'min_count'),
        (TAKEN, [('a', 'b')], {'bins': 0}, ValueError, 'bucket counts'),
        (TAKEN, [('a', 'b')], {'top': -1}, ValueError, 'top'),
    ],
)
def test_fit_errors(table, interactions, options, error, message):
    with pytest.raises(error, match=message):
        CrossFeatures(interactions, **options).fit(table)


def test_transform_errors():
    crosses = CrossFeatures([('a', 'b')]).fit(TAKEN[['a', 'b']])
    with pytest.raises(DataError, match=r"lacks the columns \['b'\]"):
        crosses.transform(TAKEN[['a']])
    with pytest.raises(DataError, match="'x' is not a number"):
        crosses.transform(pd.DataFrame({'a': ['x'], 'b': [1]}))
    # The largest order that fits: 302 ** 7 < 2 ** 63
    out = CrossFeatures([tuple('abcdefg')], min_count=1).fit_transform(WIDE)
    assert sorted(out.squeeze()) == list(range(1, 301))
    # Values rarer than a cross may be do not count:
    out = CrossFeatures([tuple(WIDE)], min_count=2).fit_transform(WIDE)
    assert set(out.squeeze()) == {0}

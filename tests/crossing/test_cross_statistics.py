import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError

RNG = np.random.default_rng(0)
NEW = pd.DataFrame({'a': ['p', 'q', 'unseen', None], 'b': list('xyxx')})
LABELS = {
    'binary': lambda x: np.where(x > 0.5, 'yes', 'no'),
    'multiclass': lambda x: np.array(['low', 'mid', 'top'])[
        np.digitize(x, [0, 1])
    ],
    'continuous': lambda x: 1e3 + x,
}


def table(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            'a': rng.choice([*'pqrs', None], rows),
            'b': rng.choice([*'xyz'], rows),
            'n': rng.normal(size=rows),
        }
    )


@pytest.mark.parametrize('smooth', ['auto', 0.0, 7.5])
@pytest.mark.parametrize('kind', LABELS)
def test_target_is_that_of_sklearn(kind, smooth):
    df = table()
    y = LABELS[kind](RNG.normal(size=400) + (df['a'] == 'p'))
    folds = KFold if kind == 'continuous' else StratifiedKFold
    encoder = TargetEncoder(
        cv=folds(4, shuffle=True, random_state=3), smooth=smooth
    )
    crosses = CrossFeatures(
        [('a',)], encode='target', cv=4, random_state=3, smooth=smooth
    )
    out = crosses.fit_transform(df, y)
    expected = encoder.fit_transform(df[['a']].fillna('none'), y)
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    if kind == 'multiclass':
        names = ['a (target=low)', 'a (target=mid)', 'a (target=top)']
    else:
        names = ['a (target)']
    assert list(out) == list(crosses.get_feature_names_out()) == names
    expected = encoder.transform(NEW[['a']].fillna('none'))
    np.testing.assert_allclose(crosses.transform(NEW), expected, rtol=1e-12)


def test_target_of_a_cross_is_that_of_its_values():
    df = table()
    y = RNG.random(400) < 0.3
    crosses = CrossFeatures([('a', 'b')], encode='target').fit(df, y)
    joined = (df['a'].fillna('-') + df['b']).to_frame()
    encoder = TargetEncoder().fit(joined, y)
    new = (NEW['a'].fillna('-') + NEW['b']).to_frame()
    np.testing.assert_allclose(
        crosses.transform(NEW), encoder.transform(new), rtol=1e-12
    )


def test_count_is_that_of_other_rows():
    df = pd.DataFrame({'a': [*'ppppq', None], 'b': [*'xxxyyy']})
    crosses = CrossFeatures([('a', 'b')], encode='count')
    out = crosses.fit_transform(df)['a x b (count)']
    np.testing.assert_allclose(np.expm1(out), [2, 2, 2, 0, 0, 0])
    out = crosses.transform(NEW)['a x b (count)']
    np.testing.assert_allclose(np.expm1(out), [3, 1, 0, 0])


def test_several_encodings():
    df = table()
    y = RNG.integers(0, 2, 400)
    schema = FieldSchema.infer(df)
    crosses = CrossFeatures(
        order=2, encode=('ids', 'target', 'count'), min_count=30, append=True
    )
    out = crosses.fit_transform(df, y)
    names = ['a (bucket)', 'a (target)', 'a (count)', 'b (bucket)']
    assert list(out)[:7] == ['a', 'b', 'n', *names]
    assert out.shape == (400, 3 + 3 * 6)
    # One alone gives the same columns, whatever stands beside it:
    for encode in ('ids', 'target', 'count'):
        alone = CrossFeatures(order=2, encode=encode, min_count=30)
        alone = alone.fit_transform(df, y)
        pd.testing.assert_frame_equal(out[alone.columns], alone)
    longer = crosses.extend(schema)
    kinds = {x.name: x.kind for x in longer}
    assert kinds['a x n'] == kinds['a (bucket)'] == 'categorical'
    assert kinds['a x n (target)'] == kinds['a x n (count)'] == 'numeric'
    assert list(longer.names) == list(out)
    # They go on into an encoder and a model of the package:
    FieldEncoder(longer).fit_transform(out)


@pytest.mark.parametrize('rows', [1500])
def test_random_labels_stay_random(rows):
    lightgbm = pytest.importorskip('lightgbm')
    rng = np.random.default_rng(5)
    df = pd.DataFrame(rng.integers(0, 30, (2 * rows, 3)).astype(str))
    df = df.set_axis(['a', 'b', 'c'], axis=1)
    df['id'] = rng.permutation(2 * rows // 2).repeat(2).astype(str)
    y = (rng.random(2 * rows) < 0.2).astype(int)
    train, new = df[:rows], df[rows:]
    base = log_loss(y[rows:], np.full(rows, y[:rows].mean()))
    crosses = CrossFeatures(order=2, encode=('target', 'count'))
    gbdt = lightgbm.LGBMClassifier(
        n_estimators=30, num_leaves=4, learning_rate=0.05, n_jobs=1, verbose=-1
    )
    for model in (
        gbdt,
        make_pipeline(StandardScaler(), LogisticRegression()),
    ):
        pipeline = make_pipeline(clone(crosses), model).fit(train, y[:rows])
        p = pipeline.predict_proba(new)[:, 1]
        # Its standard deviation is .018:
        assert abs(roc_auc_score(y[rows:], p) - 0.5) < 0.05
        assert base - 0.002 < log_loss(y[rows:], p) < base + 0.02
        # What the trap would have done, so that the above could fail:
        crosses.fit(train, y[:rows])
        with pytest.warns(UserWarning, match='rows of fit'):
            leaking = crosses.transform(train)
        trapped = clone(model).fit(leaking, y[:rows])
        p = trapped.predict_proba(crosses.transform(new))[:, 1]
        assert log_loss(y[rows:], p) > base + 0.02


def test_an_id_tells_nothing_of_its_own_label():
    rows = 1000
    y = (RNG.random(rows) < 0.3).astype(int)
    df = pd.DataFrame({'id': RNG.permutation(rows).astype(str)})
    crosses = CrossFeatures([('id',)], encode=('target', 'count'), smooth=0.0)
    out = crosses.fit_transform(df, y)
    # Each row has the mean of the other folds, which have equal shares of
    # the classes up to a single row:
    assert out['id (target)'].nunique() <= 2
    assert np.ptp(out['id (target)']) <= 1 / (0.8 * rows)
    assert not out['id (count)'].any()
    with pytest.warns(UserWarning, match='fit_transform'):
        np.testing.assert_array_equal(crosses.transform(df).iloc[:, 0], y)


def test_fit_transform_has_no_effect_on_fit():
    df, y = table(), RNG.integers(0, 2, 400)
    crosses = CrossFeatures(encode=('target', 'count'))
    new = table(50, seed=1)
    crosses.fit_transform(df, y)
    out = crosses.transform(new)
    pd.testing.assert_frame_equal(crosses.fit(df, y).transform(new), out)
    # The index of labels plays no part, as in scikit-learn:
    shifted = pd.Series(y, index=df.index + 7)
    again = crosses.fit(df, shifted).transform(new)
    pd.testing.assert_frame_equal(again, out)


def test_set_output_and_seed():
    df, y = table(), RNG.integers(0, 2, 400)
    crosses = CrossFeatures(encode='target').set_output(transform='default')
    first = crosses.fit_transform(df, y)
    pd.testing.assert_frame_equal(crosses.fit_transform(df, y), first)
    other = clone(crosses).set_params(random_state=1).fit_transform(df, y)
    assert not np.allclose(other, first)
    fewer = clone(crosses).set_params(cv=2).fit_transform(df, y)
    assert not np.allclose(fewer, first)


@pytest.mark.parametrize('kind', LABELS)
def test_save_statistics(tmp_path, kind):
    df, new = table(), table(60, seed=1)
    y = LABELS[kind](RNG.normal(size=400))
    crosses = CrossFeatures(
        order=(1, 2),
        encode=('ids', 'target', 'count'),
        smooth=np.float64(3),
        min_count=2,
    ).fit(df, y)
    crosses.save(tmp_path / 'x')
    loaded = CrossFeatures.load(tmp_path / 'x')
    pd.testing.assert_frame_equal(loaded.transform(new), crosses.transform(new))
    with pytest.warns(UserWarning, match='rows of fit'):
        loaded.transform(df)
    pd.testing.assert_frame_equal(
        clone(loaded).fit_transform(df, y), crosses.fit_transform(df, y)
    )


DF = table(40)
GOOD = np.arange(40) % 2
SCHEMA = FieldSchema((Field('a', 'categorical'),))


@pytest.mark.parametrize(
    ('y', 'options', 'error', 'message'),
    [
        (None, {}, DataError, r'fit_transform\(X, y\)'),
        (GOOD[:-1], {}, DataError, '40 rows need one label each'),
        (GOOD[:, None], {}, DataError, '40 rows need one label each'),
        (np.where(GOOD, 1, np.nan), {}, DataError, 'at position 0'),
        (DF['b'], {}, DataError, "'b' is the label itself"),
        (DF['b'].to_numpy(), {}, DataError, "'b' is the label itself"),
        (GOOD, {'target_type': 'other'}, ValueError, 'target_type'),
        (DF['n'] // 1, {'target_type': 'binary'}, ValueError, 'not two'),
        (GOOD, {'encode': 'mean'}, ValueError, "'encode' must be"),
        (GOOD, {'encode': ()}, ValueError, "'encode' must be"),
        (GOOD, {'smooth': -1}, ValueError, 'smooth'),
        (GOOD, {'top': 3}, ValueError, "'top' needs 'interactions'"),
        (GOOD, {'order': 0}, ValueError, 'order'),
        (GOOD, {'order': ()}, ValueError, 'order'),
        (GOOD, {'sparse_output': True}, ValueError, 'ids alone'),
    ],
)
def test_errors(y, options, error, message):
    with pytest.raises(error, match=message):
        CrossFeatures(**{'encode': 'target', **options}).fit(DF, y)


def test_label_beside_the_fields():
    df = DF.assign(label=GOOD)
    out = CrossFeatures(encode='target', schema=SCHEMA, append=True)
    out = out.fit_transform(df, df['label'])
    assert list(out) == ['a', 'b', 'n', 'label', 'a (target)']

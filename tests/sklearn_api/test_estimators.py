import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import DNN, FM, GraphFM, joint_effects, models
from pyg_featgraph.sklearn import FeatGraphClassifier, FeatGraphRegressor

SMALL = {
    'model': 'dnn',
    'members': 1,
    'model_options': {'embedding_dim': 4, 'hidden_channels': [16]},
    'max_epochs': 4,
    'lr': 0.02,
    'batch_size': 32,
    'device': 'cpu',
    'schema_options': {'transform': 'standard'},
}


def make_table(num_rows=600, seed=0):
    """A number, a category, a date and a column without any meaning, and the
    logit that the first two give."""
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(
        {
            'price': rng.normal(size=num_rows),
            'colour': rng.choice(['red', 'green', 'blue'], num_rows),
            'day': pd.Timestamp('2024-01-01')
            + pd.to_timedelta(rng.integers(0, 300, num_rows), 'D'),
            'noise': rng.normal(size=num_rows),
        }
    )
    logit = 3 * df['price'] * (df['colour'] == 'red') + 2 * df['price']
    return df, logit.to_numpy()


@pytest.fixture(scope='module')
def data():
    df, logit = make_table()
    return df, np.where(logit > 0, 'yes', 'no')


@pytest.fixture(scope='module')
def fitted(data):
    return FeatGraphClassifier(**SMALL).fit(*data)


@pytest.fixture(scope='module')
def numbers(data):
    return FeatGraphRegressor(**SMALL).fit(data[0], make_table()[1])


def test_two_classes(fitted):
    df, logit = make_table(seed=1)
    p = fitted.predict_proba(df)
    assert fitted.classes_.tolist() == ['no', 'yes']
    assert p.shape == (600, 2)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert roc_auc_score(logit > 0, p[:, 1]) > 0.9
    out = fitted.decision_function(df)
    np.testing.assert_allclose(1 / (1 + np.exp(-out)), p[:, 1])
    expected = np.array(['no', 'yes'])[(p[:, 1] > 0.5).astype(int)]
    assert fitted.predict(df).tolist() == expected.tolist()
    assert fitted.score(df, np.where(logit > 0, 'yes', 'no')) > 0.85


@pytest.mark.parametrize('names', [('a', 'b', 'c'), (7, 3, 5), (1.0, -2, 9)])
def test_several_classes(names):
    df, logit = make_table(400)
    y = np.array(names)[np.digitize(logit, [-1, 1])]
    # A class of one row is trained on:
    y[0] = 'z' if isinstance(names[0], str) else 99
    model = FeatGraphClassifier(**{**SMALL, 'max_epochs': 6}).fit(df, y)
    assert model.classes_.tolist() == sorted({*y.tolist()})
    p = model.predict_proba(df)
    assert p.shape == model.decision_function(df).shape == (400, 4)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert model.predict(df).dtype == y.dtype
    assert model.score(df, y) > 0.7


def test_numbers(numbers):
    df, y = make_table(seed=1)
    out = numbers.predict(df)
    assert out.dtype == np.float64
    assert numbers.score(df, y) == r2_score(y, out) > 0.8
    assert not hasattr(numbers, 'predict_proba')


def test_another_head_of_a_regressor(data):
    counts = np.random.default_rng(0).poisson(np.exp(data[0]['price']))
    options = {**SMALL['model_options'], 'head': 'poisson'}
    model = FeatGraphRegressor(**{**SMALL, 'model_options': options})
    model.fit(data[0], counts)
    assert model.model_.head.name == 'poisson'
    assert (model.predict(data[0]) > 0).all()
    assert 'valid_deviance' in model.metrics_


def test_what_a_training_leaves(fitted, data):
    assert [x['epoch'] for x in fitted.history_] == [1, 2, 3, 4]
    assert fitted.n_iter_ == 4
    losses = [x['train_loss'] for x in fitted.history_]
    assert losses[-1] < losses[0]
    best = min(x['valid_loss'] for x in fitted.history_)
    assert fitted.metrics_['valid_loss'] == best
    assert fitted.feature_names_in_.tolist() == [*data[0].columns]
    assert fitted.n_features_in_ == 4
    assert len(fitted.validation_rows_) == 60


@pytest.mark.parametrize('kind', ['classes', 'numbers'])
def test_validation_rows_are_a_fair_share(kind, data):
    y = np.r_[np.zeros(540), np.ones(60)]
    y = y.astype(int) if kind == 'classes' else y + np.arange(600) / 1000
    cls = FeatGraphClassifier if kind == 'classes' else FeatGraphRegressor
    options = {**SMALL, 'max_epochs': 1, 'validation_fraction': 0.2}
    model = cls(**options).fit(data[0], y)
    rows = model.validation_rows_
    assert len(rows) == 120
    assert int((rows.y >= 1).sum()) == 12
    again = cls(**options).fit(data[0], y)
    assert torch.equal(again.validation_rows_.y, rows.y)
    assert torch.equal(again.validation_rows_.slot_value, rows.slot_value)
    other = cls(**options, random_state=1).fit(data[0], y)
    assert not torch.equal(other.validation_rows_.slot_value, rows.slot_value)


def test_eval_set_takes_the_place_of_a_share(data):
    df, y = data
    model = FeatGraphClassifier(**{**SMALL, 'max_epochs': 1})
    model.fit(df[:500], y[:500], eval_set=(df[500:], y[500:]))
    assert len(model.validation_rows_) == 100
    own = model.encoder_.transform(df[500:])
    assert torch.equal(
        model.validation_rows_.slot_value.sort(dim=0).values,
        own.slot_value.sort(dim=0).values,
    )
    with pytest.raises(DataError, match=r"row 0: 'perhaps' is none of the"):
        model.fit(df, y, eval_set=(df[:2], ['perhaps', 'no']))
    with pytest.raises(ValueError, match=r'must be a tuple \(X, y\)'):
        model.fit(df, y, eval_set=[(df, y)])


def test_class_weight_and_sample_weight(data):
    df, _ = data
    y = np.random.default_rng(0).choice(['no', 'yes'], len(df))
    plain = {**SMALL, 'max_epochs': 2}
    heavy = FeatGraphClassifier(**plain, class_weight={'yes': 50.0})
    assert (heavy.fit(df, y).predict(df) == 'yes').all()
    rows = np.where(y == 'no', 50.0, 1.0)
    heavy = FeatGraphClassifier(**plain).fit(df, y, sample_weight=rows)
    assert (heavy.predict(df) == 'no').all()
    with pytest.raises(ValueError, match=r"classes \['maybe'\], but those of"):
        FeatGraphClassifier(**plain, class_weight={'maybe': 2}).fit(df, y)


def test_rows_without_weight_are_as_if_they_were_not_there(data):
    df, y = data
    weight = np.repeat([1.0, 0.0], [500, 100])
    plain = {**SMALL, 'max_epochs': 1}
    one = FeatGraphClassifier(**plain).fit(df, y, weight)
    two = FeatGraphClassifier(**plain).fit(df[:500], y[:500], weight[:500])
    np.testing.assert_array_equal(one.predict_proba(df), two.predict_proba(df))


@pytest.mark.parametrize('model', ['GraphFM', 'fm', FM])
def test_models_and_their_options(model, data):
    options = {**SMALL, 'model': model, 'members': 2, 'max_epochs': 1}
    options['model_options'] = {'embedding_dim': 4}
    out = FeatGraphClassifier(**options).fit(*data)
    assert type(out.model_) is (GraphFM if model == 'GraphFM' else FM)
    assert out.model_.config['embedding_dim'] == 4
    assert out.model_.members == 2


@pytest.mark.slow
@pytest.mark.parametrize('name', models.__all__)
def test_every_model_has_every_task(name, data, tmp_path):
    df, y = data
    options = {'max_epochs': 1, 'device': 'cpu', 'members': 2}
    for cls, labels in (
        (FeatGraphClassifier, y),
        (FeatGraphClassifier, df['colour']),
        (FeatGraphRegressor, df['price']),
    ):
        model = cls(name.lower(), **options).fit(df, labels)
        assert type(model.model_).__name__ == name
        assert model.feature_importances_.sum() == pytest.approx(1)
        expected = model.predict(df).tolist()
        model.save(tmp_path)
        for other in (cls.load(tmp_path), pickle.loads(pickle.dumps(model))):
            assert other.predict(df).tolist() == expected


def test_unknown_model(data):
    with pytest.raises(ValueError, match=r"one of \['aim', .* \(got 'tabm'\)"):
        FeatGraphClassifier('tabm').fit(*data)


def test_options_of_the_training(data, tmp_path):
    training = {'monitor': 'valid_auc', 'patience': 1, 'limit_val_batches': 1}
    options = {**SMALL, 'training_options': training, 'max_epochs': 2}
    FeatGraphClassifier(**options, directory=tmp_path).fit(*data)
    text = (tmp_path / 'run.json').read_text()
    for value in ('"lr": 0.02', '"patience": 1', '"monitor": "valid_auc"'):
        assert value in text
    assert '"limit_val_batches": 1' in text
    assert (tmp_path / 'model.safetensors').exists()


def test_schema(data):
    schema = FieldSchema.infer(data[0][['price', 'colour']])
    options = {**SMALL, 'max_epochs': 1, 'schema_options': None}
    model = FeatGraphClassifier(**options, schema=schema).fit(*data)
    assert model.model_.info.names == ('price', 'colour')
    # A column that is no field does not matter:
    assert model.feature_importances_[2:].tolist() == [0, 0]
    with pytest.raises(ValueError, match='not both'):
        FeatGraphClassifier(**{**SMALL, 'schema': schema}).fit(*data)


def test_importances_are_those_of_columns(fitted, numbers):
    for model in (fitted, numbers):
        share = model.feature_importances_
        assert share.sum() == pytest.approx(1)
        assert len(model.model_.info.names) > len(share) == 4
        price, colour, day, noise = share
        assert price > colour > max(day, noise) > 0
        effects = joint_effects(
            model.model_,
            model.validation_rows_,
            [(i,) for i in range(model.model_.info.num_fields)],
            512,
        ).mean(dim=1)
        parts = [x.startswith('day.') for x in model.model_.info.names]
        expected = effects[torch.tensor(parts)].sum() / effects.sum()
        assert day == pytest.approx(float(expected))


def test_interactions(fitted, data):
    found = fitted.interactions(top=3)
    assert len(found) == 3
    assert found[0].fields == ('colour', 'price')
    low, high = found[0].detail['interval']
    assert low < found[0].score < high
    other = fitted.interactions(data[0][:200], top=1)
    assert other[0].fields == ('colour', 'price')
    assert other[0].score != found[0].score


def test_warns_of_labels_that_are_noise(data):
    df, _ = data
    y = np.random.default_rng(1).choice([0, 1], len(df))
    model = FeatGraphClassifier(**{**SMALL, 'max_epochs': 1})
    with pytest.warns(UserWarning, match=r'AUC of 60 validation rows .* lr'):
        model.fit(df, y)
    with pytest.warns(UserWarning, match=r'AUC of 60 rows is 0\.\d+, which'):
        model.interactions(top=1)
    new, _ = make_table(seed=2)
    with pytest.warns(UserWarning, match='AUC of 600 rows'):
        model.interactions(new, y, top=1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.interactions(new, top=1)  # Without labels there is no AUC.


@pytest.mark.parametrize('head', ['regression', 'poisson'])
def test_warns_of_numbers_that_are_noise(head):
    df, logit = make_table()
    noise = np.random.default_rng(1).poisson(3.0, len(df))
    known = logit if head == 'regression' else np.exp(logit / 4)
    of_model = {**SMALL['model_options'], 'head': head}
    options = {**SMALL, 'model_options': of_model}
    model = FeatGraphRegressor(**{**options, 'max_epochs': 1})
    with pytest.warns(UserWarning, match=r'loss of 60 validation rows .* lr'):
        model.fit(df, noise)
    with pytest.warns(UserWarning, match='loss of 60 rows is'):
        model.interactions(top=1)
    model = FeatGraphRegressor(**options)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.fit(df, known).interactions(top=1)


def test_does_not_warn_of_signal(data):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model = FeatGraphClassifier(**SMALL).fit(*data)
        model.interactions(top=1)
        model.interactions(*data, top=1)


def test_copies_predict_the_same(fitted, data):
    expected = fitted.predict_proba(data[0])
    for copied in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(copied.predict_proba(data[0]), expected)
        assert copied.interactions(top=2) == fitted.interactions(top=2)
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    assert not hasattr(again, 'model_')
    # The same seed gives the same model:
    np.testing.assert_array_equal(
        again.fit(*data).predict_proba(data[0]), expected
    )


def test_training_leaves_random_numbers_alone(data):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    FeatGraphClassifier(**{**SMALL, 'max_epochs': 1}).fit(*data)
    assert torch.equal(torch.rand(1), expected)


def test_search_of_settings(data):
    grid = {'members': [1, 2], 'max_epochs': [1]}
    search = GridSearchCV(FeatGraphClassifier(**SMALL), grid, cv=2)
    search.fit(*data)
    assert search.best_params_['members'] in (1, 2)
    assert search.best_estimator_.model_.members in (1, 2)
    assert (search.cv_results_['mean_test_score'] > 0.5).all()


@pytest.mark.slow
def test_folds_in_processes(data):
    model = FeatGraphClassifier(**SMALL)
    one = cross_val_score(model, *data, cv=2, n_jobs=2)
    np.testing.assert_array_equal(one, cross_val_score(model, *data, cv=2))
    assert (one > 0.8).all()


def test_pipelines_and_stacks(data):
    df, y = data
    model = FeatGraphClassifier(**{**SMALL, 'max_epochs': 2})
    columns = ColumnTransformer(
        [
            ('number', StandardScaler(), ['price', 'noise']),
            ('text', OrdinalEncoder(), ['colour']),
        ]
    )
    pipeline = make_pipeline(columns, model)
    assert pipeline.fit(df, y).score(df, y) > 0.7
    linear = make_pipeline(columns, LogisticRegression())
    stack = StackingClassifier([('net', pipeline), ('lr', linear)], cv=2)
    assert stack.fit(df, y).score(df, y) > 0.8


def test_arrays(data):
    df, y = data
    X = df[['price', 'colour', 'noise']].to_numpy(object)
    model = FeatGraphClassifier(**SMALL).fit(X, y)
    assert not hasattr(model, 'feature_names_in_')
    assert model.encoder_.schema.kind('x0') == 'numeric'
    assert model.encoder_.schema.kind('x1') == 'categorical'
    assert model.score(X, y) > 0.8
    assert model.interactions(top=1)[0].fields == ('x0', 'x1')
    with pytest.raises(TypeError, match='Sparse data was passed'):
        model.fit(csr_array(np.eye(600)), y)


@pytest.mark.parametrize(
    ('make', 'expected'),
    [
        (np.array, [False, True]),
        (list, [False, True]),
        (pd.Series, [False, True]),
        (lambda y: pd.Series(y, dtype='boolean'), [False, True]),
        (lambda y: pd.Series(y).astype('Int64'), [0, 1]),
        (lambda y: pd.Series(np.where(y, 'b', 'a'), dtype='category'), 'ab'),
        (lambda y: pl.Series(np.where(y, 'b', 'a')), 'ab'),
        (lambda y: pa.chunked_array([y]), [False, True]),
        (torch.tensor, [False, True]),
    ],
)
def test_labels_of_any_type(make, expected):
    y = np.arange(20) % 3 == 0
    df = pd.DataFrame({'a': 10.0 * y, 'b': np.arange(20) % 2})
    options = {'schema_options': {'kind': 'categorical'}, 'max_epochs': 20}
    model = FeatGraphClassifier(**{**SMALL, **options}).fit(df, make(y))
    classes = model.classes_.tolist()
    assert classes == [*expected]
    assert [*map(type, classes)] == [*map(type, expected)]
    assert model.predict(df).tolist() == [classes[int(k)] for k in y]


TABLES = {
    'polars': pl.from_pandas,
    'lazy': lambda df: pl.from_pandas(df).lazy(),
    'arrow': pa.Table.from_pandas,
    'dictionary': lambda df: df.to_dict('list'),
    'records': lambda df: df.to_dict('records'),
    'structured': lambda df: df.to_records(index=False),
}


@pytest.mark.parametrize('kind', TABLES)
def test_tables_of_any_library(kind, fitted, data):
    table = TABLES[kind](data[0])
    expected = fitted.predict_proba(data[0])
    np.testing.assert_array_equal(fitted.predict_proba(table), expected)
    own = clone(fitted).fit(table, data[1])
    assert own.feature_names_in_.tolist() == [*data[0].columns]
    np.testing.assert_array_equal(own.predict_proba(data[0]), expected)


def test_a_tensor_frame(data):
    stype = pytest.importorskip('torch_frame').stype
    from torch_frame.data import Dataset

    kinds = {'price': stype.numerical, 'colour': stype.categorical}
    df = data[0][[*kinds]]
    frame = Dataset(df, kinds).materialize().tensor_frame
    model = FeatGraphClassifier(**SMALL).fit(frame, data[1])
    assert {*model.feature_names_in_} == {*kinds}
    assert model.score(frame, data[1]) > 0.8


def test_names_of_columns_that_are_numbers(data):
    df = data[0].set_axis(range(4), axis=1)
    model = FeatGraphClassifier(**{**SMALL, 'max_epochs': 1}).fit(df, data[1])
    assert model.columns_ == ['0', '1', '2', '3']
    assert model.predict(df).shape == (600,)


def test_missing_and_unseen_values(fitted, data):
    df = data[0].copy()
    df.loc[:100, 'price'] = np.nan
    df.loc[50:200, 'colour'] = None
    df.loc[150:250, 'colour'] = 'mauve'
    assert np.isfinite(fitted.predict_proba(df)).all()


def test_names_that_are_taken(data):
    """A column may be called as labels and weights are inside."""
    df = data[0].rename(columns={'price': 'label', 'noise': 'weight'})
    weight = np.linspace(1, 2, len(df))
    model = FeatGraphClassifier(**SMALL).fit(df, data[1], weight)
    assert {'label', 'weight'} < {*model.model_.info.names}
    assert model.score(df, data[1]) > 0.8


@pytest.mark.parametrize(
    ('y', 'message'),
    [
        ([None, *['a', 'b'] * 10], 'row 0 has no label'),
        (['a'] * 21, 'two classes .* 1 class'),
        (['a', 'b'], 'inconsistent numbers of samples'),
    ],
)
def test_bad_labels(y, message, data):
    with pytest.raises(ValueError, match=message):
        FeatGraphClassifier(**SMALL).fit(data[0][:21], np.array(y, object))


def test_bad_tables(fitted, data):
    df, y = data
    with pytest.raises(DataError, match=r'too few rows \(0, not 1\)'):
        fitted.predict(df[:0])
    with pytest.raises(DataError, match=r'too few rows \(1, not 2\)'):
        FeatGraphRegressor().fit(df[:1], [1.0])
    with pytest.raises(ValueError, match='feature names should match'):
        fitted.predict(df.drop(columns='price'))
    with pytest.raises(DataError, match='negative'):
        clone(fitted).fit(df, y, -np.ones(len(df)))
    with pytest.raises(ValueError, match=r'must lie in \(0, 1\)'):
        FeatGraphClassifier(validation_fraction=0).fit(df, y)


def test_a_class_of_ones_own(data):
    class Own(DNN):
        pass

    out = FeatGraphClassifier(**{**SMALL, 'model': Own, 'max_epochs': 1})
    assert type(out.fit(*data).model_) is Own

import json

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import FM
from pyg_featgraph.sklearn import FeatGraphClassifier, FeatGraphRegressor
from pyg_featgraph.sklearn.folder import ENCODER, ESTIMATOR, MODEL, ROWS

SMALL = {
    'model': FM,
    'members': 2,
    'model_options': {'embedding_dim': 4},
    'max_epochs': 2,
    'device': 'cpu',
}


def make_table():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({'a': rng.normal(size=200), 'b': rng.integers(0, 4, 200)})
    return df, rng.choice([3, 1, 2], 200)


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    df, y = make_table()
    schema = FieldSchema.infer(df, transform='standard')
    weights = {1: 2.0, 2: 0.5}
    model = FeatGraphClassifier(**SMALL, schema=schema, class_weight=weights)
    weight = np.linspace(1, 2, len(df))
    folder = tmp_path_factory.mktemp('saved') / 'model'
    model.fit(df, y, weight).save(folder)
    return model, folder


def test_what_is_loaded_is_what_was_saved(saved):
    model, folder = saved
    loaded = FeatGraphClassifier.load(folder)
    df, _ = make_table()
    np.testing.assert_array_equal(
        loaded.predict_proba(df), model.predict_proba(df)
    )
    assert loaded.get_params() == model.get_params()
    assert vars(loaded).keys() == vars(model).keys()
    for name in ('classes_', 'feature_names_in_', 'feature_importances_'):
        one, two = getattr(loaded, name), getattr(model, name)
        assert one.tolist() == two.tolist()
        assert one.dtype == two.dtype
    assert loaded.history_ == model.history_
    assert loaded.interactions() == model.interactions()
    assert torch.equal(
        loaded.validation_rows_.sample_weight,
        model.validation_rows_.sample_weight,
    )


@pytest.mark.parametrize('names', ['texts', 'truths'])
def test_names_of_classes(names, tmp_path):
    df, y = make_table()
    y = y > 1 if names == 'truths' else np.array(['', 'x', 'y', 'z'])[y]
    model = FeatGraphClassifier(**SMALL).fit(df, y)
    model.save(tmp_path)
    out = FeatGraphClassifier.load(tmp_path).predict(df)
    assert out.dtype == y.dtype
    assert out.tolist() == model.predict(df).tolist()


def test_regressor(tmp_path):
    df, _ = make_table()
    model = FeatGraphRegressor(**SMALL).fit(df, df['a'] * 100)
    model.save(tmp_path)
    loaded = FeatGraphRegressor.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(df), model.predict(df))


@pytest.mark.parametrize('name', [ESTIMATOR, MODEL, ENCODER, ROWS])
@pytest.mark.parametrize('damage', ['missing', 'changed'])
def test_damage_is_told(saved, tmp_path, name, damage):
    for path in saved[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / name
    if damage == 'missing':
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises((DataError, FileNotFoundError), match=name):
        FeatGraphClassifier.load(tmp_path)


def test_another_estimator(saved):
    with pytest.raises(DataError, match='it is a FeatGraphClassifier'):
        FeatGraphRegressor.load(saved[1])


def test_parts_of_two_estimators(saved, tmp_path):
    df, y = make_table()
    FeatGraphClassifier(**SMALL).fit(df[['a']], y).save(tmp_path)
    (tmp_path / MODEL).write_bytes((saved[1] / MODEL).read_bytes())
    with pytest.raises(DataError, match='different fields'):
        FeatGraphClassifier.load(tmp_path)


def test_a_save_that_fails_leaves_no_mixture(saved, tmp_path, monkeypatch):
    df, y = make_table()
    saved[0].save(tmp_path)
    other = FeatGraphClassifier(**SMALL, random_state=1).fit(df, y)

    def fail(*args):
        raise OSError

    monkeypatch.setattr(FieldEncoder, 'save', fail)
    with pytest.raises(OSError):  # noqa: PT011
        other.save(tmp_path)
    with pytest.raises(DataError, match=f"'{ESTIMATOR}' is missing"):
        FeatGraphClassifier.load(tmp_path)


def test_files_carry_no_code(saved):
    assert {x.name for x in saved[1].iterdir()} == {
        ESTIMATOR,
        MODEL,
        ENCODER,
        ROWS,
    }
    assert json.loads((saved[1] / ESTIMATOR).read_text())['version'] == 1


def test_parameters_that_no_file_holds(tmp_path):
    df, y = make_table()
    options = {'optimizer': torch.optim.SGD}
    model = FeatGraphClassifier(**SMALL, training_options=options).fit(df, y)
    with pytest.raises(TypeError, match=r"'training_options' holds"):
        model.save(tmp_path)
    assert not list(tmp_path.iterdir())

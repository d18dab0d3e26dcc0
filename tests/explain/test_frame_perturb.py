import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import FramePerturbation

NUMBERS = ['float', 'int', 'Int64']
CATEGORIES = ['object', 'str', 'category', 'bool', 'boolean']
FIRST = pd.Index(['b', 'a', 'c'])


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    n = 60
    text = FIRST.to_numpy(object)[rng.integers(0, 3, n)]
    frame = pd.DataFrame(
        {
            'object': pd.Series(text, dtype=object),
            'float': rng.normal(size=n).astype(np.float32),
            'int': rng.integers(-5, 50, n),
            'str': pd.Series(np.roll(text, 7), dtype='str'),
            'Int64': pd.Series(rng.integers(0, 9, n), dtype='Int64'),
            'category': pd.Series(np.roll(text, 11), dtype='category'),
            'bool': rng.random(n) < 0.7,
            'boolean': pd.Series(rng.random(n) < 0.3, dtype='boolean'),
        }
    )
    frame.loc[3, ['float', 'object', 'str', 'category', 'boolean']] = None
    frame.loc[4, 'Int64'] = pd.NA
    return frame


@pytest.fixture
def y(frame):
    y = frame['int'].gt(20) ^ frame['category'].eq('a')
    return y.astype(int).to_numpy()


def draw(d, n=40):
    masks = torch.rand(n, d) > 0.4
    masks[0], masks[1] = True, False
    return masks


def perturb_in_a_loop(frame, row, masks, off):
    """One sample at a time, one cell at a time."""
    for mask in masks:
        cells = {}
        for on, name in zip(mask.tolist(), frame.columns, strict=True):
            value = frame[name].iloc[row] if on else off[name]
            dtype = frame[name].dtype
            if name not in CATEGORIES:
                dtype = {'int64': 'float64', 'Int64': 'Float64'}.get(
                    str(dtype), dtype
                )
            cells[name] = pd.Series([value], dtype=dtype)
        yield pd.DataFrame(cells)


def logits_in_a_loop(model, frame, row, masks, off):
    p = [
        model.predict_proba(one)[0, 1]
        for one in perturb_in_a_loop(frame, row, masks, off)
    ]
    return torch.tensor(p, dtype=torch.double).logit(eps=1e-7).float()


@pytest.mark.parametrize('off', ['missing', 'mode'])
def test_frames_match_a_loop(frame, off):
    background = frame.iloc[:50]
    values = {}
    for name in frame.columns:
        known = [x for x in background[name] if not pd.isna(x)]
        if name in NUMBERS:
            values[name] = sum(map(float, known)) / len(known)
        elif off == 'mode' or name == 'bool':
            values[name] = max(sorted(set(known)), key=known.count)
        else:
            values[name] = None
    rows = FramePerturbation(
        lambda x: np.zeros(len(x)), frame, background, off, output='logit'
    )
    assert len(rows) == 60
    assert rows.names(5) == list(frame.columns)
    masks = draw(8)
    for row in (0, 3, 4, 59):
        out = rows.perturb(row, masks)
        expected = pd.concat(
            perturb_in_a_loop(frame, row, masks, values), ignore_index=True
        )
        # Which of the missing values stands for missing is another matter:
        for name in frame.columns:
            absent = expected[name].isna()
            assert out[name].isna().equals(absent), name
            left, right = out[name][~absent], expected[name][~absent]
            pd.testing.assert_series_equal(left, right, check_dtype=False)


def test_dtypes_are_kept_except_of_integers(frame):
    rows = FramePerturbation(
        lambda x: np.zeros(len(x)), frame, frame, output='logit'
    )
    expected = frame.dtypes.to_dict() | {
        'int': np.dtype('float64'),
        'Int64': pd.Float64Dtype(),
    }
    for masks in (draw(8), torch.zeros(5, 8).bool(), torch.ones(5, 8).bool()):
        assert rows.perturb(7, masks).dtypes.to_dict() == expected


def test_missing_like_the_background(frame):
    def ask(background):
        return FramePerturbation(
            lambda x: np.zeros(len(x)), frame, background, output='logit'
        ).perturb(0, torch.zeros(1, 8).bool())['object'][0]

    assert ask(frame.iloc[10:]) is None
    background = frame.copy()
    background.loc[3, 'object'] = np.nan
    assert ask(background) is background['object'][3]


def test_pipeline_matches_a_loop(frame, y):
    names = ['object', 'str', 'category', 'bool']
    frame = frame[[*names, 'float', 'int']]
    model = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown='ignore'), names),
            (SimpleImputer(), ['float', 'int']),
        ),
        LogisticRegression(C=10, max_iter=1000),
    ).fit(frame, y)
    rows = FramePerturbation(model, frame, frame, batch_size=16)
    off = {
        **dict.fromkeys(names[1:3]),
        'object': frame['object'][3],
        'bool': frame['bool'].mean() > 0.5,
        'float': frame['float'].mean(),
        'int': frame['int'].mean(),
    }
    masks = draw(6)
    for row in (1, 3):
        out = rows.logits(row, masks)
        expected = logits_in_a_loop(model, frame, row, masks, off)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
        assert out.std() > 0.1


def test_lightgbm_with_categories_matches_a_loop(frame, y):
    lightgbm = pytest.importorskip('lightgbm')
    frame = frame[['category', 'int', 'bool', 'float']]
    model = lightgbm.LGBMClassifier(
        n_estimators=20,
        min_child_samples=3,
        min_data_per_group=3,
        cat_smooth=1,
        verbose=-1,
        n_jobs=1,
    ).fit(frame, y)
    rows = FramePerturbation(model, frame, frame)
    off = {
        'category': None,
        'int': frame['int'].mean(),
        'bool': True,
        'float': frame['float'].mean(),
    }
    masks = draw(4, 16)
    spread = []
    for row in range(8):
        out = rows.logits(row, masks)
        expected = logits_in_a_loop(model, frame, row, masks, off)
        torch.testing.assert_close(out, expected)
        p = model.predict_proba(frame)[row, 1]
        assert out[0] == pytest.approx(np.log(p / (1 - p)), rel=1e-5)
        spread.append(float(out.std()))
    assert max(spread) > 0.5


def test_catboost_takes_values(frame, y):
    catboost = pytest.importorskip('catboost')
    frame = frame[['str', 'int', 'float']].fillna({'str': 'none'})
    frame['Int64'] = np.arange(60) % 4
    model = catboost.CatBoostClassifier(
        iterations=20,
        cat_features=['str', 'Int64'],
        verbose=0,
        thread_count=1,
        allow_writing_files=False,
    ).fit(frame, y)
    with pytest.raises(DataError, match="off='mode' or 'values'"):
        FramePerturbation(model, frame, frame)
    values = {'str': 'none', 'Int64': -1}
    rows = FramePerturbation(model, frame, frame, values=values)
    off = values | frame[['int', 'float']].mean().to_dict()
    masks = draw(4, 16)
    out = rows.logits(2, masks)
    assert rows.perturb(2, masks)['Int64'].dtype == np.int64
    expected = [
        model.predict_proba(one.astype({'Int64': int}))[0, 1]
        for one in perturb_in_a_loop(frame, 2, masks, off)
    ]
    expected = torch.tensor(expected, dtype=torch.double).logit().float()
    torch.testing.assert_close(out, expected)
    assert out.std() > 0.01


def test_any_table(frame):
    def model(x):
        return x['float'].fillna(0).to_numpy(float) + (x['str'] == 'a')

    frame = frame[['float', 'str', 'category', 'bool']].astype({'float': float})
    masks = draw(4)
    first, second = (
        FramePerturbation(
            model, make(frame[:9]), make(frame), off='mode', output='logit'
        ).outputs(5, masks)
        for make in (pl.from_pandas, pd.DataFrame)
    )
    assert first.unique().numel() > 2
    torch.testing.assert_close(first, second)


def test_errors(frame):
    def build(frame=frame, background=frame, **kwargs):
        return FramePerturbation(
            lambda x: np.zeros(len(x)),
            frame,
            background,
            output='logit',
            **kwargs,
        )

    with pytest.raises(DataError, match=r'A table is .*got int\)'):
        build(7)
    with pytest.raises(DataError, match="'background' is empty"):
        build(background=frame.iloc[:0])
    with pytest.raises(DataError, match=r"'background' lacks .*\['int'\]"):
        build(background=frame.drop(columns='int'))
    with pytest.raises(DataError, match=r"lacks the columns \['other'\]"):
        build(values={'other': 3})
    with pytest.raises(DataError, match='share a name'):
        build(pd.concat([frame, frame[['int']]], axis=1))
    with pytest.raises(ValueError, match="'missing' or 'mode'"):
        build(off='mean')
    with pytest.raises(DataError, match="'d' is none of its categories"):
        build(values={'category': 'd'})
    with pytest.raises(DataError, match="'int': 'd' is not a number"):
        build(values={'int': 'd'})
    empty = frame.assign(object=None)
    with pytest.raises(DataError, match='has no mode'):
        build(empty, empty, off='mode')
    day = frame.assign(day=pd.Timestamp('2020-01-01'))
    with pytest.raises(DataError, match='neither number nor category'):
        build(day, day)
    day = build(day, day, values={'day': pd.Timestamp('2021-01-01')})
    assert day.perturb(0, torch.zeros(1, 9).bool())['day'][0].year == 2021

"""The kinds of columns, the useless ones, and the task of a label."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.data.infer import infer_task, looks_like_ids, read_kind
from pyg_featgraph.datasets import (
    Adult,
    Avazu,
    Criteo,
    Diamonds,
    EmployeeAccess,
    MovieLens1M,
    Nursery,
    TelcoChurn,
)
from pyg_featgraph.errors import DataError

ROWS = 20_000


def popular(rng, ids, rows=ROWS):
    """Rows that take some ids more often than others, in no order."""
    share = rng.permutation(1 / np.arange(1, len(ids) + 1))
    return rng.choice(ids, rows, p=share / share.sum())


def rounded(rng, x):
    return x - x % 99 * (rng.random(ROWS) < 0.2)


#: What columns of well-known tables look like.
IDS = {
    # Anonymous ones with gaps, of which few are popular:
    'RESOURCE': lambda r: popular(r, r.choice(300_000, 3_000, False)),
    'ROLE_TITLE': lambda r: popular(r, 117_000 + r.choice(190_000, 340, False)),
    # Numbered throughout, as in MovieLens without names:
    'x0': lambda r: popular(r, np.arange(1, 1_200)),
    'C14': lambda r: popular(r, 375 + r.choice(24_000, 2_000, False)),
    # By their names, whatever the values:
    'movieId': lambda r: r.integers(1, 3_952, ROWS),
    'MGR_ID': lambda r: r.integers(1, 9, ROWS),
    'zip code': lambda r: 10_000 + r.integers(0, 80_000, ROWS),
    'userid': lambda r: r.integers(0, 500, ROWS),
    'hash': lambda r: r.choice(r.integers(0, 10**9, 9_000), ROWS),
    # Too long for a quantity:
    'key of 19 digits': lambda r: r.choice(r.integers(2**62, size=900), ROWS),
}
NUMBERS = {
    'x1': lambda r: 17 + r.binomial(73, 0.3, ROWS),  # Ages.
    'fnlwgt': lambda r: r.lognormal(12, 0.5, ROWS).astype(int),
    # Rare amounts, which are those of a tax table:
    'gain': lambda r: np.where(
        r.random(ROWS) < 0.9, 0, popular(r, r.choice(99_999, 120, False))
    ),
    'x2': lambda r: np.where(
        r.random(ROWS) < 0.9, 0, popular(r, r.choice(99_999, 120, False))
    ),
    'hours_per_week': lambda r: popular(r, np.arange(1, 99)),
    'x3': lambda r: popular(r, np.arange(1, 99)),
    'I5': lambda r: r.lognormal(2, 2, ROWS).astype(int),  # Counts.
    'I2': lambda r: r.geometric(0.01, ROWS) - 3,
    'price': lambda r: popular(r, r.choice(20_000, 900, False)),
    'x4': lambda r: r.lognormal(7.8, 1, ROWS).astype(int),  # Prices.
    'x5': lambda r: 500 * popular(r, np.arange(10, 900)),  # Salaries.
    'x6': lambda r: popular(r, np.arange(1, 400)) * 100 - 1,
    'x7': lambda r: np.where(
        r.random(ROWS) < 0.9, 999, r.poisson(6, ROWS)
    ),  # Days since, or never.
    'tenure': lambda r: r.integers(0, 73, ROWS),
    'x8': lambda r: r.normal(size=ROWS).round() * 1000,
    'x9': lambda r: r.normal(size=ROWS),
    'time': lambda r: 956_703_932 + r.integers(0, 10**7, ROWS),
    'num_users': lambda r: popular(r, np.arange(1, 1_200)),
    'x10': lambda r: r.normal(5_000, 400, ROWS).round().astype(int),
    # Of which a fifth are rounded:
    'x11': lambda r: rounded(r, r.lognormal(6.8, 1, ROWS).astype(int)),
    'few': lambda r: r.integers(0, 16, ROWS),
}


@pytest.mark.parametrize('name', [*IDS, *NUMBERS])
def test_identifiers(name):
    rng = np.random.default_rng(0)
    values = (IDS | NUMBERS)[name](rng)
    kind = 'categorical' if name in IDS else 'numeric'
    holes = np.random.default_rng(1).random(ROWS) < 0.1
    integers = pd.Series(values, dtype='Int64' if name != 'x9' else None)
    for column in (
        pd.Series(values),
        pd.Series(values).sample(frac=0.5, random_state=1),
        integers.mask(holes),
        integers.astype(object).mask(holes),
    ):
        found = read_kind(column.rename(name))
        assert (found.kind, found.parts, found.useless) == (kind, (), '')


def test_identifiers_need_all_signs():
    rng = np.random.default_rng(0)
    ids = popular(rng, rng.choice(300_000, 3_000, False)).astype(float)
    assert looks_like_ids('x', ids)
    assert not looks_like_ids('x', ids + 0.5)
    assert not looks_like_ids('x', ids - 2 - ids.min())
    assert not looks_like_ids('x', ids * 10)
    assert not looks_like_ids('x', ids[:2_000])
    assert not looks_like_ids('amount', ids)
    zero = np.where(rng.random(ROWS) < 0.5, 0, ids)
    assert not looks_like_ids('x', zero)
    assert looks_like_ids('x', np.where(zero == 0, 7, zero))
    assert not looks_like_ids('id', ids + 0.5)
    assert not looks_like_ids('id', np.array([np.nan]))


def useless(rows=60):
    words = [f'{a}{b}' for a in 'abcdefgh' for b in 'abcdefgh'][:rows]
    return pd.DataFrame(
        {
            'Unnamed: 0': range(rows),
            'kept': ['a', 'b', 'c'] * (rows // 3),
            'Name': words,
            'PassengerId': range(1, rows + 1),
            'Notes': [f'It was a {x} day there' for x in words[:-2]]
            + ['It was a nice day there'] * 2,
            'constant': 1.5,
            'empty': None,
            'day': '2020-01-01',
            'told': pd.Categorical(words),
            'almost': [None, *['x'] * (rows - 1)],
            'number': np.arange(rows) * 3,
            'y': [0, 1] * (rows // 2),
        }
    )


REASONS = {
    'Unnamed: 0': 'without a name, as a saved index is',
    'Name': 'another one in every row',
    'PassengerId': 'another one in every row',
    'Notes': 'free text',
    'constant': 'the same in all rows',
    'empty': 'the same in all rows',
    'day': 'the same in all rows',
}


def test_useless_columns_are_left_out():
    df = useless()
    with pytest.warns(UserWarning, match='left out') as caught:
        schema = FieldSchema.infer(df, 'y')
    kept = ('kept', 'told', 'almost', 'number')
    assert schema.names == kept
    (message,) = (str(x.message) for x in caught)
    told = dict(re.findall(r"'([^']+)' \(([^)]+)\)", message))
    assert told == REASONS
    assert '\n' not in message
    (hint,) = re.findall(r'overrides=(\{.*\})$', message)
    assert hint == "{'Unnamed: 0': {'kind': 'categorical'}}"


@pytest.mark.parametrize('name', REASONS)
def test_useless_columns_stay_if_named(name):
    df = useless()
    for options in ({'kind': 'categorical'}, {'min_count': 3}):
        with pytest.warns(UserWarning, match='left out') as caught:
            schema = FieldSchema.infer(df, 'y', {name: options})
        assert name in schema.columns
        assert f"'{name}' (" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        every = FieldSchema.infer(df, 'y', kind='categorical')
    assert len(every) == len(df.columns) - 1


def test_few_rows_are_believed_nothing():
    df = useless()[:24]
    with pytest.warns(UserWarning, match=r"out: 'Unnamed: 0' \([^)]*\)\. To"):
        schema = FieldSchema.infer(df, 'y')
    assert len(schema.columns) == len(df.columns) - 2
    with pytest.raises(DataError, match=r"tells anything.*'Unnamed: 0'"):
        FieldSchema.infer(df[['Unnamed: 0']])


def test_repeated_texts_stay():
    rows = 200
    titles = [f'A title of some five words {i % 90}' for i in range(rows)]
    names = [f'No {i % (rows - 1)}' for i in range(rows)]
    df = pd.DataFrame({'title': titles, 'name': names})
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        schema = FieldSchema.infer(df)
    assert {x.kind for x in schema} == {'categorical'}


@pytest.mark.parametrize(
    ('values', 'kind'),
    [
        # As a blank among charges makes of them:
        ([' ', *(f'{i / 4}' for i in range(99))], 'numeric'),
        # Whole numbers that someone has turned into texts are meant to be:
        ([f'{i % 50}' for i in range(100)], 'categorical'),
        ([f'{i % 50:04d}' for i in range(100)], 'categorical'),
        ([f'{i % 9 + 0.5}' for i in range(100)], 'categorical'),
        ([*(f'{i % 50 / 4}' for i in range(150)), 'x'], 'categorical'),
        ([1, None, 2.5], 'numeric'),
        ([True, None, False], 'categorical'),
        ([1, 'a', 2], 'categorical'),
    ],
)
def test_kinds_of_objects(values, kind):
    for dtype in (object, None):
        assert read_kind(pd.Series(values, dtype=dtype)).kind == kind


def test_names_that_are_no_texts():
    df = pd.DataFrame([[1, 2.5, 'a'], [0, 3.5, 'b']])
    schema = FieldSchema.infer(df, 0, {2: {'min_count': 2}}, weight=1)
    assert schema.label == '0'
    assert schema.weight == '1'
    assert schema.names == ('2',)
    assert schema.fields[0].min_count == 2


@pytest.mark.parametrize(
    ('values', 'task'),
    [
        (['no', 'yes', 'no'], 'binary'),
        ([True, False, True], 'binary'),
        ([True, None, True], 'binary'),
        ([0.5, 2.5, None], 'binary'),
        ([1.5, 2.5, 3.5], 'regression'),
        (range(21), 'regression'),
        (range(20), 'multiclass'),
        ([1.0, 2.0, 3.0, None], 'multiclass'),
        ([*'abc'], 'multiclass'),
        (pd.Categorical([*map(str, range(30))]), 'multiclass'),
        ([str(x) for x in range(30)], 'multiclass'),
    ],
)
def test_task_of_a_label(values, task):
    column = pd.Series(values)
    assert infer_task(column) == task
    df = pd.DataFrame({'x': np.arange(len(column)) % 5, 'y': column})
    assert FieldSchema.infer(df, 'y').task == task
    assert FieldSchema.infer(pl.from_pandas(df), 'y').task == task
    assert FieldSchema.infer(df, 'y', task='binary').task == 'binary'
    assert FieldSchema.infer(df).task == 'binary'


@pytest.mark.data
@pytest.mark.parametrize(
    ('make', 'overrides'),
    [
        (lambda root: Adult(root / 'adult'), {}),
        (lambda root: EmployeeAccess(root / 'employee'), {}),
        (
            lambda root: MovieLens1M(root / 'ml1m-half', form='ids'),
            {'genres': {'kind': 'multi'}},
        ),
        (lambda root: TelcoChurn(root / 'telco' / 'telco.csv'), {}),
        (lambda root: Diamonds(root / 'diamonds'), {}),
        (lambda root: Nursery(root / 'nursery'), {}),
        (lambda root: Criteo(root / 'criteo' / 'criteo_1k.txt'), {}),
        (lambda root: Criteo(root / 'criteo' / 'kaggle_2k.txt'), {}),
        (lambda root: Avazu(root / 'avazu' / 'avazu_100.csv'), {}),
    ],
)
def test_kinds_of_real_data(real_data, make, overrides):
    data = make(real_data)
    df = data.frame()
    expected = {x.column: x.kind for x in data.schema()}
    # Up to 16 values have a vector each, whatever the kind:
    few = [name for name in expected if df[name].nunique() <= 16]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        found = FieldSchema.infer(df, data.label, overrides)
    assert found.task == data.task
    kinds = {x.column: x.kind for x in found if x.column not in few}
    assert kinds == {x: k for x, k in expected.items() if x not in few}


@pytest.mark.data
def test_kinds_of_a_raw_file(real_data):
    df = pd.read_csv(real_data / 'telco' / 'telco.csv')
    with pytest.warns(UserWarning, match=r"out: 'customerID' \([^)]*\)\. To"):
        schema = FieldSchema.infer(df, 'Churn')
    assert schema.task == 'binary'
    assert len(schema) == 19
    for name in ('tenure', 'MonthlyCharges', 'TotalCharges'):
        assert schema.kind(name) == 'numeric'

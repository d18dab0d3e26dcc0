import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.data.choice import CANDIDATES, choose, describe
from pyg_featgraph.errors import DataError

FIELD = Field('x', 'numeric')
SAFE = 'interpolated quantile(16)'


def draw(logit, seed=0):
    return (
        np.random.default_rng(seed).random(len(logit))
        < 1 / (1 + np.exp(-logit))
    ).astype(int)


def jumps(rows=6000, seed=0):
    """Mostly zero, and of many other values each says something else."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(rows) < 0.8, 0, rng.integers(1, 40, rows) * 100)
    logit = np.random.default_rng(9).normal(scale=3, size=40)[x // 100]
    return pd.DataFrame({'x': x.astype(float), 'y': draw(logit, seed + 1)})


def smooth(rows=4000, seed=0):
    x = np.random.default_rng(seed).normal(size=rows)
    return pd.DataFrame({'x': x, 'y': draw(2 * x, seed + 1)})


def chosen(frame, valid=None, label='y'):
    schema = FieldSchema((FIELD,), label)
    report = FieldEncoder(schema).fit(frame, valid).report()
    return report.loc['x']


def test_it_is_what_new_rows_say():
    row = chosen(jumps())
    assert row['encoding'] == 'quantile(50)'
    assert row['quantile(50)'] < row[SAFE] - 0.01
    assert row['reason'] == f'beats {SAFE} by more than chance'
    assert row['ids'] == 2 + 40
    row = chosen(smooth())
    assert row['encoding'] == SAFE
    assert row['reason'] == 'none beats it by more than chance'
    # Of the losses none is below what the truth has:
    assert 0.3 < row[SAFE] < row['quantile(16)'] < row['quantile(50)'] < 0.6


def test_a_single_step_is_found_by_a_tree():
    x = np.random.default_rng(3).normal(size=8000)
    frame = pd.DataFrame({'x': x, 'y': draw(np.where(x > 0.137, 3, -3))})
    assert chosen(frame)['encoding'] == 'interpolated tree(16)'


@pytest.mark.parametrize('kind', ['classes', 'numbers'])
def test_other_labels(kind):
    frame = jumps()
    x = frame['x'].to_numpy()
    steps = np.random.default_rng(9).integers(0, 3, 40)[(x // 100).astype(int)]
    y = steps if kind == 'classes' else 1000 + 50.0 * steps
    flipped = np.random.default_rng(4).random(len(x)) < 0.3
    y = np.where(flipped, np.random.default_rng(5).permutation(y), y)
    choice = choose(FIELD, (frame['x'], y))
    assert describe(choice.field) == 'quantile(50)'
    scores = choice.scores
    # A class that few rows have may be in none of those that are fitted to:
    if kind == 'classes':
        y[0] = 7
        assert np.isfinite(
            [*choose(FIELD, (frame['x'], y)).scores.values()]
        ).all()
    else:
        # In units of the spread of the labels:
        assert 0 < scores['quantile(50)'] < scores[SAFE] < 1
        alike = choose(FIELD, (frame['x'], np.ones(len(y))))
        assert describe(alike.field) == SAFE


def test_noise_gets_the_simple_one():
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({'x': rng.exponential(size=500)})
        found.append(chosen(frame.assign(y=rng.integers(0, 2, 500))))
    assert sum(row['encoding'] == SAFE for row in found) >= 9


def test_validation_rows_decide_if_there_are_any():
    rng = np.random.default_rng(7)
    valid = jumps(seed=5)
    assert chosen(jumps(), valid)['encoding'] == 'quantile(50)'
    noise = valid.assign(y=rng.permutation(valid['y']))
    assert chosen(jumps(), noise)['encoding'] == SAFE
    # Without their labels, training rows decide:
    row, alone = chosen(jumps(), valid.drop(columns='y')), chosen(jumps())
    assert row[SAFE] == alone[SAFE] != chosen(jumps(), valid)[SAFE]
    with pytest.raises(DataError, match=r"lacks the columns \['x'\]"):
        chosen(jumps(), valid[['y']])
    with pytest.raises(DataError, match=r"'x', row 0: 'a' is not a number"):
        chosen(jumps(), pd.DataFrame({'x': ['a'], 'y': [1]}))


def test_without_a_label_or_with_few_values():
    row = chosen(jumps(), label=None)
    assert (row['encoding'], row['reason']) == (SAFE, 'no label to choose by')
    few = jumps().assign(x=lambda df: df['x'] // 300)
    row = chosen(few)
    assert row['encoding'] == 'quantile(16)'
    assert row['reason'] == '14 distinct values'
    assert row['ids'] == 2 + 14
    assert row['mass_points'] == [*range(14)]


def test_candidates_are_what_fields_can_be():
    names = [describe(Field('x', 'numeric', **x)) for x in CANDIDATES]
    assert names[0] == SAFE
    assert len({*names}) == len(names)


def test_the_report_stays_with_the_encoder(tmp_path):
    df = jumps(2000).assign(
        plain=lambda df: df['x'],
        city=np.where(np.arange(2000) % 4, 'a', None),
        tags='a|b',
        image=[[1.0, 2.0]] * 2000,
        old=1.0,
    )
    df.loc[:499, 'x'] = np.nan
    overrides = {
        'plain': {'transform': 'standard'},
        'tags': {'kind': 'multi'},
        'old': {'transform': 'tree', 'bins': (4, 8), 'interpolate': True},
    }
    encoder = FieldEncoder(FieldSchema.infer(df, 'y', overrides, min_count=2))
    with pytest.raises(RuntimeError, match=r'Call fit\(\)'):
        encoder.report()
    table = encoder.fit_transform(df)
    report = encoder.report()
    assert report.index.tolist() == [
        'x',
        'plain',
        'city',
        'tags',
        'image',
        'old',
    ]
    assert report['encoding'].tolist()[1:] == [
        *('standard', 'categorical', 'multi', 'vector'),
        'interpolated tree(4, 8)',
    ]
    assert report['reason'].tolist()[1:] == ['as told'] * 5
    assert report['missing'].tolist() == [0.25, 0, 0.25, 0, 0, 0]
    assert report['ids'].tolist() == list(encoder.info.sizes)
    assert report.loc['plain', 'mass_points'] == []
    assert report[SAFE].notna().tolist() == [True] + [False] * 5
    # The schema is what was asked for, whatever was chosen:
    assert encoder.schema.fields[0].transform == 'auto'
    path = tmp_path / 'encoder.parquet'
    encoder.save(path)
    loaded = FieldEncoder.load(path)
    pd.testing.assert_frame_equal(loaded.report(), report)
    assert loaded.schema == encoder.schema
    again = loaded.transform(df)
    assert again.slot_index.equal(table.slot_index)
    assert again.slot_value.equal(table.slot_value)
    # The same rows give the same choice, and others may give another one:
    pd.testing.assert_frame_equal(encoder.fit(df).report(), report)
    encoder.fit(df.assign(x=df['x'] // 1000))
    assert encoder.report().loc['x', 'encoding'] == 'quantile(16)'

import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.crossing import CrossFeatures, greedy_crosses
from pyg_featgraph.errors import DataError


def table(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(rng.integers(0, 4, (rows, 5)).astype(str))
    df = df.set_axis([*'abcde'], axis=1).assign(n=rng.normal(size=rows))
    even = df[[*'abc']].astype(int).sum(axis=1) % 2 * 2 - 1
    same = (df['d'] == df['e']) * 3 + (df['a'] == '1')
    return df, 2.0 * even + same, rng


@pytest.mark.parametrize('kind', ['binary', 'multiclass', 'continuous'])
def test_finds_what_is_there_and_no_more(kind):
    df, x, rng = table()
    x = x + rng.logistic(size=len(x))
    if kind == 'binary':
        y = x > 1
    elif kind == 'multiclass':
        y = np.digitize(x, [-1, 1, 3])
    else:
        y = 1e4 + 100 * x
    found = greedy_crosses(df, y, order=(2, 3))
    assert {x.fields for x in found} == {('a', 'b', 'c'), ('d', 'e')}
    assert sorted(x.detail['step'] for x in found) == [1, 2]
    unit = 'gain in loss on held-out rows'
    assert {x.detail['unit'] for x in found} == {unit}
    assert all(x.score > x.detail['standard_error'] > 0 for x in found)
    assert list(CrossFeatures(found, top=1).fit_transform(df)) == [
        ' x '.join(found[0].fields)
    ]
    assert len(greedy_crosses(df, y, order=(2, 3), top=1)) == 1
    # Neither has a trace among the others:
    some = [('a', 'b'), ('a', 'n'), ('d', 'e'), ('d',)]
    found = greedy_crosses(df, y, some)
    assert [x.fields for x in found] == [('d', 'e')]


def test_next_to_nothing_in_noise():
    found = []
    for seed in range(3):
        df, _, rng = table(2000, seed)
        found += greedy_crosses(df, rng.random(2000) < 0.3)
        # Fields by themselves are no reason to cross them:
        p = np.where(df['a'] == '1', 0.4, 0.1) + (df['b'] == '2') * 0.4
        logit = np.log(p / (1 - p)) + (df['n'] > 0)
        y = rng.random(2000) < 1 / (1 + np.exp(-logit))
        found += greedy_crosses(df, y, [('a', 'n'), ('b', 'n'), ('d', 'n')])
    # The best of 15 may beat its standard error by chance:
    assert len(found) <= 1


def test_a_gain_within_its_standard_error_is_none():
    for seed in range(10):
        df, _, rng = table(100, seed)
        y = rng.random(100) < np.where(df['d'] == df['e'], 0.6, 0.4)
        for x in greedy_crosses(df, y, [('d', 'e'), ('a', 'd'), ('b', 'e')]):
            assert x.score > x.detail['standard_error']


def test_a_cross_counts_for_what_it_adds():
    df, _, rng = table()
    # A copy says the same again, under another name:
    df['copy'] = df['d']
    y = rng.random(3000) < np.where(df['d'] == df['e'], 0.8, 0.2)
    first, *others = greedy_crosses(df, y)
    assert first.fields in (('d', 'e'), ('copy', 'e'))
    assert all(x.score < first.score / 50 for x in others)
    # Alone, each would be worth as much as the other:
    again = greedy_crosses(df, y, [('d', 'e'), ('copy', 'e')], top=1)
    assert again[0].score == pytest.approx(first.score)


def test_errors():
    df, x, _ = table(50)
    with pytest.raises(DataError, match='50 rows'):
        greedy_crosses(df, x[:10])
    with pytest.raises(DataError, match='label itself'):
        greedy_crosses(df.assign(label=x > 0), x > 0)
    with pytest.raises(DataError, match=r"\['z'\]"):
        greedy_crosses(df, x > 0, [('a', 'z')])

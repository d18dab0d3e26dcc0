from itertools import combinations, permutations, product
from math import comb, prod

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import log_ndtr
from scipy.stats import gamma, kstest

from pyg_featgraph.data import FieldSchema
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.errors import DataError
from pyg_featgraph.search import screen
from pyg_featgraph.search.screen import bucket

NAMES = list('abcdef')


def values(num_rows, sizes, seed=0):
    """Independent fields, of which low values are more frequent."""
    rng = np.random.default_rng(seed)
    columns = [
        np.minimum(rng.integers(0, n, num_rows), rng.integers(0, n, num_rows))
        for n in sizes
    ]
    x = np.stack(columns, axis=1)
    return pd.DataFrame(x.astype(str), columns=NAMES[: len(sizes)])


def signs(df, fields):
    """A product of numbers of even and odd values, of mean zero each, which no
    fewer fields betray.
    """
    odd = df[list(fields)].astype(int) % 2
    return ((odd - odd.mean()) / odd.std()).prod(axis=1).to_numpy()


@pytest.mark.parametrize('order', [2, 3, 4])
def test_statistic_is_that_of_its_definition(order):
    """All pairs of rows one by one, against the sums over cells."""
    df = values(40, (2, 3, 4, 3))
    r = np.random.default_rng(1).normal(0, 1 + (df['a'] == '0'), 40)
    found = {x.fields: x for x in screen(df, r, order)}
    assert len(found) == comb(4, order)
    r = r - r.mean()
    kernels, seconds, thirds = {}, {}, {}
    for name, column in df.items():
        share = column.value_counts(normalize=True)
        k = kernels[name] = np.array(
            [
                [
                    (a == b) - share[a] - share[b] + (share**2).sum()
                    for b in column
                ]
                for a in column
            ]
        )
        # Of two and of three rows that are drawn at random:
        seconds[name] = (k**2).mean()
        thirds[name] = np.mean(
            [
                k[i, j] * k[j, m] * k[m, i]
                for i, j, m in product(range(40), repeat=3)
            ]
        )
    for fields in combinations(df.columns, order):
        terms = [
            r[i] * r[j] * prod(kernels[f][i, j] for f in fields)
            for i, j in permutations(range(40), 2)
        ]
        statistic, variance = sum(terms), 2 * np.square(terms).sum()
        second = 2 * prod(seconds[f] for f in fields)
        third = 8 * prod(thirds[f] for f in fields)
        skew = third / second**1.5
        p = gamma.sf(
            4 / skew**2 + statistic / variance**0.5 * 2 / skew, 4 / skew**2
        )
        entry = found[tuple(sorted(fields))]
        assert entry.detail['unit'] == '-log10 p'
        assert entry.detail['p'] == pytest.approx(p, rel=1e-4)
        assert entry.score == pytest.approx(-np.log10(p), abs=1e-4)
        adjusted = min(1, p * len(found))
        assert entry.detail['p_adjusted'] == pytest.approx(adjusted, rel=1e-4)


def test_tails_beyond_the_smallest_number():
    """Of three fields with two values the deviate is that of one product, and
    the logarithm goes on where the p-value is zero.
    """
    df = values(40_000, (2,) * 3)
    y, noise = (
        signs(df, 'abc'),
        np.random.default_rng(0).standard_normal(40_000),
    )
    scores = []
    for strength in (0.02, 0.1, 0.2, 0.6):
        r = strength * y + noise
        r = r - r.mean()
        deviate = abs((r * y).sum()) / np.sqrt((r**2 * y**2).sum())
        log_p = np.log(2) + log_ndtr(-deviate)
        scores.append(screen(df, r)[0].score)
        assert scores[-1] == pytest.approx(-log_p / np.log(10), rel=0.06)
    assert scores[1] < 290 < 330 < scores[3]


@pytest.mark.parametrize('order', [2, 3])
def test_no_more_false_claims_than_the_level(order):
    """Labels at random, of fields that depend on each other."""
    ps, firsts = [], []
    for seed in range(40):
        df = values(500, (2, 3, 6, 4, 12, 2), seed)
        df['f'] = df['e'].where(df['a'] == '1', df['c'])
        y = np.random.default_rng(seed).random(500) < 0.2
        found = screen(df, y, order)
        ps += [x.detail['p'] for x in found]
        firsts.append(found[0].detail['p_adjusted'])
    # Sets of one table share fields, so that the test is but a rough one:
    assert kstest(ps, 'uniform').statistic < 0.06
    for level in (0.1, 0.02):
        assert np.mean(np.array(ps) < level) == pytest.approx(level, rel=0.5)
    assert np.mean(np.array(firsts) < 0.05) <= 0.125


def test_a_triple_that_no_pair_betrays():
    df = values(3000, (2,) * 6)
    rng = np.random.default_rng(0)
    y = rng.random(3000) < 0.5 + 0.1 * signs(df, 'bdf')
    triples = screen(df, y)
    assert triples[0].fields == ('b', 'd', 'f')
    assert triples[0].detail['p_adjusted'] < 1e-6
    assert triples[1].detail['p_adjusted'] > 0.05
    assert screen(df, y, 2)[0].detail['p_adjusted'] > 0.05
    assert len(triples) == 20
    assert screen(df, y, top=3) == triples[:3]
    # Neither the scale nor the mean of the residuals matters:
    again = screen(df, 5 - 3 * y)
    assert [x.fields for x in again] == [x.fields for x in triples]
    assert again[0].score == pytest.approx(triples[0].score, rel=1e-4)


def test_fewer_fields_do_not_count():
    """Strong effects of one and two fields make no claim of three."""
    df = values(3000, (2,) * 6)
    y = 3 * signs(df, 'a') + 3 * signs(df, 'bc')
    y = y + np.random.default_rng(0).standard_normal(3000)
    assert screen(df, y, 2)[0].fields == ('b', 'c')
    assert screen(df, y, 2)[1].detail['p_adjusted'] > 0.05
    assert screen(df, y, 3)[0].detail['p_adjusted'] > 0.05


def test_finds_what_is_planted():
    data = PlantedInteractions(20_000, {2: 3, 3: 2}, 5, 7, 1.5, seed=1)
    df = data.frame()
    y = df.pop('label')
    for order in (2, 3):
        true = [x for x in data.truth if len(x) == order]
        found = screen(df, y, order)
        assert found.precision_at(len(true), true) == 1
        assert found[len(true) - 1].detail['p_adjusted'] < 0.01


def test_residuals_of_a_model_show_what_it_lacks():
    df = values(3000, (2,) * 6)
    pair, triple = signs(df, 'ab'), signs(df, 'abc')
    y = 2 * pair + triple + np.random.default_rng(0).standard_normal(3000)
    assert screen(df, y, 2)[0].score > 10
    assert screen(df, y - 2 * pair, 2)[0].detail['p_adjusted'] > 0.05
    less, more = screen(df, y), screen(df, y - 2 * pair)
    assert less[0].fields == more[0].fields == ('a', 'b', 'c')
    assert more[0].score > 1.5 * less[0].score


def test_few_cells_put_rare_values_together():
    text = pd.Series(list('aaabbbbcd') + [None] * 2)
    assert bucket(text, 'categorical', 8, 9).tolist() == [
        *[1] * 3,
        *[0] * 4,
        3,
        4,
        2,
        2,
    ]
    assert bucket(text, 'categorical', 8, 3).tolist() == [
        *[1] * 3,
        *[0] * 4,
        *[2] * 4,
    ]
    # Of values that all tell something, more is lost than of those of which
    # frequent ones do alone:
    df = values(4000, (6,) * 3)
    lost = [
        1 - screen(df, y, max_cells=27)[0].score / screen(df, y)[0].score
        for y in (signs(df.mask(df > '1', '0'), 'abc'), signs(df, 'abc'))
    ]
    assert lost[0] < 0.6 < 0.8 < lost[1]


def test_numbers_are_cut_into_quantiles():
    x = pd.Series(np.arange(100.0))
    code = bucket(x, 'numeric', 4, 9)
    assert np.bincount(code).tolist() == [25] * 4
    # Neighbours share a bucket:
    assert (np.diff(code) != 0).sum() == 3
    x[::2] = np.nan
    code = bucket(x, 'numeric', 4, 9)
    assert np.bincount(code).tolist() == [50, 13, 13, 12, 12]
    assert np.bincount(bucket(x, 'numeric', 4, 4)).tolist() == [50, 17, 17, 16]
    # Few values are what they are, and one that most rows have leaves all
    # other buckets to the others:
    x = pd.Series([0.0] * 90 + [3.5, 7, 7, 9, 9, 9, 11, 12, 13, 14])
    code = bucket(x, 'numeric', 4, 20)
    assert np.bincount(code).tolist() == [90, 4, 3, 3]
    assert bucket(x, 'numeric', 7, 20).max() == 6
    assert bucket(x.clip(upper=9), 'numeric', 7, 20).max() == 3
    # The kind is inferred, or that of the schema:
    cells = np.arange(3000) % 600
    df = pd.DataFrame({'a': cells % 30, 'b': cells // 30})
    y = (df['a'] + df['b']) % 2
    assert screen(df, y, 2)[0].score < 5
    schema = FieldSchema.infer(df.astype(str))
    assert screen(df, y, 2, schema=schema)[0].score > 20


def test_a_constant_field_interacts_with_nothing():
    df = values(200, (2, 2, 2)).assign(z='same')
    schema = FieldSchema.infer(df, kind='categorical')
    found = screen(df, signs(df, 'abc'), schema=schema)
    assert found[0].fields == ('a', 'b', 'c')
    for x in found[1:]:
        assert (x.score, x.detail['p']) == (0, 1)


def test_any_table_and_parts_of_dates():
    rng = np.random.default_rng(0)
    days = pd.date_range('2020-01-01', periods=2000).to_series(
        index=range(2000)
    )
    df = pd.DataFrame({'when': days, 'a': rng.integers(0, 3, 2000)})
    y = (days.dt.day_of_week + df['a']) % 2 - 0.5
    found = screen(df, y, 2)
    assert found[0].fields == ('a', 'when.weekday')
    assert found[0].score > 50
    again = screen(pl.from_pandas(df), pl.from_pandas(y), 2)
    assert again.to_pandas().equals(found.to_pandas())
    # With a schema, its fields are those that are screened:
    fields = [x for x in FieldSchema.infer(df) if x.name != 'when.year']
    some = screen(df, y, 2, schema=FieldSchema(tuple(fields)))
    assert {x for y in some for x in y.fields} == {x.name for x in fields}


def test_wrong_arguments():
    df = values(20, (2, 2, 2))
    y = np.arange(20.0)
    for options in ({'order': 1}, {'order': 4}, {'bins': 1}, {'max_cells': 7}):
        with pytest.raises(ValueError, match=next(iter(options))):
            screen(df, y, **options)
    for bad in (y[1:], y[:, None], np.where(y == 3, np.nan, y)):
        with pytest.raises(DataError, match='one for each of 20 rows'):
            screen(df, bad)
    df['a'] = [[1, 2]] * 20
    with pytest.raises(DataError, match="Column 'a' is of the kind 'multi'"):
        screen(df, y)

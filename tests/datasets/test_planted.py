import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pyg_featgraph.datasets import Criteo, PlantedInteractions
from pyg_featgraph.datasets.planted import BLOCK
from pyg_featgraph.datasets.planted_logits import bayes_metrics


def small(**options):
    options = {'num_rows': 2000, 'orders': {2: 2, 3: 1}} | options
    return PlantedInteractions(num_numeric=3, num_categorical=8, **options)


def test_shape_of_the_default():
    data = PlantedInteractions()
    df = data.frame(nrows=20_000)
    assert df.shape == (20_000, 40)
    # The intercept is solved on 65,536 rows, so allow for both samples:
    error = math.sqrt(0.25 * 0.75 * (1 / 20_000 + 1 / (8 * BLOCK)))
    assert abs(df['label'].mean() - 0.25) < 4 * error
    sizes = [df[f'C{i}'].nunique() for i in range(1, 27)]
    assert min(sizes) < 25
    assert max(sizes) > 1000
    assert df.isna().any().sum() > 5
    orders = [len(fields) for fields in data.truth]
    assert [orders.count(k) for k in (2, 3)] == [10, 1]
    assert set(data.noise_columns) < set(df.columns)
    assert not set(data.noise_columns) & set(itertools.chain(*data.truth))


def test_rows_do_not_depend_on_how_they_are_read():
    data = small(num_rows=3 * BLOCK)
    df = data.frame()
    pd.testing.assert_frame_equal(small(num_rows=100).frame(), df[:100])
    start = BLOCK - 5
    part = data.frame(nrows=10, start=start)
    pd.testing.assert_frame_equal(
        part, df[start : start + 10].reset_index(drop=True)
    )
    chunks = pd.concat(data.chunks(5000), ignore_index=True)
    pd.testing.assert_frame_equal(chunks, df)
    np.testing.assert_array_equal(
        data.logits(10, start), data.logits()[start : start + 10]
    )
    assert data.frame(nrows=0, start=BLOCK).shape == (0, df.shape[1])
    assert not small(seed=1).frame().equals(df[:2000])


def interaction(group, ranks):
    """The sum of products on rows, of variance one."""
    products = np.prod([codes[:, ranks[i]] for i, codes in group], axis=0)
    return products.sum(axis=0) / math.sqrt(len(products))


@pytest.mark.parametrize('rank', [1, 3])
def test_interactions_are_pure(rank):
    data = PlantedInteractions(orders={2: 5, 3: 3, 4: 2}, rank=rank)
    for group in data._members:
        for i, codes in group:
            prob = data.columns[i].prob
            assert abs(prob.sum() - 1) < 1e-12
            assert codes.shape == (rank, len(prob))
            # Every product vanishes when averaged over any one member, and
            # different products are uncorrelated:
            assert np.abs(codes @ prob).max() < 1e-12
            gram = (codes * prob) @ codes.T
            np.testing.assert_allclose(gram, np.eye(rank), atol=1e-12)
    # On rows: no single value of a member shifts the mean of the term.
    ranks, _, _ = data._rows(0, 50_000)
    for group in data._members:
        term = interaction(group, ranks)
        for i, _ in group:
            buckets = data.columns[i]._buckets[ranks[i]]
            for bucket in np.unique(buckets):
                part = term[buckets == bucket]
                error = part.std() / math.sqrt(len(part))
                assert abs(part.mean()) < 5 * error


@pytest.mark.parametrize('rank', [1, (1, 3)])
def test_logits_are_the_effects(rank):
    data = small(main_strength=0.0, strength=2.0, rank=rank)
    ranks, label, z = data._rows(0, 1000)
    expected = np.full(1000, data._intercept)
    for group in data._members:
        expected += 2.0 * interaction(group, ranks)
    np.testing.assert_allclose(z, expected)
    flat = small(strength=0.0, main_strength=0.0, rank=rank)
    assert np.ptp(flat.logits()) == 0
    assert flat.bayes_auc == pytest.approx(0.5)
    assert set(np.unique(label)) == {0, 1}


def mean_difference(z, where):
    """Of two parts of the rows, in standard errors."""
    a, b = z[where], z[~where]
    error = math.sqrt(a.var() / len(a) + b.var() / len(b))
    return (a.mean() - b.mean()) / error


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_strength_is_the_deviation_of_each_order(rank):
    data = small(strength={2: 0.5, 3: 2.0}, main_strength=0.0, rank=rank)
    assert sorted(data.truth.values()) == [0.5, 0.5, 2.0]
    # Different interactions are uncorrelated, so that variances add up. Terms
    # have few levels, so 5 % is many standard errors on this many rows:
    expected = 0.5**2 + 0.5**2 + 2.0**2
    assert data.logits(200_000).var() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize('rank', [1, 2, 3])
def test_rank_is_that_of_the_interaction(rank):
    # The term of a pair on all pairs of values is a matrix of this rank, whose
    # norm under the probabilities is the strength:
    data = PlantedInteractions(
        10, {2: 1}, 0, 4, strength=1.5, main_strength=0.0, rank=rank
    )
    (((i, a), (j, b)),) = data._members
    pairs = itertools.product(range(a.shape[1]), range(b.shape[1]))
    draw = np.full((a.shape[1] * b.shape[1], len(data.columns) + 1), 0.5)
    for row, pair in enumerate(pairs):
        for column, value in zip((i, j), pair, strict=True):
            prob = data.columns[column].prob
            draw[row, column] = prob[:value].sum() + prob[value] / 2
    term = data._draw(draw)[2] - data._intercept
    term = term.reshape(a.shape[1], b.shape[1])
    assert np.linalg.matrix_rank(term) == rank
    left, right = data.columns[i].prob, data.columns[j].prob
    np.testing.assert_allclose(left @ term, 0, atol=1e-12)
    np.testing.assert_allclose(term @ right, 0, atol=1e-12)
    assert left @ term**2 @ right == pytest.approx(1.5**2)


def test_ranks_are_dealt_in_turns():
    orders = {3: 2, 2: 4}
    data = small(orders=orders, rank=[1, 3, 2])
    assert list(data.ranks) == list(data.truth)
    by_order = {
        k: [r for f, r in data.ranks.items() if len(f) == k] for k in orders
    }
    assert by_order == {2: [1, 3, 2, 1], 3: [1, 3]}
    for group, rank in zip(data._members, data.ranks.values(), strict=True):
        assert {len(codes) for _, codes in group} == {rank}


def test_ranks_change_nothing_but_interactions():
    options = {'seed': 5, 'correlated': 1}
    one, three = small(**options), small(rank=3, **options)
    assert set(one.ranks.values()) == {1}
    assert (one.truth, one._copies) == (three.truth, three._copies)
    assert one.noise_columns == three.noise_columns
    np.testing.assert_equal(one._main, three._main)
    pd.testing.assert_frame_equal(
        one.frame().drop(columns='label'), three.frame().drop(columns='label')
    )
    for a, b in zip(one._members, three._members, strict=True):
        np.testing.assert_equal(
            [(i, codes[0]) for i, codes in a], [(i, codes[0]) for i, codes in b]
        )
    assert not np.allclose(one.logits(), three.logits())
    # Ranks of one draw nothing more:
    pd.testing.assert_frame_equal(
        one.frame(), small(rank=(1, 1), **options).frame()
    )


def test_rank_three_always_fits():
    for seed in range(10):
        data = PlantedInteractions(10, {2: 20}, 4, 12, seed=seed, rank=3)
        assert set(data.ranks.values()) == {3}


def test_missing_entries_are_informative():
    data = PlantedInteractions(strength=0.0, seed=1)
    df, z = data.frame(nrows=50_000), data.logits(50_000)
    main = {data.columns[i].name for i, _ in data._main}
    with_missing = [name for name in main if df[name].isna().any()]
    shifts = [mean_difference(z, df[name].isna()) for name in with_missing]
    assert len(shifts) > 5
    assert np.abs(shifts).max() > 20


def test_distractors_carry_no_signal():
    data = PlantedInteractions(seed=2)
    df, z = data.frame(nrows=50_000), data.logits(50_000)
    assert len(data.noise_columns) == 13
    for name in data.noise_columns:
        # The most frequent value and, where there are any, missing ones:
        first = (df[name] == df[name].mode()[0]).to_numpy(bool)
        missing = df[name].isna().to_numpy()
        assert abs(mean_difference(z, first)) < 4.5
        assert not missing.any() or abs(mean_difference(z, missing)) < 4.5


def test_labels_do_not_betray_interactions():
    # Without main effects nothing is left in the rate of positives by value
    # that logistic regression on single columns could use (the logistic
    # function bends, so this is not implied by purity of the logits).
    data = PlantedInteractions(60_000, main_strength=0.0)
    df = data.frame()
    y, z = df['label'].to_numpy(), data.logits()
    members = sorted(set(itertools.chain(*data.truth)))
    score = np.zeros(len(df))
    for name in members:
        value = df[name]
        if name[0] == 'I':
            value = pd.qcut(value, 20, labels=False, duplicates='drop')
        code, groups = pd.factorize(value)
        counts = np.bincount(code[:40_000] + 1, minlength=len(groups) + 1)
        hits = np.bincount(code[:40_000] + 1, y[:40_000], len(groups) + 1)
        rate = (hits + 25) / (counts + 100)
        score += np.log(rate / (1 - rate))[code + 1]
    # The standard error of an AUC of 20,000 rows is about 0.005:
    assert roc_auc_score(y[40_000:], score[40_000:]) < 0.53
    assert roc_auc_score(y[40_000:], z[40_000:]) > 0.9


@pytest.mark.parametrize('with_labels', [False, True])
def test_bayes_metrics_are_those_of_all_pairs(with_labels):
    rng = np.random.default_rng(0)
    z = rng.choice([-2.0, -0.5, -0.4, 1.5], 40)
    p = 1 / (1 + np.exp(-z))
    y = rng.integers(0, 2, 40) if with_labels else None
    weight = y if with_labels else p
    right = total = 0.0
    for i, j in itertools.permutations(range(40), 2):
        pair = weight[i] * (1 - weight[j])
        total += pair
        right += pair * (1.0 if z[i] > z[j] else 0.5 if z[i] == z[j] else 0)
    loss = -(weight * np.log(p) + (1 - weight) * np.log(1 - p)).mean()
    metrics = bayes_metrics(z, y)
    assert metrics['auc'] == pytest.approx(right / total, rel=1e-12)
    assert metrics['log_loss'] == pytest.approx(loss, rel=1e-12)


def test_bayes_metrics_reject_what_has_no_auc():
    with pytest.raises(ValueError, match='needs positive and negative'):
        bayes_metrics([0.1, 0.2], [1, 1])
    with pytest.raises(ValueError, match='One label for each logit'):
        bayes_metrics([0.1, 0.2], [1])


@pytest.mark.filterwarnings('error')
def test_huge_logits():
    data = small(strength=1000.0)
    assert np.abs(data.logits()).max() > 800
    # With 65,536 and 2,000 rows, as above:
    error = math.sqrt(0.25 * 0.75 * (1 / 2000 + 1 / (8 * BLOCK)))
    assert abs(data.frame()['label'].mean() - 0.25) < 4 * error
    assert data.bayes_auc > 0.99
    assert 0 <= data.bayes_log_loss < 0.05


def test_bayes_metrics_are_those_of_the_labels():
    data = small(num_rows=40_000)
    z, y = data.logits(), data.frame()['label'].to_numpy()
    assert bayes_metrics(z, y)['auc'] == pytest.approx(roc_auc_score(y, z))
    # The standard error of an AUC from 10,000 positives is below 0.005:
    assert abs(roc_auc_score(y, z) - data.bayes_auc) < 0.02
    loss = np.logaddexp(0, z) - y * z
    error = loss.std() / math.sqrt(len(loss))
    assert abs(loss.mean() - data.bayes_log_loss) < 4 * error


def test_correlated_columns():
    data = small(correlated=2, num_rows=20_000)
    ranks, _, _ = data._rows(0, 20_000)
    for target, source in data._copies:
        name = data.columns[target].name
        assert name in data.noise_columns
        same = ranks[source] % len(data.columns[target].prob)
        assert 0.78 < (ranks[target] == same).mean() < 0.95
    with pytest.raises(ValueError, match="'correlated' is 9"):
        small(correlated=9)


def test_write_criteo(tmp_path):
    data = PlantedInteractions(BLOCK + 50)
    for name in ('log.txt', 'log.txt.gz'):
        path = tmp_path / name
        data.write_criteo(path)
        pd.testing.assert_frame_equal(Criteo(path).frame(), data.frame())
        truth = json.loads((tmp_path / f'{name}.truth.json').read_text())
        assert [tuple(x['fields']) for x in truth] == list(data.truth)
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(ValueError, match='has 11 columns'):
        small().write_criteo(tmp_path / 'other.txt')
    with pytest.raises(ValueError, match="'num_rows' must be positive"):
        data.write_criteo(tmp_path / 'other.txt', 0)


def test_days_of_a_log_are_its_rows(tmp_path):
    data = PlantedInteractions(300)
    data.write_criteo(tmp_path / 'day_0', 120)
    data.write_criteo(tmp_path / 'day_1', 180, start=120)
    pd.testing.assert_frame_equal(Criteo(tmp_path).frame(), data.frame())
    with pytest.raises(ValueError, match='No rows from -1'):
        data.write_criteo(tmp_path / 'day_2', 10, start=-1)


def test_write_criteo_leaves_nothing_half_done(tmp_path, monkeypatch):
    data = PlantedInteractions(2 * BLOCK)
    path = tmp_path / 'log.txt'
    path.write_text('of before')
    draw, calls = data._draw, []

    def fails(rows):
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(rows)

    monkeypatch.setattr(data, '_draw', fails)
    with pytest.raises(KeyboardInterrupt):
        data.write_criteo(path)
    assert [file.name for file in tmp_path.iterdir()] == ['log.txt']
    assert path.read_text() == 'of before'


def test_schema():
    data = small()
    assert data.schema().names == tuple(data.frame(nrows=1).columns[1:])
    numeric = data.schema().fields[0]
    assert (numeric.transform, numeric.bins) == ('quantile', (20,))
    for schema in (
        data.schema(transform='log1p'),
        data.schema(overrides={'I1': {'transform': 'log1p'}}),
    ):
        assert schema.fields[0].transform == 'log1p'
        assert schema.fields[-1].min_count == 10


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_rows': 0}, "'num_rows' must be positive"),
        ({'orders': {5: 1}}, "'orders' must lie in 2 to 4"),
        ({'orders': {2: 100}}, 'No 100 different interactions'),
        ({'positive_rate': 1.0}, "'positive_rate' must lie"),
        ({'orders': {2: -1}}, r"'orders\[2\]' is negative"),
        ({'orders': {4: 1, 3: 1}, 'strength': {3: 1.0}}, 'an entry for each'),
        ({'strength': math.nan}, 'must be finite'),
        ({'main_strength': math.inf}, 'must be finite'),
        ({'correlated': -1}, "'correlated' is negative"),
        ({'seed': -1}, "'seed' is negative"),
        ({'rank': 0}, "'rank' must be positive"),
        ({'rank': (2, -1)}, "'rank' must be positive"),
        ({'rank': ()}, "'rank' must be positive"),
        ({'rank': 24}, r"Column '\w+' has \d+ levels, .* the rank is 24"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_bad_rows():
    data = small()
    with pytest.raises(ValueError, match='has no parts'):
        data.frame('train')
    with pytest.raises(ValueError, match='No rows from 0 to -5'):
        data.logits(-5)
    with pytest.raises(ValueError, match="'chunk_rows' must be positive"):
        next(data.chunks(0))
    with pytest.raises(ValueError, match='at least one column'):
        PlantedInteractions(10, {}, 0, 0)

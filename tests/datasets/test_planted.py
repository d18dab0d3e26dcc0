import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pyg_featgraph.datasets import Criteo, PlantedInteractions
from pyg_featgraph.datasets.planted import BLOCK, expected_auc


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
    part = data.frame(10, start)
    pd.testing.assert_frame_equal(
        part, df[start : start + 10].reset_index(drop=True)
    )
    chunks = pd.concat(data.chunks(5000), ignore_index=True)
    pd.testing.assert_frame_equal(chunks, df)
    np.testing.assert_array_equal(
        data.logits(10, start), data.logits()[start : start + 10]
    )
    assert not small(seed=1).frame().equals(df[:2000])


def test_interactions_are_pure():
    data = PlantedInteractions(orders={2: 5, 3: 3, 4: 2})
    for group in data._members:
        for i, code in group:
            prob = data.columns[i].prob
            assert abs(prob.sum() - 1) < 1e-12
            assert abs(prob @ code) < 1e-12
            assert abs(prob @ code**2 - 1) < 1e-12
    # On rows: no single value of a member shifts the mean of the term.
    ranks, _, _ = data._rows(0, 50_000)
    for group in data._members:
        term = np.prod([code[ranks[i]] for i, code in group], axis=0)
        for i, _ in group:
            buckets = data.columns[i]._buckets[ranks[i]]
            for bucket in np.unique(buckets):
                part = term[buckets == bucket]
                error = part.std() / math.sqrt(len(part))
                assert abs(part.mean()) < 5 * error


def test_logits_are_the_effects():
    data = small(main_strength=0.0, strength=2.0)
    ranks, label, z = data._rows(0, 1000)
    expected = np.full(1000, data._intercept)
    for group in data._members:
        expected += 2.0 * np.prod([code[ranks[i]] for i, code in group], axis=0)
    np.testing.assert_allclose(z, expected)
    flat = small(strength=0.0, main_strength=0.0)
    assert np.ptp(flat.logits()) == 0
    assert flat.bayes_auc == pytest.approx(0.5)
    assert set(np.unique(label)) == {0, 1}


def test_missing_entries_are_informative():
    data = PlantedInteractions(seed=1)
    effects = [
        effect[-1] for i, effect in data._main if data.columns[i].missing > 0
    ]
    assert len(effects) > 5
    assert np.abs(effects).max() > 0.1


def test_expected_auc_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    p = rng.choice([0.1, 0.3, 0.35, 0.8], 40)
    right = total = 0.0
    for i, j in itertools.permutations(range(40), 2):
        weight = p[i] * (1 - p[j])
        total += weight
        right += weight * (1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0)
    assert expected_auc(p) == pytest.approx(right / total, rel=1e-12)


def test_bayes_metrics_are_those_of_the_labels():
    data = small(num_rows=40_000)
    z, y = data.logits(), data.frame()['label'].to_numpy()
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


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_rows': 0}, "'num_rows' must be positive"),
        ({'orders': {5: 1}}, "'orders' must lie in 2 to 4"),
        ({'orders': {2: 100}}, 'No 100 different interactions'),
        ({'positive_rate': 1.0}, "'positive_rate' must lie"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)

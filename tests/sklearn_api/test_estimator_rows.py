import numpy as np
import pytest

from pyg_featgraph.sklearn.rows import split_rows


def test_each_class_has_its_share():
    y = np.repeat([0, 1, 2, 3], [100, 30, 2, 1])
    train, valid = split_rows(y, 0.1, 0, True)
    assert np.bincount(y[valid], minlength=4).tolist() == [10, 3, 1, 0]
    assert np.bincount(y[train]).tolist() == [90, 27, 1, 1]
    assert sorted([*train, *valid]) == [*range(133)]


def test_low_and_high_numbers_have_their_share():
    y = np.random.default_rng(0).permutation(1000.0 * np.arange(200))
    _, valid = split_rows(y, 0.2, 0, False)
    # Four of each tenth:
    assert np.bincount((y[valid] // 20_000).astype(int)).tolist() == [4] * 10


@pytest.mark.parametrize('num_rows', [4, 5, 9, 21])
def test_few_rows(num_rows):
    """There are two validation rows, and they differ."""
    y = np.arange(num_rows).astype(float)
    for fraction in (0.1, 0.5, 0.9):
        train, valid = split_rows(y, fraction, 0, False)
        assert len(train) >= 2
        assert len(valid) >= 2


def test_draws_depend_on_the_seed_alone():
    y = np.repeat([0, 1], 50)
    one, two, other = (split_rows(y, 0.3, seed, True)[1] for seed in (0, 0, 1))
    assert one.tolist() == two.tolist()
    assert one.tolist() != other.tolist()

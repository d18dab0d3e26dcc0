import math
from itertools import combinations

import pytest
import torch

from pyg_featgraph.explain import bernoulli_masks, kernel_weights, lime_masks


def assert_mean(samples, expected):
    """Within five standard errors, which random samples hardly ever miss."""
    samples = samples.double()
    error = samples.std(dim=0) / len(samples) ** 0.5
    assert ((samples.mean(dim=0) - expected).abs() < 5 * error).all()


def test_lime_masks_have_the_exact_distribution():
    d, n = 4, 150_000
    masks = lime_masks(n, d)
    assert masks.dtype == torch.bool
    assert masks[0].all()
    code = (masks[1:] * 2 ** torch.arange(d)).sum(dim=1)
    count = torch.bincount(code, minlength=2**d)
    total = 0.0
    for mask in range(2**d):
        off = d - mask.bit_count()
        p = 1 / (d * math.comb(d, off)) if off else 0.0
        bound = 5 * math.sqrt(n * p * (1 - p))
        assert abs(count[mask] - (n - 1) * p) <= bound
        total += p
    assert total == pytest.approx(1)
    # All off, and no second mask with all on:
    assert count[0] > 0
    assert count[-1] == 0


@pytest.mark.parametrize(('d', 'corr'), [(6, 0.2), (39, 0.316)])
def test_lime_masks_have_the_exact_moments(d, corr):
    masks = lime_masks(40_000, d)[1:]
    assert_mean(masks, (d - 1) / (2 * d))
    pairs = list(combinations(range(0, d, 3), 2))
    both = torch.stack([masks[:, i] & masks[:, j] for i, j in pairs], dim=1)
    assert_mean(both, (d - 2) / (3 * d))
    found = masks.double().t().corrcoef()
    assert found[~torch.eye(d).bool()].mean() == pytest.approx(corr, abs=0.01)


@pytest.mark.parametrize('p', [0.5, 0.2])
def test_bernoulli_masks_are_independent(p):
    masks = bernoulli_masks(40_000, 5, p)
    assert masks.dtype == torch.bool
    assert masks[0].all()
    assert_mean(masks[1:], p)
    for i, j in combinations(range(5), 2):
        assert_mean(masks[1:, i] & masks[1:, j], p * p)
    assert_mean(masks[1:].all(dim=1), p**5)


@pytest.mark.parametrize('sampler', [lime_masks, bernoulli_masks])
def test_masks_follow_their_generator(sampler):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return sampler(50, 7, generator=generator)

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()
    assert (sampler(50, 7) != sampler(50, 7)).any()


def test_small_masks():
    assert lime_masks(5, 1).tolist() == [[True], *[[False]] * 4]
    assert lime_masks(1, 3).tolist() == [[True] * 3]
    assert bernoulli_masks(3, 2, p=0).tolist() == [
        [True] * 2,
        *[[False] * 2] * 2,
    ]
    assert bernoulli_masks(3, 2, p=1).all()


def test_kernel_weights_match_the_equation():
    masks = torch.rand(3, 20, 6) < 0.5
    masks[0, 0], masks[0, 1] = False, True
    weights = kernel_weights(masks, 0.4)
    ones = torch.ones(6)
    for r in range(3):
        for i in range(20):
            x = masks[r, i].float()
            cos = 0.0
            if x.any():
                cos = float(x @ ones / (x.norm() * ones.norm()))
            expected = math.sqrt(math.exp(-((1 - cos) ** 2) / 0.4**2))
            assert float(weights[r, i]) == pytest.approx(expected, abs=1e-6)
    assert weights[0, 1] == 1
    # The width of the paper, where nothing is on:
    none = kernel_weights(torch.zeros(1, 6, dtype=torch.bool))
    assert none.item() == pytest.approx(math.exp(-8))


def test_bad_arguments():
    for sizes in ((0, 3), (3, 0)):
        with pytest.raises(ValueError, match='must be at least 1'):
            lime_masks(*sizes)
        with pytest.raises(ValueError, match='must be at least 1'):
            bernoulli_masks(*sizes)
    with pytest.raises(ValueError, match='must be a probability'):
        bernoulli_masks(3, 3, p=1.1)
    with pytest.raises(ValueError, match="'kernel_width' must be positive"):
        kernel_weights(torch.ones(1, 3), 0)

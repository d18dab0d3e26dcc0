import math
import sys

import numpy as np
import pytest
import torch

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import (
    Perturbation,
    detect_interactions,
    fit_mlps,
    gradient_nid,
    kernel_weights,
    madex,
    nid,
    r_precision,
)

SAMPLES = (2000, 200, 200)
SMALL = {
    'num_samples': SAMPLES,
    'hidden_channels': (32, 16),
    'max_epochs': 30,
    'progress': False,
    'device': 'cpu',
}
QUICK = {**SMALL, 'max_epochs': 2}


class Planted(Perturbation):
    """Main effects of a row, and products of some of its features."""

    def __init__(self, sets=((0, 1), (2, 3, 4)), sizes=(8, 8, 8), noise=0.0):
        self.sets, self.sizes, self.noise = sets, sizes, noise
        self.asked = {}

    def __len__(self):
        return len(self.sizes)

    def names(self, row):
        return [f'x{i}' for i in range(self.sizes[row])]

    def logits(self, row, masks):
        x = masks.float()
        generator = torch.Generator().manual_seed(row)
        d = self.sizes[row]
        main = torch.randn(d, generator=generator)
        out = x @ main + row
        for s in self.sets:
            if max(s) < d:
                out = out + 6 * x[:, list(s)].prod(dim=1)
        out = out + self.noise * torch.randn(len(x), generator=generator)
        self.asked[row] = masks, out
        return out


def name(*features):
    return tuple(f'x{i}' for i in features)


def brief(results):
    return [
        (x.row, x.mse, [(y.fields, y.score) for y in x.interactions])
        for x in results
    ]


def assert_same(results, expected):
    """Up to rounding, which may swap what is equally strong."""
    for x, y in zip(results, expected, strict=True):
        assert (x.row, x.num_selected) == (y.row, y.num_selected)
        assert x.mse == pytest.approx(y.mse, rel=1e-3)
        one = {z.fields: z.score for z in x.interactions}
        two = {z.fields: z.score for z in y.interactions}
        assert one == pytest.approx(two, rel=1e-2)


def sample_around(function, detector, num_points=3, d=6, sigma=0.6, **options):
    """Truncated normal numbers around random points, as in Appendix F."""
    n = sum(SAMPLES)
    at = torch.rand(num_points, 1, d) * 2 - 1
    normal = torch.randn(20 * n * d * num_points)
    normal = normal[normal.abs() < 1][: n * d * num_points]
    x = at + sigma * normal.view(num_points, n, d)
    return detect_interactions(
        x,
        function(x),
        detector,
        SAMPLES,
        at=at[:, 0],
        hidden_channels=(64, 32),
        **options,
    )


def f1(x):
    return 10 * x[..., 0] * x[..., 1] + x[..., 2:].sum(dim=-1)


def f4(x):
    return 10 * x[..., :3].prod(dim=-1) + x[..., 3:].sum(dim=-1)


@pytest.mark.parametrize(
    ('function', 'detector', 'truth'),
    [(f1, 'nid', (0, 1)), (f1, 'gradient_nid', (0, 1)), (f4, 'nid', (0, 1, 2))],
)
def test_recovers_the_functions_of_the_paper(function, detector, truth):
    rankings, errors = sample_around(function, detector)
    for ranking, error in zip(rankings, errors, strict=True):
        assert r_precision([x for x, _ in ranking], [truth]) == 1
        assert error < 0.5


def test_additive_functions_have_little_curvature():
    def additive(x):
        return x[..., 0].exp() + 10 * x[..., 1:].sum(dim=-1)

    options = {'top': 1}
    (planted, _), (nothing, _) = (
        sample_around(f, 'gradient_nid', **options) for f in (f1, additive)
    )
    for ((_, strength),), ((_, other),) in zip(planted, nothing, strict=True):
        # The second derivative of the first one is 10:
        assert 20 < strength < 500
        assert other < 0.1 * strength


@pytest.mark.parametrize('masks', ['lime', 'bernoulli'])
def test_recovers_planted_interactions(masks):
    black_box, truth = Planted(), [name(0, 1), name(2, 3, 4)]
    options = {**SMALL, 'hidden_channels': (64, 32), 'l1': 1e-3}
    results = madex(black_box, masks=masks, threshold=True, **options)
    assert [x.row for x in results] == [0, 1, 2]
    for x in results:
        ranking = [y.fields for y in x.interactions]
        assert r_precision(ranking, truth) == 1
        assert all(y.source == 'NID' for y in x.interactions)
        assert x.mse < 0.1 * x.mse_constant
        assert x.num_selected >= 2
        # Nothing is left when both are known:
        assert len(x.fidelity) == x.num_selected + 1
        assert x.fidelity[0] > 1.5 * x.fidelity[1]
        assert x.fidelity[-1] < 1e-6 < x.fidelity[1]
    on = [black_box.asked[row][0].float()[1:].mean() for row in range(3)]
    # LIME leaves 7 of 16 features on:
    expected = 0.5 if masks == 'bernoulli' else 7 / 16
    assert sum(on) / 3 == pytest.approx(expected, abs=0.02)


def test_gradient_nid_finds_pairs_of_a_row():
    results = madex(
        Planted(sets=[(0, 1)]), [1], detector='gradient_nid', top=5, **SMALL
    )
    (result,) = results
    assert len(result.interactions) == 5
    assert result.interactions[0].fields == name(0, 1)
    assert {(x.order, x.source) for x in result.interactions} == {
        (2, 'GradientNID')
    }
    assert result.num_selected is result.fidelity is None


def test_rows_do_not_depend_on_each_other():
    black_box = Planted(sizes=(6, 5, 6, 6, 5))
    together = madex(black_box, **QUICK)
    masks = [black_box.asked[row][0] for row in range(5)]
    assert not any(
        (masks[i] == masks[j]).all() for i, j in [(0, 2), (0, 3), (1, 4)]
    )
    some = madex(black_box, [4, 2, 2, np.int64(0)], chunk_size=2, **QUICK)
    assert_same(some, [together[row] for row in (4, 2, 2, 0)])
    assert all((masks[i] == black_box.asked[i][0]).all() for i in range(5))
    assert_same(madex(black_box, chunk_size=1, **QUICK), together)
    # All randomness comes from the seed:
    torch.manual_seed(3)
    assert brief(madex(black_box, **QUICK)) == brief(together)
    assert brief(madex(black_box, seed=1, **QUICK)) != brief(together)
    assert (masks[0] != black_box.asked[0][0]).any()


def test_options_reach_the_parts():
    black_box = Planted(sizes=(8,))
    full = madex(black_box, **QUICK)[0].interactions
    assert max(x.order for x in full) > 3
    few = madex(black_box, max_order=3, top=4, **QUICK)[0].interactions
    assert len(few) == 4
    assert max(x.order for x in few) <= 3
    fast = madex(black_box, **{**QUICK, 'lr': 1e-4})[0]
    assert fast.mse > madex(black_box, **QUICK)[0].mse
    assert len(black_box.asked[0][0]) == sum(SAMPLES)
    madex(black_box, **{**QUICK, 'num_samples': (50, 20, 10)})
    assert len(black_box.asked[0][0]) == 80


def ridge_error(design, y, weight):
    """The test error of ridge regression from its normal equations, and the
    one of validation.
    """
    train, *others = np.split(np.arange(len(y)), np.cumsum(SAMPLES)[:2])
    x, z, w = design[train], y[train], weight[train]
    x_mean, z_mean = np.average(x, 0, w), np.average(z, weights=w)
    x, z = x - x_mean, z - z_mean
    beta = np.linalg.solve(
        x.T @ (w[:, None] * x) + 0.01 * np.eye(x.shape[1]), x.T @ (w * z)
    )
    return [
        np.average(
            ((design[i] - x_mean) @ beta + z_mean - y[i]) ** 2,
            weights=weight[i],
        )
        for i in others
    ]


@pytest.mark.parametrize('kernel_width', [None, 0.25])
def test_threshold_and_errors_match_the_loop(kernel_width):
    black_box = Planted(noise=0.5)
    options = {'threshold': True, 'kernel_width': kernel_width}
    results = madex(black_box, **options, **SMALL)
    assert {x.num_selected for x in results} != {0}
    for result in results:
        masks, y = black_box.asked[result.row]
        weight = np.ones(len(y))
        if kernel_width is not None:
            weight = kernel_weights(masks, kernel_width).double().numpy()
        x, y = masks.double().numpy(), y.double().numpy()
        train, test = slice(SAMPLES[0]), slice(sum(SAMPLES[:2]), None)
        mean = np.average(y[train], weights=weight[train])
        constant = np.average((y[test] - mean) ** 2, weights=weight[test])
        assert result.mse_constant == pytest.approx(constant, rel=1e-4)
        errors, lowest, k = [], math.inf, 0
        while True:
            kept = result.interactions.top(k).prune()
            sets = [[int(f[1:]) for f in entry.fields] for entry in kept]
            design = np.column_stack([x, *(x[:, s].all(1) for s in sets)])
            val, error = ridge_error(design, y, weight)
            if val >= lowest or len(result.interactions) < k:
                break
            errors, lowest, k = [*errors, error], val, k + 1
        assert result.num_selected == len(errors) - 1
        assert result.fidelity == pytest.approx(errors, rel=1e-4)


@pytest.mark.parametrize('detector', ['nid', 'gradient_nid'])
def test_detection_is_fitting_and_ranking(detector):
    x, at = torch.randn(2, 170, 4), torch.randn(2, 4)
    y, weight = f4(x), torch.rand(2, 170)
    rankings, errors = detect_interactions(
        x, y, detector, (100, 40, 30), weight=weight, at=at, top=3, seeds=[5, 6]
    )
    smooth = detector == 'gradient_nid'
    mlp = fit_mlps(
        x[:, :100],
        y[:, :100],
        x[:, 100:140],
        y[:, 100:140],
        weight_train=weight[:, :100],
        weight_val=weight[:, 100:140],
        activation='softplus' if smooth else 'relu',
        linear=smooth,
        l1=0 if smooth else 1e-4,
        seeds=[5, 6],
    )
    expected = gradient_nid(mlp, at, top=3) if smooth else nid(mlp, top=3)
    assert rankings == expected
    square = (mlp(x)[..., 0] - y)[:, 140:].detach() ** 2
    for r in range(2):
        mse = np.average(square[r], weights=weight[r, 140:])
        assert errors[r] == pytest.approx(mse, rel=1e-4)


def test_kernel_weights_reach_the_perceptron():
    plain = madex(Planted(sizes=(8,)), **QUICK)[0]
    wide = madex(Planted(sizes=(8,)), kernel_width=1e3, **QUICK)[0]
    assert wide.mse == pytest.approx(plain.mse, rel=1e-2)
    narrow = madex(Planted(sizes=(8,)), kernel_width=0.1, **QUICK)[0]
    assert abs(narrow.mse - plain.mse) > 0.1 * plain.mse


def test_rows_with_few_features_have_no_interactions():
    for threshold in (False, True):
        results = madex(Planted(sizes=(1, 6, 0)), threshold=threshold, **QUICK)
        for i in (0, 2):
            assert len(results[i].interactions) == 0
            assert math.isnan(results[i].mse)
            assert math.isnan(results[i].mse_constant)
        assert len(results[1].interactions) > 0
    assert madex(Planted(sizes=()), **QUICK) == []


def test_bar_counts_every_row(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    options = {**QUICK, 'progress': True}
    madex(Planted(sizes=(6, 5, 6, 1)), chunk_size=1, **options)
    assert '4/4' in capsys.readouterr().err


class Broken(Planted):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def logits(self, row, masks):
        return self.change(super().logits(row, masks))


def test_bad_black_boxes():
    def spoil(logits):
        logits[3], logits[5] = math.inf, math.nan
        return logits

    with pytest.raises(DataError, match='2 of 2400 logits of row 1 are not'):
        madex(Broken(spoil), [1], **QUICK)
    with pytest.raises(DataError, match='one logit for each of 2400 samples'):
        madex(Broken(lambda x: x[:, None]), **QUICK)
    black_box = Planted()
    black_box.names = lambda row: ['the', 'the']
    with pytest.raises(DataError, match='row 0 share a name'):
        madex(black_box, **QUICK)


def test_bad_arguments():
    black_box = Planted()
    for match, options in [
        ("No 'detector' named 'x'", {'detector': 'x'}),
        ("'masks' named 'x'", {'masks': 'x'}),
        ("'num_samples' must be three", {'num_samples': (10, 5)}),
        ("'num_samples' must be three", {'num_samples': (10, 5, 0)}),
        ("'chunk_size' must be", {'chunk_size': 0}),
        ("'kernel_width' must be", {'kernel_width': -1}),
        ("no 'max_order'", {'detector': 'gradient_nid', 'max_order': 3}),
        ('There is no row 3', {'rows': [3]}),
        ('There is no row -1', {'rows': [-1]}),
    ]:
        with pytest.raises(ValueError, match=match):
            madex(black_box, **{**QUICK, **options})
    with pytest.raises(ValueError, match=r"'x' must be \[num_sets, 6,"):
        detect_interactions(
            torch.ones(1, 5, 3), torch.ones(1, 5), 'nid', [2] * 3
        )

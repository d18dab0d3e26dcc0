import math
import warnings

import numpy as np
import pytest
import torch

from pyg_featgraph.data import FieldTable
from pyg_featgraph.nn import (
    FM,
    BinaryHead,
    GraphFM,
    MulticlassHead,
    PoissonHead,
    RankingHead,
    RegressionHead,
)
from pyg_featgraph.nn.areas import concordance
from pyg_featgraph.nn.chance import (
    chance_error,
    warn_if_chance,
    warn_if_constant,
)


def test_error_of_two_labels():
    """By hand: the square root of (R + 1) / (12 R_0 R_1)."""
    y = torch.tensor([0, 0, 0, 1, 1]).double()
    expected = math.sqrt(6 / (12 * 3 * 2))
    assert chance_error(y, torch.ones(5)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('num_labels', [2, 4, 50])
def test_error_is_how_scores_of_noise_scatter(num_labels):
    y = torch.arange(50).remainder(num_labels).double()
    ones = torch.ones(50, dtype=torch.double)
    areas = [
        float(concordance(torch.randn(50, dtype=torch.double), y, ones))
        for _ in range(1500)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)
    assert np.std(areas) == pytest.approx(chance_error(y, ones), rel=0.06)


def test_error_of_weighted_rows():
    y = torch.arange(40).remainder(2).double()
    ones = torch.ones(40)
    expected = chance_error(y, ones)
    # The unit of weights does not matter, but rows that hardly count do:
    assert chance_error(y, 7 * ones) == pytest.approx(expected)
    few = torch.where(torch.arange(40) < 10, 1.0, 1e-6)
    fewer = chance_error(y[:10], ones[:10])
    assert chance_error(y, few) == pytest.approx(fewer, rel=1e-3)


@pytest.mark.parametrize(
    ('area', 'num_rows', 'warns'),
    [
        (0.55, 100, True),  # The standard error is .058.
        (0.60, 100, True),
        (0.62, 100, False),
        (0.55, 1000, False),  # It is .018.
        (0.3, 1000, True),
        (math.nan, 1000, False),
    ],
)
def test_when_it_warns(area, num_rows, warns):
    y = torch.arange(num_rows).remainder(2).float()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        warn_if_chance(BinaryHead(), area, y, None, 'rows')
    assert [str(x.message)[:10] for x in caught] == ['The AUC of'] * warns


def test_rows_without_weight_are_none():
    y = torch.arange(3000).remainder(3).float()
    weight = torch.where((y < 2) & (torch.arange(3000) < 150), 1.0, 0.0)
    with pytest.warns(UserWarning, match='AUC of 100 rows'):
        warn_if_chance(RankingHead(), 0.6, y, weight, 'rows')


def test_several_classes_have_the_error_of_each():
    y = torch.arange(90).remainder(3).float()
    error = chance_error((y == 0).float(), torch.ones(90))
    for area, warns in ((0.499 + 2 * error, True), (0.501 + 2 * error, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            warn_if_chance(MulticlassHead(3), area, y, None, 'rows')
        assert len(caught) == warns


@pytest.mark.parametrize('by', ['effect', 'edges'])
def test_a_model_that_knows_nothing_warns_of_its_interactions(by, table):
    model = GraphFM(table.info, 4, 4, num_layers=1)
    with pytest.warns(UserWarning, match='AUC of 3000 rows is 0.*max_epochs'):
        model.interactions(table, by=by, num_rows=8)


def test_no_labels_no_warning(table):
    blind = FieldTable(table.slot_index, table.slot_value, table.info)
    one = FieldTable(
        table.slot_index, table.slot_value, table.info, torch.ones(len(table))
    )
    model = FM(table.info, 4)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        model.interactions(blind, num_rows=8)
        model.interactions(one, num_rows=8)


def test_the_best_constant():
    """No other one has a lower loss, whatever the head knows of labels."""
    y = torch.tensor([0, 1, 1, 5]).double()
    weight = torch.tensor([1, 2, 1, 0.5]).double()
    for head in (RegressionHead(), PoissonHead()):
        head.adapt(torch.tensor([2.0, 6.0]))
        best = head.constant(y, weight)
        assert float(head.predict(best)) == pytest.approx(5.5 / 4.5)
        loss = head.loss(best.expand(4), y, weight)
        for step in (-0.01, 0.01):
            assert head.loss((best + step).expand(4), y, weight) > loss
    assert BinaryHead().constant(y) is None


def caught_of(head, out, y, weight=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        warn_if_constant(head, out, y, weight, 'rows')
    return [str(x.message) for x in caught]


def test_loss_next_to_that_of_the_mean():
    """By hand: gains of 1 and g have the mean (1 + g) / 2 and, of two rows,
    the standard error |1 - g| / sqrt(8).
    """
    y = torch.tensor([-1.0, 1.0])
    for gain, warns in ((0.1, True), (0.3, False)):
        out = torch.tensor([-1.0, 1 - math.sqrt(1 - gain)])
        found = caught_of(RegressionHead(), out, y)
        assert len(found) == warns
    text = caught_of(RegressionHead(), torch.tensor([-1.0, 3.0]), y)[0]
    assert 'The loss of 2 rows is 2, and 1 if all' in text
    assert 'standard error of 1.4)' in text
    # Rows that do not count are none:
    weight = torch.tensor([1.0, 1.0, 0.0])
    out, y = torch.tensor([-1.0, 0.05, 0.0]), torch.tensor([-1.0, 1.0, 99.0])
    assert 'of 2 rows' in caught_of(RegressionHead(), out, y, weight)[0]


@pytest.mark.parametrize('head', [RegressionHead(), PoissonHead()])
def test_noise_warns_and_signal_does_not(head):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=2000))
    y = torch.from_numpy(rng.poisson(np.exp(0.3 * x.numpy())))
    head.adapt(y)
    assert not caught_of(head, 0.3 * x, y.double())
    assert caught_of(head, 0.3 * x.flip(0), y.double())
    assert caught_of(head, 0 * x, y.double())


def test_noise_seldom_passes():
    """Of outputs that know nothing, one in forty."""
    torch.manual_seed(0)
    head, passed = RegressionHead(), 0
    for _ in range(1000):
        out, y = 0.05 * torch.randn(200), torch.randn(200)
        passed += not caught_of(head, out, y)
    assert passed / 1000 < 0.04


@pytest.mark.parametrize('head', ['regression', 'poisson'])
def test_a_model_of_numbers_warns_of_its_interactions(head, table):
    model = FM(table.info, 4, head=head)
    with pytest.warns(UserWarning, match='loss of 3000 rows is.*max_epochs'):
        model.interactions(table, num_rows=8)

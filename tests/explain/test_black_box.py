import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import ModelPerturbation


class Rows(ModelPerturbation):
    """Rows of numbers, zero where they are off."""

    def __init__(self, model, x, **kwargs):
        self.x = x
        super().__init__(model, **kwargs)

    def __len__(self):
        return len(self.x)

    def names(self, row):
        return [f'x{i}' for i in range(self.x.size(1))]

    def outputs(self, row, masks):
        return self.ask(self.x[row] * masks)


@pytest.fixture
def x():
    return torch.randn(3, 4)


@pytest.fixture
def masks():
    return torch.rand(9, 4) > 0.4


def ask(returned, masks, **kwargs):
    x = torch.zeros(1, 4)
    return Rows(lambda x: returned, x, **kwargs).logits(0, masks)


def test_probabilities_become_clipped_logits(masks):
    p = np.array([0.0, 1.0, 0.5, 0.2, 1e-9, 1e-7, 0.999, 0.7, 0.3])
    clipped = p.clip(1e-7, 1 - 1e-7)
    expected = np.log(clipped / (1 - clipped))
    for returned in (p, torch.tensor(p), p.reshape(-1, 1)):
        out = ask(returned, masks, output='probability')
        assert out.dtype == torch.float
        np.testing.assert_allclose(out, expected, rtol=1e-6)
    # In single precision, one minus 1e-7 is not exact:
    out = ask(np.ones(9, dtype=np.float32), masks, output='probability')
    np.testing.assert_allclose(out, expected[1], rtol=1e-6)


@pytest.mark.parametrize('target', [0, 2])
def test_logits_of_one_class_among_several(masks, target):
    z = torch.randn(9, 3, dtype=torch.double)
    p = z.softmax(dim=1)[:, target]
    expected = (p / (1 - p)).log().float()
    for output, returned in (
        ('logit', z),
        ('logit', z.log_softmax(dim=1)),
        ('probability', z.softmax(dim=1)),
    ):
        out = ask(returned, masks, output=output, target=target)
        torch.testing.assert_close(out, expected)
    out = ask(z, masks, output='value', target=target)
    torch.testing.assert_close(out, z[:, target].float())


def test_the_second_of_two_classes_is_the_default(masks):
    z = torch.randn(9, 2)
    expected = z[:, 1] - z[:, 0]
    torch.testing.assert_close(ask(z, masks, output='logit'), expected)
    out = ask(z.softmax(dim=1), masks, output='probability')
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)
    out = ask(z, masks, output='logit', target=0)
    torch.testing.assert_close(out, -expected)


def test_each_row_can_have_a_target(x, masks):
    model = torch.nn.Linear(4, 3)
    one = Rows(model, x, target=torch.tensor([2, 0, 1]))
    for row, target in enumerate([2, 0, 1]):
        expected = Rows(model, x, target=target).logits(row, masks)
        assert torch.equal(one.logits(row, masks), expected)
    with pytest.raises(ValueError, match='one for each of 3 rows'):
        Rows(model, x, target=[0, 1])


def test_estimators_are_asked_by_what_they_have(x, masks):
    inputs = np.random.default_rng(0).normal(size=(50, 4))
    y = inputs[:, 0] * inputs[:, 1] > 0
    copies = (x[1] * masks).numpy()
    model = LogisticRegression().fit(inputs, y)
    out = Rows(model, x).logits(1, masks)
    np.testing.assert_allclose(
        out, model.decision_function(copies), rtol=1e-5, atol=1e-6
    )
    model = LinearSVC().fit(inputs, y)
    out = Rows(model, x).logits(1, masks)
    np.testing.assert_allclose(out, model.decision_function(copies), rtol=1e-5)
    model = LinearRegression().fit(inputs, y)
    out = Rows(model, x, output='value').logits(1, masks)
    np.testing.assert_allclose(out, model.predict(copies), rtol=1e-5)
    with pytest.raises(ValueError, match=r"it has predict; .*output='value'"):
        Rows(model, x)


@pytest.mark.parametrize('batch_size', [1, 4, 100])
def test_batches_do_not_change_the_result(x, masks, batch_size):
    sizes = []

    def model(inputs):
        sizes.append(len(inputs))
        return inputs.sum(dim=1)

    rows = Rows(model, x, output='logit', batch_size=batch_size)
    torch.testing.assert_close(rows.logits(2, masks), (x[2] * masks).sum(1))
    assert max(sizes) == min(batch_size, 9)
    assert sum(sizes) == 9


def test_modules_are_evaluated_and_left_as_they_were(x, masks):
    frozen = torch.nn.BatchNorm1d(4).eval()
    dropout = torch.nn.Dropout(0.5)
    model = torch.nn.Sequential(frozen, dropout, torch.nn.Linear(4, 1))
    model.training = True
    seen = []
    dropout.register_forward_hook(
        lambda *args: seen.append((dropout.training, torch.is_grad_enabled()))
    )
    rows = Rows(model, x)
    one, two = rows.logits(0, masks), rows.logits(0, masks)
    assert torch.equal(one, two)
    assert not one.requires_grad
    assert seen == [(False, False)] * 2
    assert [m.training for m in model] == [False, True, True]
    assert model.training

    def fail(*args):
        raise RuntimeError('no')

    dropout.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match='no'):
        rows.logits(0, masks)
    assert [m.training for m in model] == [False, True, True]


def test_errors(x, masks):
    with pytest.raises(ValueError, match='What does the black box return'):
        ask(torch.zeros(9), masks)
    with pytest.raises(ValueError, match="'output' must be one of"):
        ask(torch.zeros(9), masks, output='score')
    with pytest.raises(ValueError, match="'batch_size' must be positive"):
        ask(torch.zeros(9), masks, output='logit', batch_size=0)
    with pytest.raises(ValueError, match='int cannot be asked'):
        Rows(3, x)
    with pytest.raises(DataError, match='are no probabilities'):
        ask(torch.full((9,), 1.5), masks, output='probability')
    with pytest.raises(DataError, match="not its 'predict'"):
        ask(torch.ones(9, dtype=torch.long), masks, output='probability')
    with pytest.raises(DataError, match=r'got shape \[9, 2, 2\]'):
        ask(torch.zeros(9, 2, 2), masks, output='logit')
    with pytest.raises(ValueError, match='has 3 outputs'):
        ask(torch.zeros(9, 3), masks, output='logit')
    with pytest.raises(ValueError, match='has 3 outputs'):
        ask(torch.zeros(9, 3), masks, output='logit', target=3)
    with pytest.raises(ValueError, match='has 2 outputs'):
        ask(torch.zeros(9, 2), masks, output='value')
    with pytest.raises(ValueError, match="no 'target' to choose"):
        ask(torch.zeros(9), masks, output='logit', target=1)
    rows = Rows(lambda x: x, x, output='logit')
    with pytest.raises(ValueError, match='no row 3'):
        rows.logits(3, masks)
    with pytest.raises(ValueError, match=r'must be \[num_samples, 4\]'):
        rows.logits(0, masks[:, :3])

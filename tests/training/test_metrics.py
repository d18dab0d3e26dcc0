import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from pyg_featgraph.nn.areas import auc as auc_of
from pyg_featgraph.nn.areas import concordance, mean_auc
from pyg_featgraph.training.metrics import (
    ExactFigure,
    ExactMean,
)


def auc(scores, labels, num_batches=3):
    metric = ExactFigure(auc_of)
    for s, y in zip(
        scores.tensor_split(num_batches),
        labels.tensor_split(num_batches),
        strict=True,
    ):
        metric.update(s, y)
    return metric.compute()


@pytest.mark.parametrize('digits', [0, 1, 8])
def test_auc_is_exact(digits):
    """Also with ties: to the last digit of double precision."""
    torch.manual_seed(digits)
    scores = torch.randn(20_000, dtype=torch.double).round(decimals=digits)
    labels = (torch.rand(20_000) < scores.sigmoid()).float()
    out = auc(scores, labels)
    assert out.dtype == torch.double
    expected = roc_auc_score(labels.numpy(), scores.numpy())
    assert abs(float(out) - expected) < 1e-14


def test_auc_of_scores_that_single_precision_cannot_tell_apart():
    scores = 30 + torch.arange(100, dtype=torch.double) * 1e-9
    labels = (torch.arange(100) >= 50).float()
    assert float(auc(scores, labels)) == 1
    assert float(auc(-scores, labels)) == 0
    # Single precision has one value left:
    assert float(auc(scores.float(), labels)) == 0.5


def test_auc_against_pairs():
    torch.manual_seed(0)
    for _ in range(20):
        scores = torch.randint(0, 6, (40,)).float()
        labels = torch.randint(0, 2, (40,)).float()
        higher, lower = scores[labels == 1], scores[labels == 0]
        order = higher.unsqueeze(1) - lower
        expected = ((order > 0).double() + 0.5 * (order == 0)).mean()
        assert float(auc(scores, labels, 1)) == pytest.approx(float(expected))


def test_auc_of_one_class():
    for labels in (torch.ones(5), torch.zeros(5)):
        with pytest.warns(UserWarning, match='single class'):
            assert auc(torch.randn(5), labels).isnan()


@pytest.mark.parametrize('num_labels', [2, 3, 50, 1000])
@pytest.mark.parametrize('num_scores', [1, 3, 1000])
def test_concordance_against_pairs(num_labels, num_scores):
    torch.manual_seed(0)
    for num_rows in (2, 3, 7, 40, 129):
        y = torch.randint(0, num_labels, (num_rows,)).double()
        y[:2] = torch.tensor([0.0, 1.0])
        s = torch.randint(0, num_scores, (num_rows,)).double()
        w = torch.rand(num_rows).double()
        pairs = (y.unsqueeze(1) > y) * w.unsqueeze(1) * w
        order = s.unsqueeze(1) - s
        right = (order > 0).double() + 0.5 * (order == 0)
        expected = float((right * pairs).sum() / pairs.sum())
        assert float(concordance(s, y, w)) == pytest.approx(expected)
        if num_labels == 2:
            assert float(auc_of(s, y, w)) == pytest.approx(expected)


def test_mean_auc_leaves_out_classes_without_rows():
    torch.manual_seed(0)
    scores, y = torch.rand(60, 4).double(), torch.randint(0, 3, (60,)).double()
    expected = np.mean([roc_auc_score(y == c, scores[:, c]) for c in range(3)])
    out = mean_auc(scores, y, torch.ones(60).double())
    assert float(out) == pytest.approx(expected)


def test_mean_is_one_over_rows():
    values = np.random.default_rng(0).random(1000)
    mean = ExactMean()
    for part in np.array_split(values, 7):
        mean.update(torch.tensor(part.mean()), len(part))
    assert float(mean.compute()) == pytest.approx(values.mean(), rel=1e-14)


def test_figures_of_a_training_are_exact(table, tmp_path):
    from fit_parts import make, train

    parts = table.split([0.4, 0.3, 0.3])
    model = make(parts[0].info)
    result = train(model, parts, tmp_path, lr=0.01)
    for name, part in (('valid', parts[1]), ('test', parts[2])):
        logits = model.eval()(part.batch()).detach().double()
        y, p = part.y.numpy(), logits.sigmoid().numpy()
        # Batches of other sizes may round logits, but not order them, anew:
        assert result.metrics[f'{name}_auc'] == pytest.approx(
            roc_auc_score(y, logits.numpy()), abs=1e-6
        )
        assert result.metrics[f'{name}_loss'] == pytest.approx(
            log_loss(y, p), rel=1e-6
        )
        num_pairs = int(y.sum() * (1 - y).sum())
        halves = result.metrics[f'{name}_auc'] * 2 * num_pairs
        assert halves == pytest.approx(round(halves), abs=1e-6)

import math

import pytest
import torch
from fit_parts import assert_same, make, train, watched
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.nn import AIM, LR
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import predict


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def rates(parts, path, **options):
    options = {'lr': 0.08, 'early_stopping': False, **options}
    _, watch = watched(parts, path, **options)
    return [x[0] for x in watch.rates]


def test_cosine(parts, tmp_path):
    """Of 21 steps; linear before, if there is a warm-up."""
    expected = [0.04 * (1 + math.cos(math.pi * k / 21)) for k in range(21)]
    assert rates(parts, tmp_path, scheduler='cosine') == pytest.approx(expected)
    rises = [0.02, 0.04, 0.06]
    falls = [0.04 * (1 + math.cos(math.pi * k / 18)) for k in range(18)]
    for warmup in (3, 0.15):
        out = rates(parts, tmp_path, scheduler='cosine', warmup=warmup)
        assert out == pytest.approx([*rises, *falls])


def test_warm_up_alone(parts, tmp_path):
    for warmup in (3, 0.15):
        out = rates(parts, tmp_path, warmup=warmup)
        assert out == pytest.approx([0.02, 0.04, 0.06, *[0.08] * 18])
    with pytest.raises(ValueError, match="'warmup' goes before"):
        rates(parts, tmp_path, warmup=3, scheduler='StepLR')


def test_all_groups_fall_alike(parts, tmp_path):
    _, watch = watched(
        parts, tmp_path, AIM(parts[0].info, 4), scheduler='cosine', lr=0.01
    )
    first, last = watch.rates[0], watch.rates[-1]
    assert sorted(first) == pytest.approx(
        [0.01, 1.5 / parts[0].info.num_fields]
    )
    ratio = 0.5 * (1 + math.cos(math.pi * 20 / 21))
    assert last == pytest.approx([ratio * x for x in first])


def test_cosine_needs_an_end(parts, tmp_path):
    options = {'max_epochs': -1, 'max_time': {'seconds': 1}}
    for wrong in ({'scheduler': 'cosine'}, {'warmup': 0.1}):
        with pytest.raises(ValueError, match='number of steps'):
            rates(parts, tmp_path, **wrong, **options)


class Weights(Callback):
    """Keeps the weights of the model after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, *args):
        self.seen.append(module.model.linear.table.weight.detach().clone())


@pytest.mark.parametrize('decay', [0.0, 0.3, 0.9])
def test_average_of_weights(decay, parts, tmp_path):
    """By hand, from the weights of all steps; figures are its figures."""
    weights, model = Weights(), LR(parts[0].info)
    result = train(
        model,
        parts,
        tmp_path,
        ema_decay=decay,
        early_stopping=False,
        callbacks=[weights],
    )
    average = weights.seen[0]
    for t, weight in enumerate(weights.seen[1:], 1):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight
    assert len(weights.seen) == 21
    torch.testing.assert_close(model.linear.table.weight.detach(), average)
    if decay:
        assert not torch.allclose(average, weights.seen[-1], rtol=0.01)
    for part, name in zip(parts[1:], ('valid', 'test'), strict=True):
        loss = torch.nn.functional.binary_cross_entropy(
            predict(model, part), part.y
        )
        assert result.metrics[f'{name}_loss'] == pytest.approx(loss.item())


def test_best_epoch_of_an_average(parts, tmp_path):
    """Not the last average, and not the weights of the best epoch."""
    for lr in (0.2, 0.3, 0.1, 0.4):
        model = make(parts[0].info)
        result, watch = watched(
            parts,
            tmp_path,
            model,
            ema_decay=0.5,
            lr=lr,
            patience=99,
            max_epochs=4,
        )
        scores = [float(x['valid_loss']) for x in watch.scores]
        if min(scores) < scores[-1]:
            break
    assert min(scores) < scores[-1]
    assert result.metrics['valid_loss'] == pytest.approx(min(scores), abs=1e-6)
    loss = torch.nn.functional.binary_cross_entropy(
        predict(model, parts[1]), parts[1].y
    )
    assert loss.item() == pytest.approx(min(scores), abs=1e-6)
    # It does not change how the weights move:
    plain, watch = watched(parts, tmp_path, lr=lr, patience=99, max_epochs=4)
    assert plain.metrics != result.metrics
    again = make(parts[0].info)
    options = {'resume': True, 'lr': lr, 'patience': 99, 'max_epochs': 4}
    assert_same(plain, train(again, parts, tmp_path, **options), again, again)


def test_integer_buffers_are_copied(parts, tmp_path):
    """AIM counts batches and keeps running statistics."""
    model = AIM(parts[0].info, 4)
    train(model, parts, tmp_path, ema_decay=0.9, early_stopping=False)
    counts = [
        value
        for name, value in model.named_buffers()
        if name.endswith('num_batches_tracked')
    ]
    assert counts
    assert all(int(x) == 21 for x in counts)


def test_a_search_has_no_average(parts, tmp_path):
    from pyg_featgraph.nn import FIVES

    with pytest.raises(ValueError, match="'ema_decay' belongs into"):
        fives_search(
            FIVES(parts[0].info, 4, 2),
            *parts,
            directory=tmp_path,
            ema_decay=0.9,
        )

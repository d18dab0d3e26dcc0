import json

import pytest
import torch
import torchmetrics
from fit_parts import assert_same, make, train, watched

from pyg_featgraph.nn import (
    FM,
    FeatNet,
)
from pyg_featgraph.training import (
    TrainingOptions,
    fit,
    predict,
)
from pyg_featgraph.training.defaults import default_epochs


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def test_options_are_one_object(parts, tmp_path):
    """It may be handed over, changed by name, and is written down."""
    options = TrainingOptions(lr=0.02, batch_size=128, seed=3)
    models = [make(parts[0].info) for _ in range(3)]
    quiet = {'enable_progress_bar': False, 'max_epochs': 2}
    results = [
        fit(model, *parts, directory=tmp_path / str(k), **quiet, **chosen)
        for k, (model, chosen) in enumerate(
            zip(
                models,
                (
                    {'options': options},
                    {'lr': 0.02, 'batch_size': 128, 'seed': 3},
                    {'options': TrainingOptions(lr=0.02, seed=3)},
                ),
                strict=True,
            )
        )
    ]
    assert_same(*results[:2], *models[:2])
    assert results[2].metrics != results[0].metrics
    record = json.loads((tmp_path / '1' / 'run.json').read_text())
    written = record['fingerprint']
    resolved = options.for_rows(len(parts[0])).for_model(models[0])
    for name, value in resolved.to_dict().items():
        assert written[name] == value
    assert written['max_epochs'] == 2
    assert record['result']['metrics'] == results[1].metrics
    with pytest.raises(AttributeError):
        options.lr = 1.0


WRONG = [
    {'batch_size': 0},
    {'lr': -1.0},
    {'linear_scale': -1.0},
    {'embedding_l2': -1.0},
    {'ema_decay': 1.0},
    {'warmup': -1.0},
    {'weight_decay': -0.1},
    {'architecture_lr': -1.0},
    {'mode': 'best'},
    {'patience': 0},
    {'scheduler_interval': 'week'},
    {'save_steps': 0},
    {'save_seconds': -1.0},
    {'optimizer': 'Adamant'},
    {'scheduler': 'Never'},
    {'enable_checkpointing': False},
    {'barebones': True},
    {'overfit_batches': 2},
]


@pytest.mark.parametrize('options', WRONG, ids=lambda x: next(iter(x)))
def test_wrong_options(options, parts, tmp_path):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        train(make(parts[0].info), parts, tmp_path, **options)
    with pytest.raises(TypeError, match='no_option'):
        train(make(parts[0].info), parts, tmp_path, no_option=1)


def test_batch_size_follows_the_rows(parts, tmp_path):
    options = TrainingOptions()
    sizes = {50: 32, 6400: 64, 12_000: 64, 12_800: 128, 10**8: 1024}
    for num_rows, size in sizes.items():
        assert options.for_rows(num_rows).batch_size == size
    told = TrainingOptions(batch_size=7)
    assert told.for_rows(12_000).batch_size == 7
    _, watch = watched(parts, tmp_path, batch_size=None, max_epochs=1)
    # 840 rows, 32 at a time:
    assert len(watch.steps) == 27
    record = json.loads((tmp_path / 'run.json').read_text())
    assert record['fingerprint']['batch_size'] == 32


def test_patience_and_epochs_follow_the_steps(parts, tmp_path):
    """A small table has short epochs, and gets more of them."""
    # Rows, and how many of the batches that fit them an epoch has:
    steps = {64: 2, 960: 30, 3200: 100, 12_799: 200, 38_400: 150, 10**7: 9766}
    patience = [20, 14, 4, 2, 3, 2]
    epochs = [200, 134, 40, 20, 27, 20]
    for k, (num_rows, number) in enumerate(steps.items()):
        options = TrainingOptions().for_rows(num_rows)
        size = options.batch_size
        assert -(-num_rows // size) == number
        assert options.patience == patience[k]
        assert default_epochs(num_rows, size) == epochs[k]
    assert TrainingOptions(batch_size=1024).for_rows(38_400).patience == 11
    assert TrainingOptions(patience=7).for_rows(38_400).patience == 7
    assert TrainingOptions(early_stopping=False).for_rows(9).patience is None
    # 840 rows, 8 at a time, are 105 steps:
    options = {'batch_size': 8, 'max_epochs': None}
    result, _ = watched(parts, tmp_path, lr=0.0, **options)
    assert result.num_epochs == 1 + 4
    written = json.loads((tmp_path / 'run.json').read_text())['fingerprint']
    assert (written['patience'], written['max_epochs']) == (4, 39)
    options |= {'limit_train_batches': 1, 'limit_val_batches': 1}
    result, _ = watched(parts, tmp_path, early_stopping=False, **options)
    assert result.num_epochs == 39
    written = json.loads((tmp_path / 'run.json').read_text())['fingerprint']
    assert (written['patience'], written['early_stopping']) == (None, False)


def test_patience_without_early_stopping():
    with pytest.raises(ValueError, match=r'all epochs are run: .*got 3'):
        TrainingOptions(early_stopping=False, patience=3)


def test_schedules(parts, tmp_path):
    options = {'scheduler': 'StepLR', 'lr': 0.08, 'patience': 9}
    for interval, factors in (
        ('epoch', [1] * 7 + [0.5] * 7 + [0.25] * 7),
        ('step', [0.5**k for k in range(21)]),
    ):
        _, watch = watched(
            parts,
            tmp_path,
            scheduler_options={'step_size': 1, 'gamma': 0.5},
            scheduler_interval=interval,
            **options,
        )
        assert watch.rates == [[pytest.approx(0.08 * x)] for x in factors]


def test_schedule_of_sparse_and_dense_tables(parts, tmp_path):
    scale = 150 / parts[0].info.num_fields
    model = FM(parts[0].info, 4, sparse=True)
    _, watch = watched(
        parts,
        tmp_path,
        model,
        scheduler='StepLR',
        scheduler_options={'step_size': 1, 'gamma': 0.5},
        lr=0.08,
        max_epochs=2,
    )
    assert watch.rates == [
        pytest.approx([scale * x, 10 * scale * x, 10 * x])
        for x in [0.08] * 7 + [0.04] * 7
    ]
    assert [x.param_groups[0]['lr'] for x in watch.trainer.optimizers[0].parts]


def test_a_schedule_that_looks_at_the_monitor(parts, tmp_path):
    _, watch = watched(
        parts,
        tmp_path,
        scheduler='ReduceLROnPlateau',
        # No better is good enough:
        scheduler_options={'patience': 0, 'factor': 0.5, 'threshold': 9.0},
        lr=0.08,
        patience=9,
        monitor='valid_auc',
        max_epochs=4,
    )
    # The first epoch sets the mark, and what is best is up to the monitor:
    rates = [0.08, 0.08, 0.04, 0.02]
    assert watch.rates[::7] == [[pytest.approx(x)] for x in rates]
    assert watch.trainer.lr_scheduler_configs[0].scheduler.mode == 'max'


def test_loss(parts, tmp_path):
    def doubled(logits, y):
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        return 2 * loss(logits, y)

    models = [make(parts[0].info) for _ in range(2)]
    one = train(models[0], parts, tmp_path, optimizer='SGD', lr=0.1)
    # Twice the loss, with its penalty, at half the rate:
    two = train(
        models[1],
        parts,
        tmp_path,
        optimizer='SGD',
        lr=0.05,
        loss=doubled,
        embedding_l2=2.0,
    )
    for name in ('valid_loss', 'test_loss'):
        assert two.metrics[name] == pytest.approx(2 * one.metrics[name])
    for name in ('valid_auc', 'test_auc'):
        assert two.metrics[name] == pytest.approx(one.metrics[name])


def test_metrics(parts, tmp_path):
    model = make(parts[0].info)
    metrics = {
        'accuracy': torchmetrics.classification.BinaryAccuracy(),
        'ap': torchmetrics.classification.BinaryAveragePrecision(),
    }
    result, watch = watched(
        parts,
        tmp_path,
        model,
        metrics=metrics,
        monitor='valid_accuracy',
        lr=0.05,
        patience=9,
        max_epochs=6,
    )
    scores = [float(x['valid_accuracy']) for x in watch.scores]
    assert result.metrics['valid_accuracy'] == pytest.approx(max(scores))
    assert len(set(scores)) > 1
    for name, part in (('valid', parts[1]), ('test', parts[2])):
        right = (predict(model, part) > 0.5) == part.y.bool()
        assert result.metrics[f'{name}_accuracy'] == pytest.approx(
            right.double().mean().item()
        )
        assert 0 < result.metrics[f'{name}_ap'] < 1
    # They are left as they were given:
    assert metrics['accuracy']._update_count == 0


@pytest.mark.parametrize('monitor', ['valid_loss', 'valid_auc'])
@pytest.mark.parametrize('mode', [None, 'min', 'max'])
def test_the_best_epoch_decides(monitor, mode, parts, tmp_path):
    """By whichever sign; figures go up and down at a rate that is high."""
    for lr in (0.2, 0.3, 0.1, 0.4):
        result, watch = watched(
            parts,
            tmp_path / str(lr),
            monitor=monitor,
            mode=mode,
            lr=lr,
            patience=99,
            max_epochs=4,
        )
        scores = [float(x[monitor]) for x in watch.scores]
        if min(scores) < scores[-1] < max(scores):
            break
    goes_down = mode == 'min' if mode else monitor == 'valid_loss'
    best = min(scores) if goes_down else max(scores)
    assert min(scores) < scores[-1] < max(scores), scores
    assert result.metrics[monitor] == pytest.approx(best, abs=1e-6)
    state = torch.load(result.checkpoint, weights_only=True)
    assert state['epoch'] == scores.index(best)


@pytest.mark.parametrize('patience', [1, 3])
def test_patience(patience, parts, tmp_path):
    options = {'lr': 0.0, 'patience': patience, 'max_epochs': 9}
    result, _ = watched(parts, tmp_path, **options)
    assert result.num_epochs == 1 + patience
    options |= {'patience': None, 'early_stopping': False}
    result, _ = watched(parts, tmp_path, **options)
    assert result.num_epochs == 9
    assert result.checkpoint == tmp_path / 'last.ckpt'


def test_seed(parts, tmp_path):
    models = [make(parts[0].info) for _ in range(3)]
    results = [
        train(model, parts, tmp_path, seed=seed)
        for model, seed in zip(models, (1, 1, 2), strict=True)
    ]
    assert_same(*results[:2], *models[:2])
    assert results[2].metrics != results[0].metrics


def test_architecture_lr(parts, tmp_path):
    """Edges are learned at a rate of their own, on other rows."""
    moved = []
    for rate in (0.0, 0.1):
        torch.manual_seed(0)
        model = FeatNet(parts[0].info, 4)
        start = [x.clone() for x in model.architecture_parameters()]
        train(model, parts, tmp_path, architecture_lr=rate, max_epochs=1)
        moved.append(
            any(
                not torch.equal(x, y)
                for x, y in zip(
                    model.architecture_parameters(), start, strict=True
                )
            )
        )
    assert moved == [False, True]

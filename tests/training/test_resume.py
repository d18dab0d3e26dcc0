import random
import shutil

import numpy as np
import pytest
import torch
from fit_parts import Crash, CrashAt, SignalAt, assert_same, make, train
from lightning.pytorch.callbacks import Callback

import pyg_featgraph
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import AIM, FM, LR, FeatNet


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def test_it_goes_on_exactly_where_it_stopped(parts, tmp_path):
    """At each step, with dropout: seven steps an epoch, three epochs."""
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole')
    for step in range(1, 22):
        other = make(parts[0].info)
        path = tmp_path / str(step)
        with pytest.raises(SystemExit) as stop:
            train(other, parts, path, callbacks=[SignalAt(step)])
        assert stop.value.code == 143
        assert (path / 'last.ckpt').exists()
        other = make(parts[0].info)
        torch.manual_seed(step)
        result = train(other, parts, path, resume=True)
        assert_same(whole, result, model, other)


OPTIONS = {
    'max_steps': {'max_steps': 17, 'max_epochs': None},
    'accumulation': {'accumulate_grad_batches': 3},
    'clipping': {'gradient_clip_val': 0.1},
    'several validations': {'val_check_interval': 3},
    'rare validation': {'check_val_every_n_epoch': 2},
    'few batches': {'limit_train_batches': 4},
    'few batches and steps': {
        'limit_train_batches': 4,
        'max_steps': 9,
        'max_epochs': None,
    },
    'schedule': {
        'scheduler': 'OneCycleLR',
        'scheduler_options': {'max_lr': 0.05, 'total_steps': 21},
        'scheduler_interval': 'step',
    },
    'cosine': {'scheduler': 'cosine', 'warmup': 0.2, 'lr': 0.05},
    'average': {'ema_decay': 0.8, 'lr': 0.05},
    'last average': {'ema_decay': 0.8, 'lr': 0.05, 'early_stopping': False},
    'plateau': {'scheduler': 'ReduceLROnPlateau', 'lr': 0.3},
    'patience': {'lr': 0.0, 'patience': 1},
    'all epochs': {'early_stopping': False},
    'bf16': {'precision': 'bf16-mixed'},
}


@pytest.mark.parametrize('name', OPTIONS)
def test_it_goes_on_under_other_options(name, parts, tmp_path):
    options = OPTIONS[name]
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole', **options)
    for step in (2, 7, 9, 16):
        path = tmp_path / str(step)
        for callbacks in ([SignalAt(step)], []):
            other = make(parts[0].info)
            try:
                result = train(
                    other,
                    parts,
                    path,
                    resume=True,
                    callbacks=callbacks,
                    **options,
                )
            except SystemExit:
                assert callbacks
        assert_same(whole, result, model, other)


class Count(Callback):
    """Counts validations."""

    def __init__(self):
        self.steps = []

    def on_validation_start(self, trainer, *args):
        self.steps.append(trainer.global_step)


@pytest.mark.parametrize('step', [2, 3, 6, 7, 10])
def test_no_validation_is_left_out(step, parts, tmp_path):
    options = {'val_check_interval': 3, 'max_epochs': 2}
    whole, counts = Count(), Count()
    train(make(parts[0].info), parts, tmp_path, callbacks=[whole], **options)
    callbacks = [SignalAt(step), counts]
    with pytest.raises(SystemExit):
        train(
            make(parts[0].info), parts, tmp_path, callbacks=callbacks, **options
        )
    callbacks = [counts]
    options['resume'] = True
    train(make(parts[0].info), parts, tmp_path, callbacks=callbacks, **options)
    assert counts.steps == whole.steps
    assert whole.steps[:4] == [3, 6, 10, 13]


@pytest.mark.parametrize(
    'make_model',
    [
        lambda info: FM(info, 4, sparse=True),
        lambda info: AIM(info, 4),
        lambda info: FeatNet(info, 4, dropout=0.2),
    ],
    ids=['sparse', 'AIM', 'FeatNet'],
)
@pytest.mark.parametrize('architecture_lr', [None, 0.01])
def test_other_models_go_on(make_model, architecture_lr, parts, tmp_path):
    def new():
        torch.manual_seed(2)
        return make_model(parts[0].info)

    model = new()
    options = {'architecture_lr': architecture_lr, 'max_epochs': 2}
    if architecture_lr and not model.architecture_parameters():
        with pytest.raises(ValueError, match='no architecture parameters'):
            train(model, parts, tmp_path, **options)
        return
    whole = train(model, parts, tmp_path / 'whole', **options)
    for step in (3, 7, 10):
        other, path = new(), tmp_path / str(step)
        with pytest.raises(SystemExit):
            train(other, parts, path, callbacks=[SignalAt(step)], **options)
        other = new()
        result = train(other, parts, path, resume=True, **options)
        assert_same(whole, result, model, other)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_loaders_with_workers(num_workers, parts, tmp_path):
    """Workers draw ahead, and resume with the right epoch all the same."""
    from pyg_featgraph.training import FieldDataModule, FieldModule
    from pyg_featgraph.training.loop import run
    from pyg_featgraph.training.options import TrainingOptions

    def go(path, **options):
        model = make(parts[0].info)
        data = FieldDataModule(*parts, batch_size=128, num_workers=num_workers)
        module = FieldModule(model, TrainingOptions(patience=9))
        options = {'enable_progress_bar': False, 'max_epochs': 2, **options}
        return run(module, data, directory=path, **options), model

    whole = go(tmp_path / 'whole')
    for step in (4, 7, 11):
        path = tmp_path / str(step)
        with pytest.raises(SystemExit):
            go(path, callbacks=[SignalAt(step)])
        result = go(path, resume=True)
        assert_same(whole[0], result[0], whole[1], result[1])


def test_saved_after_steps(parts, tmp_path):
    """A training that is killed goes on from the last save."""
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole')
    path, seen = tmp_path / 'other', []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, *args):
            seen.append(trainer.global_step)

    options = {'save_steps': 4, 'callbacks': [CrashAt(20)]}
    with pytest.raises(Crash):
        train(make(parts[0].info), parts, path, **options)
    other = make(parts[0].info)
    # How often a state is saved may change:
    options = {'save_steps': None, 'callbacks': [Watch()]}
    result = train(other, parts, path, resume=True, **options)
    assert seen == list(range(16, 21))
    assert_same(whole, result, model, other)


def test_saved_after_seconds(parts, tmp_path):
    for seconds, num_steps in ((0.0, 5), (None, 0), (300.0, 0)):
        path = tmp_path / str(seconds)
        options = {'save_seconds': seconds, 'callbacks': [CrashAt(6)]}
        with pytest.raises(Crash):
            train(make(parts[0].info), parts, path, **options)
        assert (path / 'last.ckpt').exists() == (num_steps > 0)
        if num_steps:
            state = torch.load(path / 'last.ckpt', weights_only=True)
            assert state['global_step'] == num_steps


def test_a_run_that_has_ended_returns_its_result(parts, tmp_path):
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path, lr=0.1)
    other = make(parts[0].info, num_layers=1)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())

    class Never(Callback):
        def setup(self, *args, **kwargs):
            raise AssertionError

    options = {'lr': 0.1, 'resume': True, 'callbacks': [Never()]}
    result = train(other, parts, tmp_path, **options)
    assert_same(whole, result, model, other)
    assert result == whole
    after = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.iterdir())
    changed = {x[0] for x in set(before) ^ set(after)}
    assert changed <= {'run.lock'}


def test_stopped_between_early_stop_and_result(parts, tmp_path):
    """It does not train one epoch more with each call."""
    options = {'lr': 0.0, 'patience': 1, 'max_epochs': 9}
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole', **options)
    assert whole.num_epochs == 2

    class CrashAfter(Callback):
        def on_fit_end(self, *args):
            raise Crash

    for callbacks in ([CrashAfter()], [CrashAfter()], []):
        other = make(parts[0].info)
        try:
            result = train(
                other,
                parts,
                tmp_path / 'other',
                resume=True,
                callbacks=callbacks,
                **options,
            )
        except Crash:
            assert callbacks
    assert_same(whole, result, model, other)


CHANGED = {
    'lr': 0.5,
    'linear_scale': 2.0,
    'weight_decay': 0.1,
    'embedding_l2': 0.1,
    'warmup': 2,
    'ema_decay': 0.5,
    'batch_size': 64,
    'seed': 1,
    'monitor': 'valid_auc',
    'mode': 'max',
    'patience': 3,
    'optimizer': torch.optim.SGD,
    'optimizer_options': {'eps': 1e-4},
    'scheduler': 'ConstantLR',
    'loss': torch.nn.functional.soft_margin_loss,
    'max_epochs': 4,
    'max_steps': 5,
    'precision': 'bf16-mixed',
    'gradient_clip_val': 1.0,
    'accumulate_grad_batches': 2,
}


@pytest.mark.parametrize('name', CHANGED)
def test_it_goes_on_with_the_same_options_only(name, parts, tmp_path):
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(3)])
    record = (tmp_path / 'run.json').read_text()
    options = {name: CHANGED[name]}
    with pytest.raises(DataError, match=f"'{name}' has changed"):
        train(make(parts[0].info), parts, tmp_path, resume=True, **options)
    assert (tmp_path / 'run.json').read_text() == record
    assert (tmp_path / 'last.ckpt').exists()


def test_it_goes_on_with_the_same_data_and_model_only(parts, tmp_path):
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(3)])

    def assert_refused(what, model=None, **tables):
        tables = {
            'train': parts[0],
            'valid': parts[1],
            'test': parts[2],
        } | tables
        model = model or make(parts[0].info)
        with pytest.raises(DataError, match=f"'{what}' has changed"):
            train(model, tables.values(), tmp_path, resume=True)

    def changed(table, name, row=3):
        out = table.subset(slice(None))
        value = getattr(out, name).clone()
        value[row] = 1 - value[row] if name == 'y' else value[row] + 1
        setattr(out, name, value)
        return out

    # The same rows in another order, and one cell, value or label changed:
    order = torch.arange(len(parts[0])).flip(0)
    assert_refused('training rows', train=parts[0].subset(order))
    for name in ('slot_index', 'slot_value', 'y'):
        assert_refused('training rows', train=changed(parts[0], name))
        assert_refused('validation rows', valid=changed(parts[1], name))
        assert_refused('test rows', test=changed(parts[2], name))
    absent = parts[0].subset(slice(None))
    absent.drop_absent = True
    assert_refused('drop_absent', train=absent)
    assert_refused('config', make(parts[0].info, dropout=0.2))
    with pytest.raises(DataError, match="'model' has changed"):
        train(LR(parts[0].info), parts, tmp_path, resume=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyg_featgraph, '__version__', '99')
        assert_refused('version')


def test_new_run_never_reads_the_old_one(parts, tmp_path):
    train(make(parts[0].info), parts, tmp_path, lr=0.1, seed=4)
    # Before anything of its own is saved:
    callbacks = [CrashAt(2)]
    with pytest.raises(Crash):
        train(make(parts[0].info), parts, tmp_path, callbacks=callbacks)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {'run.json', 'run.lock'}
    other = make(parts[0].info)
    result = train(other, parts, tmp_path, resume=True)
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole')
    assert_same(whole, result, model, other)


@pytest.mark.parametrize('how', ['copied', 'moved'])
def test_directory_may_move(how, parts, tmp_path):
    """The best epoch is that of the run itself, wherever it is."""
    for lr in (0.3, 0.2, 0.4, 0.5):
        options = {'lr': lr, 'patience': 9, 'max_epochs': 4}
        model = make(parts[0].info)
        whole = train(model, parts, tmp_path / f'whole-{lr}', **options)
        state = torch.load(whole.checkpoint, weights_only=True)
        if state['epoch'] < 3:
            break
    assert state['epoch'] < 3  # An earlier epoch was better.
    old, new = tmp_path / 'old', tmp_path / 'new'
    callbacks = [SignalAt(25)]
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, old, callbacks=callbacks, **options)
    if how == 'moved':
        old.rename(new)
    else:
        shutil.copytree(old, new)
        # What becomes of the original does not matter:
        train(make(parts[0].info), parts, old, lr=0.01)
    other = make(parts[0].info)
    result = train(other, parts, new, resume=True, **options)
    assert_same(whole, result, model, other)
    assert result.checkpoint == new / 'best.ckpt'


def test_generators_of_the_caller_stay(parts, tmp_path):
    def seed_all():
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002
        random.seed(7)

    def draw():
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    seed_all()
    expected = draw()
    model = make(parts[0].info)
    seed_all()
    train(model, parts, tmp_path)
    assert draw() == expected

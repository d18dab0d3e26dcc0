import json
import os
import signal

import pytest
import torch
from aim_parts import (
    SHORT,
    STAGES,
    assert_same,
    make,
    planted,
    stage_of,
)
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.errors import DataError
from pyg_featgraph.search import Search, aim_search
from pyg_featgraph.training.module import FieldModule


@pytest.fixture(scope='module')
def parts():
    return planted('ab', 'abc', num_rows=1000)


class Stop(Exception):
    pass


def stop_within(patch, stage, epoch):
    """Ends the search behind the first step of the given epoch."""

    def hook(module, *args):
        trainer = module.trainer
        if stage_of(trainer) == stage and trainer.current_epoch == epoch:
            raise Stop

    patch.setattr(FieldModule, 'on_train_batch_end', hook)


def stop_before(patch, stage):
    """Ends the search where the given stage would begin."""
    original = Search._run

    def wrapped(self, name, *args, **kwargs):
        if name == stage:
            raise Stop
        return original(self, name, *args, **kwargs)

    patch.setattr(Search, '_run', wrapped)


RESUME = {
    'max_order': 3,
    'hidden_channels': [4],
    'retrain_options': {'patience': 5},
    **SHORT,
}


@pytest.fixture(scope='module')
def uninterrupted(parts, tmp_path_factory):
    return {
        retrain: aim_search(
            make(parts),
            *parts,
            directory=tmp_path_factory.mktemp(retrain),
            retrain=retrain,
            **RESUME,
        )
        for retrain in ('scratch', 'finetune')
    }


@pytest.mark.parametrize(
    ('stage', 'retrain'),
    [
        ('order-3', 'scratch'),
        ('dimensions', 'finetune'),
        ('retrain', 'scratch'),
        ('retrain', 'finetune'),
    ],
)
def test_resumed_between_stages(stage, retrain, parts, uninterrupted, tmp_path):
    options = {'directory': tmp_path, 'retrain': retrain, **RESUME}
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, stage)
        with pytest.raises(Stop):
            aim_search(make(parts), *parts, **options)
    assert not (tmp_path / stage).exists()
    result = aim_search(make(parts), *parts, resume=True, **options)
    assert_same(result, uninterrupted[retrain])


@pytest.mark.parametrize(
    ('stage', 'epoch'),
    [
        ('order-2', 1),
        ('order-3', 0),
        ('order-3', 1),
        ('dimensions', 1),
        ('retrain', 1),
    ],
)
def test_resumed_within_a_stage(stage, epoch, parts, uninterrupted, tmp_path):
    options = {'directory': tmp_path, **RESUME}
    with pytest.MonkeyPatch.context() as patch:
        stop_within(patch, stage, epoch)
        with pytest.raises(Stop):
            aim_search(make(parts), *parts, **options)
    assert (tmp_path / stage / 'last.ckpt').exists() == (epoch > 0)
    result = aim_search(make(parts), *parts, resume=True, **options)
    assert_same(result, uninterrupted['scratch'])


@pytest.mark.parametrize('step', [3, 11])
@pytest.mark.parametrize('stage', STAGES)
def test_resumed_within_an_epoch(stage, step, parts, uninterrupted, tmp_path):
    """After a signal, in either of two epochs of eight steps."""

    class Signal(Callback):
        def on_train_batch_end(self, trainer, *args):
            if stage_of(trainer) == stage and trainer.global_step == step:
                os.kill(os.getpid(), signal.SIGTERM)

    options = {'directory': tmp_path, **RESUME}
    with pytest.raises(SystemExit):
        aim_search(make(parts), *parts, callbacks=[Signal()], **options)
    state = torch.load(tmp_path / stage / 'last.ckpt', weights_only=True)
    assert state['global_step'] == step
    result = aim_search(make(parts), *parts, resume=True, **options)
    assert_same(result, uninterrupted['scratch'])


def test_resumed_after_the_end(parts, uninterrupted):
    before = uninterrupted['scratch']
    path = before.stages['retrain'].model_path.parents[1]
    options = {'directory': path, 'resume': True, **RESUME}
    assert_same(aim_search(make(parts), *parts, **options), before)


def test_new_search_forgets_the_old_one(parts, uninterrupted, tmp_path):
    other = {**RESUME, 'lr': 0.1, 'seed': 3}
    aim_search(make(parts), *parts, directory=tmp_path, **other)
    # It is stopped in the middle, before it has overwritten everything:
    options = {'directory': tmp_path, **RESUME}
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, 'order-3')
        with pytest.raises(Stop):
            aim_search(make(parts), *parts, **options)
    for stage in STAGES:
        exists = (tmp_path / stage / 'last.ckpt').exists()
        assert exists == (stage == 'order-2')
    result = aim_search(make(parts), *parts, resume=True, **options)
    assert_same(result, uninterrupted['scratch'])


@pytest.mark.parametrize(
    'changed',
    [
        {'max_order': 2},
        {'pool': 1},
        {'search_dims': False},
        {'max_epochs': 3},
        {'batch_size': 32},
        {'lr': 0.1},
        {'weight_decay': 0.1},
        {'gate_lr': 0.2},
        {'closing': 0.2},
        {'dim_lr': 0.2},
        {'dim_closing': 0.2},
        {'mu': 0.7},
        {'retrain': 'finetune'},
        {'hidden_channels': [5]},
        {'dropout': 0.1},
        {'seed': 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_resume_with_other_options(changed, parts, tmp_path):
    options = {'directory': tmp_path, **RESUME}
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, 'order-2')
        with pytest.raises(Stop):
            aim_search(make(parts), *parts, **options)
        before = (tmp_path / 'run.json').read_text()
        options |= {**changed, 'resume': True}
        (name,) = changed
        with pytest.raises(DataError, match=f"'{name}' has changed"):
            aim_search(make(parts), *parts, **options)
        # Nothing has changed, and a new search may have any options:
        assert (tmp_path / 'run.json').read_text() == before
        with pytest.raises(Stop):
            aim_search(make(parts), *parts, **{**options, 'resume': False})
        now = json.loads((tmp_path / 'run.json').read_text())
        assert now['fingerprint'][name] == changed[name]


def test_resume_with_another_model(parts, tmp_path):
    options = {'directory': tmp_path, **RESUME}
    with pytest.MonkeyPatch.context() as patch:
        stop_before(patch, 'order-2')
        with pytest.raises(Stop):
            # There is nothing to resume yet, so it is a new search:
            aim_search(make(parts), *parts, resume=True, **options)
        other = make(parts, functions=['inner'])
        with pytest.raises(DataError, match="'config' has changed"):
            aim_search(other, *parts, resume=True, **options)
        with pytest.raises(DataError, match="'training rows' has changed"):
            aim_search(make(parts), parts[2], parts[1], resume=True, **options)
        train = parts[0].subset(slice(None))
        train.drop_absent = True
        with pytest.raises(DataError, match="'drop_absent' has changed"):
            aim_search(make(parts), train, *parts[1:], resume=True, **options)

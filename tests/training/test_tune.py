import json
from functools import partial

import pytest
import torch
from fit_parts import QUIET, Crash, CrashAt, SignalAt
from lightning.pytorch.callbacks import Callback
from optuna.distributions import FloatDistribution

from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import DNN, FIVES, FM, LR, GraphFM
from pyg_featgraph.training import (
    NonFiniteError,
    TrainingOptions,
    default_space,
    fit,
    predict,
    split_settings,
    tune,
)

SPACE = {
    'lr': FloatDistribution(3e-3, 3e-2, log=True),
    'hidden_channels': [[64], [256, 128]],
}


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


@pytest.fixture(scope='module')
def whole(parts, tmp_path_factory):
    return search(parts, tmp_path_factory.mktemp('whole'))


def search(parts, path, trials=4, model=DNN, space=SPACE, **options):
    options = {**QUIET, 'batch_size': 128, 'max_epochs': 3, **options}
    # With the default settings, nothing is learned:
    options.setdefault('options', TrainingOptions(lr=1e-6))
    return tune(
        model, *parts[:2], trials=trials, directory=path, space=space, **options
    )


def rows(result):
    return result.trials.drop(columns='seconds').to_json()


def test_best_trial(parts, tmp_path):
    result = search(parts, tmp_path)
    trials = result.trials
    assert list(trials['state'][:2]) == ['complete', 'complete']
    complete = trials[trials['state'] == 'complete']
    best = complete['value'].idxmin()
    assert result.metrics['valid_loss'] == complete['value'][best]
    # The defaults come first, and are worse here:
    assert trials[['lr', 'hidden_channels']].isna().all(axis=1).tolist() == [
        True,
        *[False] * 3,
    ]
    assert complete['value'][best] < trials['value'][0]
    # The model is that of a plain training with the best settings:
    settings = json.loads((tmp_path / 'settings.json').read_text())
    assert settings['lr'] == result.settings['lr'] == trials['lr'][best]
    of_model, of_fit = split_settings(result.settings)
    assert of_model == {'hidden_channels': trials['hidden_channels'][best]}
    torch.manual_seed(0)
    model = DNN(parts[0].info, **of_model)
    again = fit(
        model,
        *parts[:2],
        directory=tmp_path / 'again',
        batch_size=128,
        max_epochs=3,
        **of_fit,
        **QUIET,
    )
    assert again.metrics == result.metrics
    assert torch.equal(
        predict(model, parts[2]), predict(result.model, parts[2])
    )
    # Of the others nothing but the list is kept:
    folders = [path.name for path in tmp_path.glob('trial-*')]
    assert folders == [f'trial-{best:04}']


def test_seed(whole, parts, tmp_path):
    assert rows(search(parts, tmp_path / '0')) == rows(whole)
    other = search(parts, tmp_path / '1', 2, seed=1)
    assert other.trials['lr'][1] != whole.trials['lr'][1]
    assert other.trials['value'][0] != whole.trials['value'][0]


class Stop(Callback):
    """Ends one trial of several after some steps, in one way or another."""

    def __init__(self, trial, ending):
        self.left = trial
        self.ending = ending

    def on_train_start(self, trainer, *args):
        self.left -= 1

    def on_train_batch_end(self, *args):
        if self.left == -1:
            self.ending.on_train_batch_end(*args)


@pytest.mark.parametrize(
    ('trial', 'ending'), [(0, SignalAt(10)), (1, CrashAt(17)), (3, SignalAt(1))]
)
def test_it_goes_on_where_it_was(trial, ending, whole, parts, tmp_path):
    """Within a trial, to the same trials and the same model."""
    options, path = {'save_steps': 2}, tmp_path / 'other'
    with pytest.raises((SystemExit, Crash)):
        search(parts, path, callbacks=Stop(trial, ending), **options)
    starts = []

    class Watch(Callback):
        def on_train_start(self, trainer, *args):
            starts.append(trainer.global_step)

    result = search(parts, path, callbacks=[Watch()], resume=True, **options)
    assert starts[0] == ending.step - ending.step % 2 or ending.step == 1
    assert len(starts) == 4 - trial
    assert rows(result) == rows(whole)
    assert result.metrics == whole.metrics
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, result.model.state_dict()[name])


def test_more_trials_go_on_from_the_end(whole, parts, tmp_path):
    search(parts, tmp_path, 2)
    result = search(parts, tmp_path, resume=True)
    assert rows(result) == rows(whole)
    # Fewer are there already, and a search that begins anew is a new one:
    assert len(search(parts, tmp_path, 3, resume=True).trials) == 4
    assert len(search(parts, tmp_path, 1).trials) == 1
    with pytest.raises(DataError, match="'space' has changed"):
        search(parts, tmp_path, space={'lr': [0.1]}, resume=True)


def test_trials_that_stay_behind_end_early(parts, tmp_path):
    """Those of a rate that teaches nothing, once there are five others."""
    space = {'lr': [0.02, 0.03, 1e-7]}
    options = {'patience': 9, 'model': LR, 'seed': 4, 'linear_scale': None}
    result = search(parts, tmp_path, 8, space=space, **options)
    trials = result.trials
    assert (trials['state'][:5] == 'complete').all()
    assert (trials['epochs'][:5] == 3).all()
    behind = trials[5:][trials['lr'][5:] == 1e-7]
    assert len(behind)
    assert (behind['state'] == 'pruned').all()
    assert (behind['epochs'] == 2).all()
    assert result.settings['lr'] != 1e-7


def test_trials_that_fail(parts, tmp_path):
    space = {'lr': [1e30, 0.02]}
    result = search(parts, tmp_path, 4, space=space, model=FM)
    states = result.trials.groupby('lr')['state'].agg(set)
    assert states[1e30] == {'failed'}
    assert states[0.02] <= {'complete', 'pruned'}
    options = TrainingOptions(lr=1e30)
    with pytest.raises(NonFiniteError, match='None of 1 trials'):
        search(parts, tmp_path, 1, space=space, model=FM, options=options)


def test_monitor_decides(parts, tmp_path):
    result = search(parts, tmp_path, 5, monitor='valid_auc')
    complete = result.trials[result.trials['state'] == 'complete']
    assert result.metrics['valid_auc'] == complete['value'].max()


def test_timeout(parts, tmp_path):
    result = search(parts, tmp_path, 99, timeout=0)
    assert len(result.trials) == 1
    assert len(search(parts, tmp_path, 2, resume=True).trials) == 2


def test_settings_of_model_and_training():
    settings = {'lr': 0.1, 'embedding_dim': 4, 'gradient_clip_val': 1.0}
    of_model, of_fit = split_settings(settings)
    assert of_model == {'embedding_dim': 4}
    assert of_fit == {'lr': 0.1, 'gradient_clip_val': 1.0}


def test_default_space(parts, tmp_path):
    """Models have what is theirs; what is told for all is left out."""
    assert {'lr', 'weight_decay'} <= default_space(LR).keys()
    assert 'embedding_dim' not in default_space(LR)
    assert default_space(DNN)['hidden_channels'][0] == [128]
    assert default_space(GraphFM)['hidden_channels'][0] == 32
    assert 'max_order' in default_space(FIVES)
    model = partial(DNN, embedding_dim=2, head='regression')
    assert 'embedding_dim' not in default_space(model)
    result = search(parts, tmp_path, 3, model, None, lr=0.02)
    assert 'lr' not in result.settings
    assert result.trials['dropout'].notna().sum() == 2
    assert result.model.config['embedding_dim'] == 2
    assert result.metrics.keys() == {'valid_loss', 'valid_rmse', 'valid_r2'}


def test_any_function_makes_models(parts, tmp_path):
    def make(info, wide=False):
        return DNN(info, 4, [16 if wide else 2])

    result = search(parts, tmp_path, 4, make, {'wide': [True, False]})
    assert result.model.config['hidden_channels'] == [
        16 if result.settings.get('wide') else 2
    ]


def test_wrong_searches(parts, tmp_path):
    with pytest.raises(ValueError, match="'trials' must be positive"):
        search(parts, tmp_path, 0)
    with pytest.raises(ValueError, match="'space' has no settings"):
        search(parts, tmp_path, space={})
    with pytest.raises(ValueError, match=r"\['lr'\] are both in the space"):
        search(parts, tmp_path, lr=0.1)
    with pytest.raises(TypeError, match='no_option'):
        search(parts, tmp_path, 2, space={'no_option': [1]})

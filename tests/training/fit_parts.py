"""What tests of trainings share."""

import os
import signal

import torch
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.nn import GraphFM
from pyg_featgraph.training import fit

QUIET = {'enable_progress_bar': False, 'accelerator': 'cpu'}


def make(info, **options):
    """A model with dropout, always with the same weights."""
    torch.manual_seed(1)
    options = {'num_layers': 1, 'dropout': 0.3, **options}
    return GraphFM(info, 4, 4, **options)


def train(model, parts, path, **options):
    options = {**QUIET, 'batch_size': 128, 'max_epochs': 3, **options}
    return fit(model, *parts, directory=path, **options)


class Watch(Callback):
    """Keeps the trainer, and rates and figures of all steps."""

    def __init__(self):
        self.rates, self.steps, self.scores = [], [], []

    def on_train_batch_start(self, trainer, *args):
        self.trainer = trainer
        (optimizer,) = trainer.optimizers
        self.rates.append([g['lr'] for g in optimizer.param_groups])
        self.steps.append(trainer.global_step)

    def on_train_epoch_end(self, trainer, *args):
        self.scores.append(dict(trainer.callback_metrics))


def watched(parts, path, model=None, **options):
    watch = Watch()
    model = model or make(parts[0].info)
    result = train(model, parts, path, callbacks=[watch], **options)
    return result, watch


class SignalAt(Callback):
    """Sends a signal to this process after so many steps."""

    def __init__(self, step, signum=signal.SIGTERM):
        self.step = step
        self.signum = signum

    def on_train_batch_end(self, trainer, *args):
        if trainer.fit_loop.total_batch_idx + 1 == self.step:
            os.kill(os.getpid(), self.signum)


class Crash(Exception):
    """Nothing but a test raises this."""


class CrashAt(Callback):
    """Ends a training after so many steps without a chance to save."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *args):
        if trainer.fit_loop.total_batch_idx + 1 == self.step:
            raise Crash


def assert_same(one, two, *models):
    """Results and weights are equal to the last bit."""
    assert one.metrics == two.metrics
    assert one.history == two.history
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name

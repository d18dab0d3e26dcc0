import os
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from fit_parts import Crash, CrashAt, SignalAt, assert_same, make, train
from lightning.pytorch.callbacks import Callback

import pyg_featgraph
from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import FM, LR, FieldModel
from pyg_featgraph.training import NonFiniteError, predict
from pyg_featgraph.training.lock import DirectoryLock


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def with_value(table, row, field, value):
    """The table with one number changed."""
    out = table.subset(torch.arange(len(table)))
    out.slot_value[row, table.info.names.index(field)] = value
    return out


@pytest.mark.parametrize('value', [float('inf'), float('nan')])
def test_a_training_row_that_is_not_finite(value, parts, tmp_path):
    bad = with_value(parts[0], 123, 'I2', value)
    with pytest.raises(NonFiniteError) as error:
        train(make(parts[0].info), (bad, *parts[1:]), tmp_path, seed=5)
    # Which batch it was in:
    generator = torch.Generator().manual_seed(5 * 0x9E3779B1)
    batches = torch.randperm(840, generator=generator).split(128)
    (k,) = [i for i, rows in enumerate(batches) if (rows == 123).any()]
    message = str(error.value)
    assert f'step {k} (epoch 0, batch {k})' in message
    assert f"the column 'I2' holds {value} in row 123" in message
    assert ', '.join(map(str, batches[k][:8].tolist())) in message
    assert torch.equal(error.value.rows, batches[k])
    assert error.value.column == 'I2'
    assert not (tmp_path / 'model.safetensors').exists()


@pytest.mark.parametrize('which', [1, 2])
def test_an_evaluation_row_that_is_not_finite(which, parts, tmp_path):
    """No row is left out of a figure in silence."""
    tables = list(parts)
    tables[which] = with_value(parts[which], 77, 'I1', float('inf'))
    name = ['', 'validation', 'test'][which]
    message = rf"A {name} logit .* rows 77; the column 'I1' holds inf in row 77"
    with pytest.raises(NonFiniteError, match=message):
        train(make(parts[0].info), tables, tmp_path)


class Break(Callback):
    """Makes a weight infinite after so many steps."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, module, *args):
        if trainer.global_step == self.step:
            with torch.no_grad():
                module.model.embedding.weight[3] = float('inf')


def test_weights_that_are_not_finite(parts, tmp_path):
    """They end a training before they are saved or evaluated."""
    for step, options in ((7, {}), (9, {'save_steps': 9})):
        path = tmp_path / str(step)
        options |= {'callbacks': [Break(step)], 'max_epochs': 2}
        message = (
            rf'After {step} steps .* weights embedding.weight are not finite'
        )
        with pytest.raises(NonFiniteError, match=message):
            train(FM(parts[0].info, 4), parts, path, **options)
        assert (path / 'last.ckpt').exists() == (step == 9)
    # The last good state stays, and the training goes on from it:
    state = torch.load(path / 'last.ckpt', weights_only=True)
    assert state['global_step'] == 7
    train(FM(parts[0].info, 4), parts, path, resume=True, max_epochs=2)


def test_a_rate_that_is_too_high(parts, tmp_path):
    options = {'optimizer': 'SGD', 'lr': 1e30, 'max_epochs': 9}
    with pytest.raises(NonFiniteError, match='learning rate may be too high'):
        train(FM(parts[0].info, 4), parts, tmp_path, **options)


LABELS = {
    '-1': [-1, 1],
    '2': [0, 2],
    '0.5': [0, 0.5],
    'nan': [0, float('nan')],
}


@pytest.mark.parametrize('which', [0, 1, 2])
@pytest.mark.parametrize('wrong', LABELS)
def test_labels_other_than_0_and_1(wrong, which, parts, tmp_path):
    tables = list(parts)
    low, high = LABELS[wrong]
    y = tables[which].y
    tables[which] = tables[which].subset(slice(None))
    tables[which].y = torch.where(y > 0, high, low).to(y.dtype)
    name = ['training', 'validation', 'test'][which]
    message = f'The {name} rows, row .*: {wrong} is not a label, which has'
    with pytest.raises(DataError, match=message):
        train(LR(parts[0].info), tables, tmp_path / 'new')
    assert not (tmp_path / 'new').exists()


def test_test_rows(parts, tmp_path):
    model = LR(parts[0].info)
    empty = parts[2].subset(slice(0, 0))
    with pytest.raises(DataError, match='There are no test rows'):
        train(model, (*parts[:2], empty), tmp_path)
    unlabelled = parts[2].subset(slice(None))
    unlabelled.y = None
    with pytest.raises(DataError, match='The test rows have no labels'):
        train(model, (*parts[:2], unlabelled), tmp_path)
    # One class has no AUC, which is not one of zero:
    ones = parts[2].subset(parts[2].y == 1)
    with pytest.warns(UserWarning, match='single class, so that they have no'):
        result = train(model, (*parts[:2], ones), tmp_path)
    assert result.metrics['test_auc'] != result.metrics['test_auc']
    logits = model.eval()(ones.batch()).detach().double()
    loss = -logits.sigmoid().log().mean().item()
    assert result.metrics['test_loss'] == pytest.approx(loss, rel=1e-12)
    again = train(model, (*parts[:2], ones), tmp_path, resume=True)
    assert again.metrics['test_auc'] != again.metrics['test_auc']


def test_no_epochs(parts, tmp_path):
    model = make(parts[0].info)
    before = predict(model, parts[2])
    result = train(model, parts, tmp_path, max_epochs=0)
    assert torch.equal(predict(model, parts[2]), before)
    assert result.num_epochs == 0
    assert result.checkpoint is None
    assert torch.equal(
        predict(FieldModel.load(result.model_path), parts[2]), before
    )
    assert train(model, parts, tmp_path, max_epochs=0, resume=True) == result


def test_fast_dev_run_leaves_no_trace(parts, tmp_path):
    result = train(make(parts[0].info), parts, tmp_path, fast_dev_run=True)
    assert result.checkpoint is result.model_path is None
    assert not list(tmp_path.iterdir())
    # What is there stays:
    whole = train(make(parts[0].info), parts, tmp_path)
    train(make(parts[0].info), parts, tmp_path, fast_dev_run=True)
    assert train(make(parts[0].info), parts, tmp_path, resume=True) == whole


@pytest.mark.parametrize(
    'during', ['training', 'validation', 'last epoch', 'test']
)
def test_signals(during, parts, tmp_path, capsys):
    class Now(Callback):
        def __init__(self, signum):
            self.signum = signum

        def go(self, *args):
            os.kill(os.getpid(), self.signum)

        hook = {
            'training': 'on_train_batch_start',
            'validation': 'on_validation_batch_start',
            'last epoch': 'on_train_end',
            'test': 'on_test_batch_start',
        }[during]

    setattr(Now, Now.hook, Now.go)
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole')
    for signum, kind in (
        (signal.SIGTERM, SystemExit),
        (signal.SIGINT, KeyboardInterrupt),
    ):
        path = tmp_path / str(int(signum))
        with pytest.raises(kind) as stop:
            train(make(parts[0].info), parts, path, callbacks=[Now(signum)])
        if kind is SystemExit:
            assert stop.value.code == 143
        assert re.search(
            rf'{signum.name} has stopped the training in .*{path.name}.* '
            'resume=True goes on',
            capsys.readouterr().err,
        )
        assert (path / 'last.ckpt').exists()
        other = make(parts[0].info)
        result = train(other, parts, path, resume=True)
        assert_same(whole, result, model, other)
    assert {s: signal.getsignal(s) for s in before} == before


def test_second_signal_does_not_wait(parts, tmp_path):
    seen = []

    class Twice(Callback):
        def on_train_batch_start(self, trainer, *args):
            os.kill(os.getpid(), signal.SIGINT)
            seen.append(trainer.global_step)
            os.kill(os.getpid(), signal.SIGINT)
            seen.append('never')

    with pytest.raises(KeyboardInterrupt):
        train(make(parts[0].info), parts, tmp_path, callbacks=[Twice()])
    assert seen == [0]
    assert not (tmp_path / 'last.ckpt').exists()


SCRIPT = """
import sys
from pathlib import Path

sys.path.insert(0, {tests!r})
# With it torch looks at its own times at exit, after which Python has forgotten
# by which signal it ends:
sys.modules['tabulate'] = None
from fit_parts import make, train
from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions

data = PlantedInteractions(600, {{2: 2}}, num_numeric=1, num_categorical=3)
table = FieldEncoder(data.schema()).fit_transform(data.frame())
print('ready', flush=True)
train(
    make(table.info),
    table.split([0.6, 0.2, 0.2]),
    {path!r},
    max_epochs=100_000,
    early_stopping=False,
)
"""


@contextmanager
def started(path):
    """A process that trains in a directory."""
    root = Path(pyg_featgraph.__file__).parents[1]
    process = subprocess.Popen(
        [
            sys.executable,
            '-c',
            SCRIPT.format(tests=str(Path(__file__).parent), path=str(path)),
        ],
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    try:
        while not (path / 'last.ckpt').exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def test_processes_end_as_the_signal_says(parts, tmp_path):
    """And while one runs, no other one may use its directory."""
    for signum, codes in (
        (signal.SIGTERM, {143}),
        # Python ends itself by the signal, which shells show as 130:
        (signal.SIGINT, {130, -signal.SIGINT}),
    ):
        path = tmp_path / str(int(signum))
        with started(path) as process:
            message = f'in use by process {process.pid}'
            for resume in (False, True):
                with pytest.raises(DataError, match=message):
                    train(make(parts[0].info), parts, path, resume=resume)
            process.send_signal(signum)
            _, err = process.communicate(timeout=60)
        assert process.returncode in codes
        assert f'{signum.name} has stopped the training' in err
        state = torch.load(path / 'last.ckpt', weights_only=True)
        assert f'after {state["global_step"]} steps' in err


def test_lock(tmp_path):
    one, two = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    one.acquire()
    with pytest.raises(DataError, match=f'in use by process {os.getpid()}'):
        two.acquire()
    one.release()
    # One that a process without end has left is taken over:
    (tmp_path / 'run.lock').write_text('1')
    two.acquire()
    with pytest.raises(DataError, match='in use'):
        one.acquire()
    two.release()
    one.release()


def test_directory_is_free_after_an_error(parts, tmp_path):
    callbacks = [CrashAt(2)]
    for _ in range(2):
        with pytest.raises(Crash):
            train(make(parts[0].info), parts, tmp_path, callbacks=callbacks)


def test_constant_warnings_are_quiet(parts, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        # As PyTorch says of itself:
        warnings.filterwarnings('ignore', category=DeprecationWarning)
        # And as is true of so short a training:
        warnings.filterwarnings('ignore', 'The AUC of')
        train(make(parts[0].info), parts, tmp_path)
        with pytest.raises(SystemExit):
            train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(3)])
        train(make(parts[0].info), parts, tmp_path, resume=True)


def test_hand_made_table(tmp_path):
    """Labels and values of any dtype."""
    info = FieldInfo(('a', 'b'), (3, 2), (1, 1), ('categorical', 'numeric'))
    index = torch.randint(0, 3, (200, 2), dtype=torch.int32)
    index[:, 1] = 4
    value = torch.rand(200, 2)
    y = (index[:, 0] == 1).float()
    table = FieldTable(index, value, info, y)
    result = train(LR(info), table.split([0.5, 0.3, 0.2]), tmp_path, lr=0.5)
    assert result.metrics['test_auc'] > 0.9

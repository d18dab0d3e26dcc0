import subprocess
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.metrics import log_loss, roc_auc_score

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.nn import FM, LR, FieldModel, GraphFM
from pyg_featgraph.training import fit, predict


@pytest.fixture(scope='module')
def parts(table):
    return table.split([0.6, 0.2, 0.2])


def run(model, parts, path, **options):
    options = {
        'enable_progress_bar': False,
        'batch_size': 128,
        'max_epochs': 3,
    } | options
    return fit(model, *parts, directory=path, **options)


def test_metrics_are_those_of_the_best_epoch(parts, tmp_path):
    model = LR(parts[0].info)
    result = run(model, parts, tmp_path, lr=0.05, max_epochs=6)
    for name, part in (('valid', parts[1]), ('test', parts[2])):
        p = predict(model, part).double().numpy()
        y = part.y.numpy()
        assert result.metrics[f'{name}_auc'] == pytest.approx(
            roc_auc_score(y, p), abs=1e-5
        )
        assert result.metrics[f'{name}_loss'] == pytest.approx(
            log_loss(y, p), abs=1e-5
        )
    state = torch.load(result.checkpoint, weights_only=True)
    weight = state['state_dict']['model.linear.table.weight']
    assert torch.equal(weight, model.linear.table.weight)
    loaded = FieldModel.load(result.model_path)
    torch.testing.assert_close(
        predict(loaded, parts[2]), predict(model, parts[2])
    )


class Losses(Callback):
    """Keeps the losses of all steps, by epoch."""

    def __init__(self):
        self.epochs = {}

    def on_train_batch_end(self, trainer, module, outputs, *args):
        losses = self.epochs.setdefault(trainer.current_epoch + 1, [])
        losses.append(float(outputs['loss']))


def test_history_tells_of_each_epoch(parts, tmp_path):
    losses = Losses()
    options = {'max_epochs': 4, 'patience': 4, 'callbacks': [losses]}
    model = LR(parts[0].info)
    result = run(model, parts, tmp_path, check_val_every_n_epoch=2, **options)
    assert [x['epoch'] for x in result.history] == [1, 2, 3, 4]
    for epoch in result.history:
        mean = np.mean(losses.epochs[epoch['epoch']])
        assert epoch['train_loss'] == pytest.approx(mean, rel=1e-5)
    # Without validation there are no figures, not those of an epoch before:
    assert [x.keys() - {'epoch', 'train_loss'} for x in result.history] == 2 * [
        set(),
        {'valid_loss', 'valid_auc'},
    ]
    best = min(x.get('valid_loss', np.inf) for x in result.history)
    assert best == pytest.approx(result.metrics['valid_loss'], rel=1e-6)
    assert result.num_epochs == 4


def test_finds_a_planted_interaction(tmp_path):
    data = PlantedInteractions(
        8000, {2: 1}, num_numeric=1, num_categorical=6, strength=2.0, seed=1
    )
    table = FieldEncoder(data.schema()).fit_transform(data.frame())
    parts = table.split([0.8, 0.1, 0.1])
    auc = {}
    for model in (LR(table.info), GraphFM(table.info, 8, 16, 2)):
        result = run(model, parts, tmp_path, lr=0.01, max_epochs=15, patience=4)
        auc[type(model).__name__] = result.metrics['test_auc']
    assert auc['GraphFM'] > auc['LR'] + 0.1
    assert auc['GraphFM'] > data.bayes_auc - 0.1
    found = model.interactions(parts[0], num_rows=128)
    assert found.precision_at(1, data.truth) == 1


def test_stops_early(parts, tmp_path):
    # A rate of zero never improves after the first epoch:
    result = run(
        LR(parts[0].info), parts, tmp_path, lr=0.0, patience=2, max_epochs=9
    )
    assert result.num_epochs == 3


def test_is_reproducible(parts, tmp_path):
    outs = []
    for k in range(2):
        torch.manual_seed(1)
        model = FM(parts[0].info, 4)
        run(model, parts, tmp_path / str(k), seed=3)
        outs.append(predict(model, parts[2]))
    assert torch.equal(*outs)


def test_sparse_gradients(parts, tmp_path):
    outs = []
    for sparse in (False, True):
        torch.manual_seed(1)
        model = FM(parts[0].info, 4, sparse=sparse)
        run(model, parts, tmp_path / str(sparse), max_epochs=1, lr=0.01)
        outs.append(model)
    touched = torch.zeros(parts[0].info.num_embeddings, dtype=torch.bool)
    touched[parts[0].slot_index.long().flatten()] = True
    torch.manual_seed(1)
    start = FM(parts[0].info, 4, sparse=True)
    moved = (outs[1].embedding.weight != start.embedding.weight).any(1)
    assert torch.equal(moved, touched)


def test_labels_are_checked(parts, tmp_path):
    model = LR(parts[0].info)
    ones = parts[1].subset(parts[1].y == 1)
    with pytest.raises(DataError, match='validation rows all have the label 1'):
        fit(model, parts[0], ones, directory=tmp_path)
    unlabelled = parts[0].subset(slice(None))
    unlabelled.y = None
    with pytest.raises(DataError, match='training rows have no labels'):
        fit(model, unlabelled, parts[1], directory=tmp_path)
    with pytest.raises(ValueError, match="No figure 'accuracy' to monitor"):
        run(model, parts, tmp_path, monitor='accuracy')


def test_absent_extra_is_named():
    with pytest.raises(ImportError, match=r"pip install 'pyg-featgraph\[x\]'"):
        require('no_such_module', 'x')


def test_core_needs_no_extra():
    code = (
        'import sys\n'
        'for name in ("lightning", "matplotlib", "sklearn", "torchmetrics"):\n'
        '    sys.modules[name] = None\n'
        'import pyg_featgraph.data, pyg_featgraph.nn, pyg_featgraph.datasets\n'
        'import pyg_featgraph.interactions, pyg_featgraph.training\n'
        'from pyg_featgraph.plot import plot_interactions\n'
        'from pyg_featgraph.interactions import InteractionSet\n'
        'try:\n'
        '    plot_interactions(InteractionSet())\n'
        'except ImportError as error:\n'
        '    print(error)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True
    )
    assert 'pyg-featgraph[plot]' in done.stdout, done.stderr


def test_architecture_needs_parameters(table, tmp_path):
    with pytest.raises(ValueError, match='FM has no architecture parameters'):
        fit(
            FM(table.info),
            table,
            table,
            directory=tmp_path,
            architecture_lr=0.1,
        )

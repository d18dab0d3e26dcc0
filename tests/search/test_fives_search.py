import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder, FieldGraphLoader, FieldSchema
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FIVES, FieldModel
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import TrainingOptions, predict
from pyg_featgraph.training.bilevel import BilevelModule

OPTIONS = {
    'enable_progress_bar': False,
    'batch_size': 128,
    'accelerator': 'cpu',
}


def parity(order, num_rows=6000, num_fields=6):
    """The label is the parity of the first fields, which no fewer betray."""
    x = np.random.default_rng(0).integers(0, 2, (num_rows, num_fields))
    df = pd.DataFrame(x.astype(str), columns=list('abcdef')[:num_fields])
    return df.assign(y=x[:, :order].sum(axis=1) % 2)


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1200)).split([0.5, 0.3, 0.2])


class Stop(Exception):
    """Nothing but the test raises this."""


class StopIn(Callback):
    """Ends a training at a step, with or without a chance to save."""

    def __init__(self, step, how):
        self.step = step
        self.how = how

    def on_train_batch_end(self, trainer, *args):
        if trainer.global_step == self.step:
            if self.how == 'crash':
                raise Stop
            os.kill(os.getpid(), signal.SIGTERM)


def lr_auc(df, *steps):
    half = len(df) // 2
    model = make_pipeline(
        *steps, OneHotEncoder(handle_unknown='ignore'), LogisticRegression()
    )
    fields = df.drop(columns='y')
    model.fit(fields[:half], df['y'][:half])
    return roc_auc_score(df['y'][half:], model.decision_function(fields[half:]))


@pytest.mark.parametrize('order', [2, 3])
@pytest.mark.parametrize('recursive', [True, False])
def test_finds_what_a_parity_depends_on(order, recursive, tmp_path):
    df = parity(order)
    table = FieldEncoder(FieldSchema.infer(df, 'y')).fit_transform(df)
    train, valid, test = table.split([0.5, 0.3, 0.2])
    model = FIVES(table.info, 8, order, recursive=recursive, self_loops=False)
    result = fives_search(
        model,
        train,
        valid,
        test,
        directory=tmp_path,
        max_epochs=20,
        architecture_lr=2e-2,
        **OPTIONS,
    )
    assert result.metrics['test_auc'] > 0.99
    found = result.interactions.of_order(order)
    planted = tuple('abc'[:order])
    assert found[0].fields == planted
    assert model.interactions(by='edges') == result.derived
    assert result.derived.of_order(order)[0].fields == planted
    # By effect on validation rows, of all pairs and what edges spell out:
    again = model.interactions(valid, candidates=result.interactions)
    assert again == result.interactions
    assert {x.order for x in result.interactions} == {*range(2, order + 1)}
    assert all('interval' in x.detail for x in result.interactions)
    saved = InteractionSet.load(tmp_path / 'interactions.json')
    assert saved == result.interactions
    # The cross makes a linear model exact that is no better than chance:
    assert lr_auc(df) == pytest.approx(0.5, abs=0.05)
    assert lr_auc(df, CrossFeatures(found, top=1)) > 0.99


def test_temperature_falls_to_its_end(parts, tmp_path):
    model = FIVES(parts[0].info, 4)
    taus = []
    original = BilevelModule._set_temperature

    def spy(self, steps):
        original(self, steps)
        taus.append(float(model.adjacency.tau))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BilevelModule, '_set_temperature', spy)
        fives_search(
            model,
            *parts,
            directory=tmp_path,
            max_epochs=2,
            temperature=(1.0, 0.1),
            **OPTIONS,
        )
    assert taus == sorted(taus, reverse=True)
    assert taus[0] < 1
    assert taus[-1] == pytest.approx(0.1)


def test_weights_and_edges_see_different_rows(parts, tmp_path):
    """Edges do not move without validation batches, nor weights by them."""
    train, valid, _ = parts
    for lr, architecture_lr in ((0.0, 0.01), (0.01, 0.0)):
        torch.manual_seed(0)
        model = FIVES(train.info, 4)
        edges = model.adjacency.weight.detach().clone()
        table = model.embedding.weight.detach().clone()
        fives_search(
            model,
            train,
            valid,
            directory=tmp_path,
            max_epochs=1,
            lr=lr,
            architecture_lr=architecture_lr,
            temperature=None,
            **OPTIONS,
        )
        moved_edges = not torch.equal(model.adjacency.weight, edges)
        moved_table = not torch.equal(model.embedding.weight, table)
        assert (moved_edges, moved_table) == (architecture_lr > 0, lr > 0)
        assert model.adjacency.tau == 1


def test_temperature_falls_exponentially(parts, tmp_path):
    """By the same factor in each step, also where steps are counted."""
    for options, num_steps in (
        ({'max_epochs': 2}, 10),
        ({'max_epochs': None, 'max_steps': 7}, 7),
        ({'max_epochs': 2, 'accumulate_grad_batches': 5}, 2),
    ):
        model, taus = FIVES(parts[0].info, 4), []

        class Watch(Callback):
            def on_before_zero_grad(self, *args, model=model, taus=taus):
                taus.append(float(model.adjacency.tau))

        fives_search(
            model,
            *parts,
            directory=tmp_path,
            temperature=(1.0, 0.01),
            callbacks=[Watch()],
            **options,
            **OPTIONS,
        )
        expected = [0.01 ** (k / num_steps) for k in range(1, num_steps + 1)]
        assert taus == pytest.approx(expected, rel=1e-5)


def test_each_step_draws_other_validation_rows(parts, tmp_path):
    """In each epoch anew, and with each seed."""
    drawn = {}
    original = BilevelModule.draw
    for seed in (0, 1):
        rows = drawn[seed] = []

        def spy(self, step, rows=rows):
            batch = original(self, step)
            rows.append(tuple(batch.slot_index.flatten().tolist()))
            return batch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BilevelModule, 'draw', spy)
            fives_search(
                FIVES(parts[0].info, 4),
                *parts,
                directory=tmp_path,
                max_epochs=3,
                seed=seed,
                **OPTIONS,
            )
    assert len({*drawn[0], *drawn[1]}) == 2 * 3 * 5


def test_steps_are_those_of_algorithm_1(parts, tmp_path):
    """Against a loop written out: a step on the weights, then one on the
    edges with the weights as they are now.
    """
    train, valid, _ = parts
    torch.manual_seed(0)
    model = FIVES(train.info, 4)
    other = FIVES(train.info, 4)
    other.load_state_dict(model.state_dict())
    options = {
        **{'architecture_lr': 0.02, 'lr': 0.01, 'temperature': None},
        'embedding_l2': 0,
    }
    fives_search(
        model,
        train,
        valid,
        directory=tmp_path,
        max_epochs=2,
        **options,
        **OPTIONS,
    )
    edges = other.architecture_parameters()
    chosen = {id(p) for p in edges}
    weights = [p for p in other.parameters() if id(p) not in chosen]
    one = torch.optim.Adam(weights, 0.01)
    two = torch.optim.Adam(edges, 0.02)
    module = BilevelModule(
        other, valid, TrainingOptions(batch_size=128, architecture_lr=0.02)
    )
    loader, step = FieldGraphLoader(train, 128, shuffle=True), 0
    for _ in range(2):
        for batch in loader:
            for optimizer, rows in ((one, batch), (two, module.draw(step))):
                other.zero_grad()
                other.loss(rows).backward()
                optimizer.step()
            step += 1
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])


def test_edges_descend_the_validation_loss(parts):
    train, valid, _ = parts
    model = FIVES(train.info, 4)
    options = TrainingOptions(batch_size=64, architecture_lr=0.01, seed=3)
    module = BilevelModule(model, valid, options)
    one, two = module.draw(0), module.draw(1)
    assert one.num_graphs == 64
    assert not torch.equal(one.slot_index, two.slot_index)
    assert torch.equal(one.slot_index, module.draw(0).slot_index)
    rows = {tuple(row) for row in valid.slot_index.tolist()}
    assert {tuple(row) for row in one.slot_index.tolist()} <= rows


def test_missing_fields_are_left_out_of_all_rows(parts, tmp_path):
    parts = [part.subset(slice(None)) for part in parts]
    for part in parts:
        part.drop_absent = True
    model, masks = FIVES(parts[0].info, 4), []
    loss = model.loss

    def spy(batch):
        masks.append(batch.mask)
        return loss(batch)

    model.loss = spy
    fives_search(
        model,
        *parts,
        directory=tmp_path,
        max_epochs=1,
        retrain=None,
        **OPTIONS,
    )
    # Training rows and validation rows in turns:
    assert len(masks) == 2 * -(-len(parts[0]) // OPTIONS['batch_size'])
    assert all(mask is not None and not mask.all() for mask in masks)


@pytest.mark.parametrize('retrain', ['scratch', 'finetune'])
def test_retraining_keeps_the_edges(retrain, parts, tmp_path):
    model = FIVES(parts[0].info, 4, 2)
    result = fives_search(
        model,
        *parts,
        directory=tmp_path,
        max_epochs=2,
        architecture_lr=0.05,
        retrain=retrain,
        retrain_options={'max_epochs': 3, 'patience': 5},
        **OPTIONS,
    )
    searched = FieldModel.load(result.searched.model_path)
    assert torch.equal(searched.adjacency.weight, model.adjacency.weight)
    assert not torch.equal(searched.embedding.weight, model.embedding.weight)
    assert searched.config['mode'] == 'soft'
    assert model.config['mode'] == 'hard'
    assert result.retrained.num_epochs == 3
    assert result.metrics == result.retrained.metrics
    # What was saved predicts the same, with hard edges:
    loaded = FieldModel.load(result.retrained.model_path)
    assert set(loaded.adjacency.matrices().unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(predict(loaded, parts[2]), predict(model, parts[2]))


def test_stages_have_as_many_epochs_as_suit_them(parts, tmp_path):
    """The search and the training after it have limits of their own, and may
    have batches of their own.
    """
    fives_search(
        FIVES(parts[0].info, 4, 2),
        *parts,
        directory=tmp_path,
        retrain='finetune',
        retrain_options={'lr': 0.0, 'batch_size': 5},
        limit_train_batches=1,
        limit_val_batches=1,
        **{**OPTIONS, 'batch_size': 10},
    )
    # 600 rows are 60 steps in the search, and 120 after it:
    written = [
        json.loads((tmp_path / name / 'run.json').read_text())
        for name in ('search', 'finetune')
    ]
    names = ('batch_size', 'max_epochs', 'patience')
    found = [[x['fingerprint'][name] for name in names] for x in written]
    assert found == [[10, 17, None], [5, 34, 4]]
    epochs = [len(x['result']['history']) for x in written]
    assert epochs == [17, 1 + 4]


@pytest.mark.parametrize('retrain', [None, 'scratch', 'finetune'])
@pytest.mark.parametrize('stop', ['signal', 'crash'])
def test_resumed_search_is_the_same(retrain, stop, parts, tmp_path):
    """Stopped within the search, within the re-training, and after it."""

    def go(path, *callbacks):
        torch.manual_seed(0)
        model = FIVES(parts[0].info, 4, dropout=0.3)
        result = fives_search(
            model,
            *parts,
            directory=tmp_path / path,
            max_epochs=3,
            retrain=retrain,
            resume=True,
            callbacks=callbacks,
            **OPTIONS,
        )
        return result, model.state_dict()

    whole, state = go('whole')
    for step in (3, 5, 12):
        for _ in range(3):
            try:
                go('parts', StopIn(step, stop))
            except (Stop, SystemExit):
                continue
    result, other = go('parts')
    assert result.interactions == whole.interactions
    assert result.searched.metrics == whole.searched.metrics
    assert result.metrics == whole.metrics
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize('mode', ['soft', 'straight_through'])
def test_search_stays_finite(threshold, mode, parts, tmp_path):
    model = FIVES(parts[0].info, 4, 3, threshold=threshold, mode=mode)
    result = fives_search(
        model,
        *parts,
        directory=tmp_path,
        max_epochs=2,
        lr=0.1,
        architecture_lr=1.0,
        **OPTIONS,
    )
    assert all(np.isfinite(list(result.metrics.values())))
    assert all(p.isfinite().all() for p in model.parameters())
    assert model.adjacency.matrices().isfinite().all()


def test_wrong_arguments(parts, tmp_path):
    model = FIVES(parts[0].info, 4)
    with pytest.raises(ValueError, match="'retrain' must be"):
        fives_search(model, *parts, directory=tmp_path, retrain='again')
    with pytest.raises(ValueError, match='at least 2'):
        FIVES(parts[0].info, max_order=1)
    with pytest.raises(ValueError, match="'readout' must be"):
        FIVES(parts[0].info, readout='first')
    with pytest.raises(ValueError, match="'threshold' needs one entry"):
        FIVES(parts[0].info, threshold=[0.5])
    assert json.loads(json.dumps(model.config)) == model.config

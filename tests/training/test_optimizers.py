"""What optimizers are given: groups of parameters, rates, decay, penalties."""

import numpy as np
import pytest
import torch
from fit_parts import make, train, watched
from lightning import pytorch as pl
from sklearn.linear_model import LogisticRegression

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import (
    DNN,
    FIVES,
    FM,
    LR,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
)
from pyg_featgraph.optim import JointOptimizer, RowWiseAdagrad
from pyg_featgraph.training import (
    FieldModule,
    TrainingOptions,
    fit,
)
from pyg_featgraph.training.optimizers import (
    make_optimizer,
    parameter_groups,
)


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def test_optimizer(parts, tmp_path):
    _, watch = watched(
        parts,
        tmp_path,
        optimizer='SGD',
        optimizer_options={'momentum': 0.5},
        lr=0.1,
        max_epochs=1,
    )
    (optimizer,) = watch.trainer.optimizers
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults['momentum'] == 0.5
    assert watch.rates == [[0.1]] * 7
    _, watch = watched(
        parts, tmp_path, optimizer=torch.optim.RMSprop, max_epochs=1
    )
    assert type(watch.trainer.optimizers[0]) is torch.optim.RMSprop


@pytest.mark.parametrize('name', ['Adam', 'AdamW', 'SGD', 'Adagrad'])
def test_steps_on_a_cpu_are_fused_unless_told(name):
    info = FieldInfo(('a', 'b'), (3, 4), (1, 1), ('categorical',) * 2)
    ends, forms = [], []
    for told in ({}, {'fused': False}, {'foreach': True}):
        model = make(info)
        options = TrainingOptions(
            lr=0.1, optimizer=name, optimizer_options=told, weight_decay=0.1
        )
        parameters = list(model.parameters())
        optimizer = make_optimizer(model, parameters, options)
        torch.manual_seed(2)
        for _ in range(3):
            for p in parameters:
                p.grad = torch.randn_like(p)
            optimizer.step()
        ends.append(parameters)
        forms.append(bool(optimizer.defaults['fused']))
    assert forms == [True, False, False]
    for other in ends[1:]:
        torch.testing.assert_close(other, ends[0])


def test_fused_steps_go_with_clipping_in_mixed_precision(parts, tmp_path):
    _, watch = watched(
        parts,
        tmp_path,
        optimizer='SGD',
        lr=1.0,
        weight_decay=0.0,
        embedding_l2=0.0,
        gradient_clip_val=1e-4,
        precision='bf16-mixed',
        max_steps=1,
    )
    (optimizer,) = watch.trainer.optimizers
    assert optimizer.defaults['fused']
    before, after = make(parts[0].info), watch.trainer.lightning_module.model
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    moved = torch.cat([(p - q).flatten() for p, q in pairs])
    assert 0 < moved.norm() < 1.01e-4


def test_rate_is_that_of_the_model_unless_told():
    info = FieldInfo(('a', 'b'), (3, 4), (1, 1), ('categorical',) * 2)
    for model in (LR(info), FiGNN(info, 4), GraphFM(info, 4, 4)):
        for options, lr in (
            (TrainingOptions(), type(model).lr),
            (TrainingOptions(lr=0.5), 0.5),
        ):
            module = FieldModule(model, options)
            optimizer = module.make_optimizer()
            scale = 75 if isinstance(model, LR) else 1
            assert {g['lr'] for g in optimizer.param_groups} == {scale * lr}
    assert FiGNN.lr == GraphFM.lr > LR.lr


def test_penalty_is_that_of_the_model_unless_told():
    info = FieldInfo(('a', 'b'), (3, 4), (1, 1), ('categorical',) * 2)
    penalties = [
        (FM(info), 1.0),
        (LR(info), 0.3),
        (FeatNet(info, 4, 2, 2), 0.0),
    ]
    for model, l2 in penalties:
        assert FieldModule(model).options.embedding_l2 == l2
        told = FieldModule(model, TrainingOptions(embedding_l2=3.0))
        assert told.options.embedding_l2 == 3.0


def test_decay_pulls_matrices_to_zero(parts, tmp_path):
    norms = []
    for decay in (0.0, 5.0):
        model = make(parts[0].info, embedding_std=1.0)
        options = {'weight_decay': decay, 'lr': 0.02, 'early_stopping': False}
        train(model, parts, tmp_path, **options)
        conv = model.convs[0]
        norms.append(
            [
                p.norm().item()
                for p in (
                    conv.lin.weight,
                    model.embedding.weight,
                    conv.norm_weight,
                )
            ]
        )
    none, decayed = norms
    assert decayed[0] < 0.5 * none[0]
    assert decayed[1:] == pytest.approx(none[1:], rel=0.2)


@pytest.mark.parametrize('optimizer', ['SGD', 'AdamW', 'NAdam'])
def test_penalty_of_embeddings_is_one_of_the_loss(optimizer, parts, tmp_path):
    """The gradients are those of the mean loss of all training rows and the
    penalty, whatever the optimizer makes of them.
    """
    small, size = parts[0].subset(slice(0, 90)), 30
    seen = []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            # The hook of the module comes after those of callbacks:
            self.p = module.model.embedding.weight.detach().clone()
            self.grad = module.model.embedding.weight.grad.clone()

        def on_train_batch_end(self, trainer, module, *args):
            grad = module.model.embedding.weight.grad
            torch.testing.assert_close(
                grad - self.grad, self.p * (7.0 / 90), rtol=1e-4, atol=1e-6
            )
            seen.append(grad)

    model = FM(small.info, 4, embedding_std=1.0)
    fit(
        model,
        small,
        parts[1],
        directory=tmp_path,
        batch_size=size,
        optimizer=optimizer,
        embedding_l2=7.0,
        max_epochs=2,
        callbacks=[Watch()],
        enable_progress_bar=False,
    )
    assert len(seen) == 6


def test_linear_weights_are_those_of_scikit_learn(tmp_path):
    """Of logistic regression with C = 1 / embedding_l2."""
    generator = torch.Generator().manual_seed(0)
    info = FieldInfo(('a', 'b'), (3, 4), (1, 1), ('categorical',) * 2)
    index = torch.rand(200, 2, generator=generator) * torch.tensor([3, 4])
    index = index.int() + torch.tensor([0, 3], dtype=torch.int32)
    y = (index.sum(1) + 3 * torch.rand(200, generator=generator) > 5).float()
    table = FieldTable(index, torch.ones(200, 2), info, y)
    x = torch.zeros(200, 7).scatter_(1, index.long(), 1.0).numpy()
    reference = LogisticRegression(C=0.2, tol=1e-10, fit_intercept=False)
    reference.fit(x, y.numpy())
    model = LR(info)
    for p in model.parameters():
        p.requires_grad_(p.numel() > 1)  # All but the bias.
    fit(
        model,
        table,
        table,
        directory=tmp_path,
        optimizer='SGD',
        lr=2.0,
        linear_scale=None,
        embedding_l2=5.0,
        scheduler='cosine',
        early_stopping=False,
        batch_size=200,
        max_epochs=150,
        enable_progress_bar=False,
    )
    weight = model.state_dict()['linear.table.weight'].numpy()[:, 0]
    np.testing.assert_allclose(weight, reference.coef_[0], rtol=1e-3)


def test_rows_that_are_not_counted_are_told(parts, tmp_path):
    """The penalty needs their number, which any data set has but a stream."""

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([parts[0][:64]])

    def gradients(dataset):
        loader = torch.utils.data.DataLoader(dataset, batch_size=None)
        module = FieldModule(FM(parts[0].info, 4), TrainingOptions())
        trainer = pl.Trainer(
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader, loader)
        return module._penalty.l2

    with pytest.warns(UserWarning, match='embedding_l2'):
        assert gradients(Stream()) == 0
    assert gradients(Items(parts[0][:64], 5)) == 1 / 5


class Items(torch.utils.data.Dataset):
    """So many items that are one batch each."""

    def __init__(self, batch, size):
        self.batch, self.size = batch, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.batch


def test_what_decays():
    """Matrices do; biases, norms, tables and architecture do not."""

    def decays(model):
        options = TrainingOptions(lr=1e-3, weight_decay=0.3)
        dense, _ = parameter_groups(model, [*model.parameters()], options)
        chosen = {
            id(p) for g in dense if g['weight_decay'] for p in g['params']
        }
        assert {g['weight_decay'] for g in dense} <= {0.0, 0.3}
        return {k for k, p in model.named_parameters() if id(p) in chosen}

    info = FieldInfo(('a', 'b'), (3, 4), (1, 1), ('categorical',) * 2)
    names = {
        f'mlp.{x}.weight' for x in ('hidden.lins.0', 'hidden.lins.1', 'lin')
    }
    assert decays(DeepFM(info, 4)) - {'readout.weight'} == names
    assert decays(GraphFM(info, 4, 4, num_layers=1)) == {
        'convs.0.att',
        'convs.0.edge.edge.weight',
        'convs.0.lin.weight',
        'convs.0.res.weight',
        'lin.weight',
    }
    assert 'adjacency.weight' not in decays(FIVES(info, 4))
    assert decays(DNN(info, 4, members=3)) == names
    table = torch.nn.Embedding(3, 2)
    norm = torch.nn.LayerNorm([2, 2])
    assert decays(torch.nn.Sequential(table, norm)) == set()


def test_linear_parts_learn_at_a_rate_of_their_own(parts, tmp_path):
    for sparse in (False, True):
        model = FM(parts[0].info, 4, sparse=sparse)
        n = parts[0].info.num_fields
        options = TrainingOptions(lr=0.02, linear_scale=3.0 * n)
        groups = parameter_groups(model, [*model.parameters()], options)
        rates = {id(p): g['lr'] for x in groups for g in x for p in g['params']}
        for name, p in model.named_parameters():
            rate = 0.06 if name.startswith('linear.') else 0.02
            is_table = name in ('embedding.weight', 'linear.table.weight')
            rate *= 10 if sparse and is_table else 1
            assert rates[id(p)] == pytest.approx(rate), name
    # A step of Adam is as long as its rate:
    model = LR(parts[0].info)
    train(model, parts, tmp_path, lr=0.01, batch_size=9999, max_epochs=1)
    longest = model.linear.table.weight.detach().abs().max()
    assert longest == pytest.approx(1.5 / n, rel=1e-4)


def test_linear_parts_at_the_rate_of_everything_else(parts):
    model = FM(parts[0].info, 4)
    options = TrainingOptions(lr=0.02, linear_scale=None)
    (group,), _ = parameter_groups(model, [*model.parameters()], options)
    assert group['lr'] == 0.02


def test_sparse_tables_have_an_optimizer_of_their_own(parts, tmp_path):
    torch.manual_seed(0)
    model = FM(parts[0].info, 4, sparse=True)
    options = {'weight_decay': 0.1, 'lr': 0.01, 'max_epochs': 2}
    _, watch = watched(parts, tmp_path, model, **options)
    (optimizer,) = watch.trainer.optimizers
    assert [type(x) for x in optimizer.parts] == [
        torch.optim.AdamW,
        RowWiseAdagrad,
    ]
    owned = [p for g in optimizer.param_groups for p in g['params']]
    assert len(owned) == len(list(model.parameters()))
    assert {id(p) for p in owned} == {id(p) for p in model.parameters()}


def test_joint_optimizer_is_its_parts():
    """Steps, schedules and states are those of optimizers side by side."""

    def make_two():
        torch.manual_seed(0)
        return [torch.randn(3, requires_grad=True) for _ in range(2)]

    def step(optimizers, weights, scale):
        for optimizer in optimizers:
            optimizer.zero_grad()
        sum((scale * x.square()).sum() for x in weights).backward()
        for optimizer in optimizers:
            optimizer.step()

    one, two = make_two(), make_two()
    parts = [torch.optim.Adam([one[0]], 0.1), torch.optim.SGD([one[1]], 0.2)]
    others = [torch.optim.Adam([two[0]], 0.1), torch.optim.SGD([two[1]], 0.2)]
    joint = JointOptimizer(parts)
    schedule = torch.optim.lr_scheduler.ExponentialLR(joint, 0.5)
    for k in range(6):
        step([joint], one, 1 + k)
        step(others, two, 1 + k)
        schedule.step()
        for other in others:
            other.param_groups[0]['lr'] *= 0.5
        if k == 2:
            # It goes on with a state that was saved:
            state = joint.state_dict()
            joint = JointOptimizer(
                [
                    torch.optim.Adam([one[0]], 1.0),
                    torch.optim.SGD([one[1]], 1.0),
                ]
            )
            joint.load_state_dict(state)
            schedule = torch.optim.lr_scheduler.ExponentialLR(joint, 0.5)
    for x, y in zip(one, two, strict=True):
        assert torch.equal(x, y)


def test_names_of_optimizers():
    model = torch.nn.Linear(2, 1)
    for name in ('AdamW', 'NAdam', 'Adam'):
        options = TrainingOptions(lr=1e-3, optimizer=name)
        out = make_optimizer(model, list(model.parameters()), options)
        assert type(out) is getattr(torch.optim, name)
        # Of its own accord none has a decay:
        assert {g['weight_decay'] for g in out.param_groups} == {0.0}

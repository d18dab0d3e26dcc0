"""The penalty of tables, mostly of those with sparse gradients."""

import pytest
import torch
from fit_parts import SignalAt, assert_same, make, train
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import FM, RaggedEmbedding
from pyg_featgraph.training import FieldModule, TrainingOptions, fit
from pyg_featgraph.training.penalty import Penalty, touched_share
from pyg_featgraph.training.start import count_rows

KINDS = ('categorical',) * 4


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


class Pulls(Callback):
    """Sums up what the penalty adds to gradients."""

    def __init__(self):
        self.total = self.num_steps = 0

    def on_before_optimizer_step(self, trainer, module, optimizer):
        # The hook of the module comes after those of callbacks:
        self.grad = module.model.embedding.weight.grad.clone().to_dense()

    def on_train_batch_end(self, trainer, module, *args):
        grad = module.model.embedding.weight.grad
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready % 2 == 0:
            self.total = self.total + grad.to_dense() - self.grad
            self.num_steps += 1


def skewed():
    """800 rows: an id that none has, ids of 1, 2, 4, ... rows, one of all."""
    info = FieldInfo(('a', 'b'), (11, 1), (1, 1), KINDS[:2])
    index = torch.full((800, 2), 11)
    index[:, 0] = torch.arange(1, 801).log2().floor() + 1
    y = (torch.arange(800) % 3 == 0).float()
    return FieldTable(index.int(), torch.ones(800, 2), info, y)


@pytest.mark.parametrize('sparse', [True, False])
def test_what_an_epoch_pulls(sparse, tmp_path):
    """As much as in all steps of dense gradients: exactly for ids that one row
    has, or all, else within what chance does. Weights stay where they are.
    """
    data = skewed()
    model = FM(data.info, 4, embedding_std=1.0, sparse=sparse)
    pulls = Pulls()
    fit(
        model,
        data,
        data,
        directory=tmp_path,
        batch_size=20,
        accumulate_grad_batches=2,
        embedding_l2=7.0,
        lr=0.0,
        max_epochs=3,
        patience=None,
        callbacks=[pulls],
        enable_progress_bar=False,
    )
    assert pulls.num_steps == 60
    weight = model.embedding.weight.detach()
    factor = (pulls.total / weight).mean(dim=1) / (60 * 7.0 / 800)
    index = data.slot_index.long()
    count = index.flatten().bincount(minlength=len(weight))
    assert {0, 1, 800} < {*count.tolist()}
    exact = (count == 1) | (count == 800)
    ones = torch.ones(int(exact.sum()))
    torch.testing.assert_close(factor[exact], ones, rtol=1e-3, atol=0)
    if not sparse:
        everywhere = torch.ones_like(factor)
        torch.testing.assert_close(factor, everywhere, rtol=1e-3, atol=0)
        return
    assert (factor[count == 0] == 0).all()
    share = touched_share(count, len(data), 40)[count > 0]
    error = ((1 - share) / share / 60).sqrt()
    assert ((factor[count > 0] - 1).abs() <= 4 * error + 1e-3).all()


def test_rare_ids_stay_near_zero(parts, tmp_path):
    norms = {}
    for l2 in (0.0, 20.0):
        torch.manual_seed(0)
        model = FM(parts[0].info, 4, embedding_std=1.0, sparse=True)
        train(model, parts, tmp_path, embedding_l2=l2, patience=None)
        norms[l2] = model.embedding.weight.detach().norm(dim=1)
    count = (
        parts[0]
        .slot_index.long()
        .flatten()
        .bincount(minlength=parts[0].info.num_embeddings)
    )
    seen = count > 0
    assert (norms[20.0] < norms[0.0])[seen].float().mean() > 0.9
    assert torch.equal(norms[20.0][~seen], norms[0.0][~seen])


def test_numbers_of_ids_by_table():
    """Those of fields with equally many dimensions stand behind each other."""
    info = FieldInfo(('a', 'b', 'c', 'd'), (3, 2, 4, 2), (1,) * 4, KINDS)
    embedding = RaggedEmbedding(info, 2, [[0], [0, 1], [1], []])
    values = torch.arange(11.0)
    found = embedding.by_table(values)
    assert [x.tolist() for _, x in found] == [
        [0.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0],
        [3.0, 4.0],
    ]
    for (p, x), table in zip(found, embedding.tables, strict=True):
        assert p is table.weight
        assert len(p) == len(x)


def test_without_a_data_module_there_is_none(parts):
    model = FM(parts[0].info, 4, sparse=True)
    penalty = Penalty(model, 1.0)
    assert not penalty.has_dense
    model.loss(parts[0][:8]).backward()
    before = model.embedding.weight.grad.to_dense()
    penalty.add()
    assert torch.equal(model.embedding.weight.grad.to_dense(), before)
    penalty.count(count_rows(parts[0]), len(parts[0]), 8)
    penalty.add()
    assert not torch.equal(model.embedding.weight.grad.to_dense(), before)


def test_large_tables_are_sparse_of_themselves():
    names = ('many', 'few')
    info = FieldInfo(names, (2**18, 3), (1, 1), ('categorical',) * 2)
    for option, dim, expected in (
        (None, 16, True),
        (None, 15, False),
        (False, 16, False),
        (True, 2, True),
    ):
        model = FM(info, dim, sparse=option)
        assert model.embedding.sparse == expected
        assert model.linear.table.sparse == (option is True)
    ragged = RaggedEmbedding(info, 16, [[*range(16)], [0]])
    assert [table.sparse for table in ragged.tables] == [False, True]


def test_a_choice_is_told(parts, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('pyg_featgraph.nn.embedding.base.LARGE', 100)
    for sparse, lines in ((None, 1), (True, 0), (False, 0)):
        model = FM(parts[0].info, 4, sparse=sparse)
        capsys.readouterr()
        train(model, parts, tmp_path, max_epochs=1)
        text = capsys.readouterr().err
        assert text.count('sparse gradients') == lines
        assert model.embedding.sparse == (sparse is not False)


def test_steps_are_longer_by_a_factor(parts):
    model = FM(parts[0].info, 4, sparse=True)
    options = TrainingOptions(lr=0.01, sparse_scale=3.0, linear_scale=None)
    optimizer = FieldModule(model, options).make_optimizer()
    rates = [part.param_groups[0]['lr'] for part in optimizer.parts]
    assert rates == pytest.approx([0.01, 0.03])


@pytest.mark.parametrize('when', ['middle', 'end'])
def test_it_goes_on_exactly(when, parts, tmp_path):
    model = make(parts[0].info, sparse=True)
    whole = train(model, parts, tmp_path / 'whole', lr=0.01)
    other = make(parts[0].info, sparse=True)
    path = tmp_path / 'stopped'
    stop = SignalAt({'middle': 10, 'end': 14}[when])
    with pytest.raises(SystemExit):
        train(other, parts, path, lr=0.01, callbacks=[stop])
    other = make(parts[0].info, sparse=True)
    result = train(other, parts, path, lr=0.01, resume=True)
    assert_same(whole, result, model, other)


@pytest.mark.parametrize('algorithm', ['norm', 'value'])
@pytest.mark.parametrize('limit', [0.01, 100.0])
def test_clipping_is_that_of_dense_gradients(limit, algorithm, parts, tmp_path):
    seen = {}

    class Watch(Callback):
        def on_train_batch_end(self, trainer, module, *args):
            grads = [p.grad.to_dense() for p in module.model.parameters()]
            seen.setdefault(sparse, torch.cat([g.flatten() for g in grads]))

    for sparse in (True, False):
        torch.manual_seed(0)
        model = FM(parts[0].info, 4, embedding_std=1.0, sparse=sparse)
        train(
            model,
            parts,
            tmp_path,
            gradient_clip_val=limit,
            gradient_clip_algorithm=algorithm,
            embedding_l2=0.0,
            max_epochs=1,
            callbacks=[Watch()],
        )
    torch.testing.assert_close(seen[True], seen[False])
    size = seen[True].norm() if algorithm == 'norm' else seen[True].abs().max()
    assert (size == pytest.approx(limit, rel=1e-3)) == (limit < 1)

"""Trainings that go on from one day to the next."""

import copy

import pytest
import torch
from fit_parts import QUIET, SignalAt, assert_same
from lightning.pytorch import Trainer

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import AIM, FM, LR, DeepFM, FieldModel
from pyg_featgraph.training import FieldModule, TrainingOptions, fit
from pyg_featgraph.training.penalty import Penalty
from pyg_featgraph.training.start import Start, count_rows

KINDS = ('categorical', 'categorical')
#: Of the first field, what is rare is 1; the second day has no 2 to 5 any more,
#: and 8 to 11 are new.
OLD = FieldInfo(('a', 'b'), (8, 4), (1, 1), KINDS)
NEW = FieldInfo(('a', 'b'), (12, 4), (1, 1), KINDS)


def rows(info, first, last, num_rows=400, seed=0, turn=1):
    """Labels that say yes for every other id of the first field."""
    rng = torch.Generator().manual_seed(seed)
    a = torch.randint(first, last, (num_rows,), generator=rng)
    b = torch.randint(0, 4, (num_rows,), generator=rng)
    index = torch.stack([a, b + info.offsets[1]], dim=1)
    y = (
        torch.rand(num_rows, generator=rng) < 0.5 + turn * (0.3 - 0.6 * (a % 2))
    ).float()
    return FieldTable(index.int(), torch.ones(num_rows, 2), info, y)


def train(model, table, path, **options):
    options = {**QUIET, 'max_epochs': 2, 'lr': 0.01, **options}
    return fit(model, *table.split([0.8, 0.2]), directory=path, **options)


def two_days(path, make=DeepFM, memory=0.2, second=None, turn=1, **options):
    """The model after each day, and the table of the second."""
    torch.manual_seed(0)
    model = make(OLD)
    train(model, rows(OLD, 1, 8), path / '1', memory=memory, **options)
    model.grow(NEW)
    first = {k: v.clone() for k, v in model.state_dict().items()}
    table = rows(NEW, 6, 12, seed=1, turn=turn)
    second = memory if second is None else second
    train(model, table, path / '2', memory=second, **options)
    return first, model, table


@pytest.mark.parametrize('sparse', [False, True])
@pytest.mark.parametrize('make', [DeepFM, AIM, LR])
def test_what_it_adds_to_gradients(make, sparse):
    """The derivative of what the equation says."""
    torch.manual_seed(0)
    model = make(NEW, sparse=sparse).double()
    model.rows_seen = torch.tensor([0, 5, 3, 9, 1, 2, 4, 6, 0, 0, 0, 0])
    model.rows_seen = torch.cat([model.rows_seen, torch.tensor([3, 3, 0, 24])])
    start, begin = Start.of(model), copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    penalty = Penalty(model, 0.7, 0.3, start)
    table = rows(NEW, 0, 12, 2000)
    penalty.count(count_rows(table), len(table), len(table))
    model.loss(_double(table[:2000])).backward()
    before = {
        name: 0 if p.grad is None else p.grad.to_dense().clone()
        for name, p in model.named_parameters()
    }
    penalty.add()
    tables = {
        id(p): count
        for module in model.tables
        for p, count in module.by_table(model.rows_seen.double())
    }
    assert tables
    for name, p in model.named_parameters():
        if p.grad is None:
            continue
        begun, strength = begin[name], 0.3 * 30
        if id(p) in tables:
            count = tables[id(p)].unsqueeze(1)
            begun, strength = begun * (count > 0), 0.7 + 0.3 * count
        expected = before[name] + strength * (p.detach() - begun)
        torch.testing.assert_close(p.grad.to_dense(), expected)


def _double(batch):
    for name in ('slot_value', 'y'):
        batch[name] = batch[name].double()
    return batch


@pytest.mark.parametrize('sparse', [False, True])
def test_what_a_day_lacks_is_kept(sparse, tmp_path):
    """To the last bit; without it, the penalty takes it away."""
    kept, lost = (
        two_days(
            tmp_path,
            lambda info: DeepFM(info, 4, sparse=sparse),
            second=memory,
            embedding_l2=5.0,
        )
        for memory in (0.2, 0.0)
    )
    name = 'linear.table.weight'
    for (first, model, _), is_kept in ((kept, True), (lost, sparse)):
        now, then = model.state_dict()[name], first[name]
        assert torch.equal(now[2:6], then[2:6]) == is_kept
        assert not torch.equal(now[8:12], then[8:12])


def test_the_more_it_counts_the_less_moves(tmp_path):
    """When labels turn; what is new moves as it would."""
    way = {}
    for memory in (0.001, 1.0):
        first, model, _ = two_days(
            tmp_path,
            memory=memory,
            turn=-1,
            lr=4e-3,
            batch_size=64,
            max_epochs=10,
        )
        now = model.state_dict()
        way[memory] = [
            (now[name] - first[name])[rows].norm()
            for name, rows in (
                ('linear.table.weight', slice(6, 8)),
                ('mlp.hidden.lins.0.weight', ...),
                ('linear.table.weight', slice(8, 12)),
            )
        ]
    old, dense, new = zip(*way.values(), strict=True)
    assert old[0] > 2 * old[1]
    assert dense[0] > 2 * dense[1]
    assert new[1] > 0.6 * new[0]


def test_rows_are_counted_from_day_to_day(tmp_path):
    first, model, table = two_days(tmp_path)
    day = rows(OLD, 1, 8).split([0.8, 0.2])[0]
    count = count_rows(day)
    assert int(count.sum()) == 2 * 320
    expected = torch.cat([count[:8], torch.zeros(4).long(), count[8:]])
    assert torch.equal(first['rows_seen'], expected)
    expected = expected + count_rows(table.split([0.8, 0.2])[0])
    assert torch.equal(model.rows_seen, expected)
    model.save(tmp_path / 'model.safetensors')
    again = FieldModel.load(tmp_path / 'model.safetensors')
    assert torch.equal(again.rows_seen, expected)
    # A category that is gone leaves no rows to the next one:
    model.grow(NEW, torch.tensor([7]))
    assert model.rows_seen[7] == 0
    assert torch.equal(model.rows_seen[:7], expected[:7])
    # Nothing is counted, or kept, that is not asked for:
    train(model, table, tmp_path / 'none')
    assert model.rows_seen is None
    assert 'rows_seen' not in model.state_dict()


@pytest.mark.parametrize('when', ['middle', 'end'])
def test_it_goes_on_exactly(when, tmp_path):
    """Also with a model that the stopped training has left behind."""
    day, options = rows(NEW, 6, 12, seed=1), {'memory': 0.2, 'batch_size': 64}

    def begun():
        torch.manual_seed(0)
        model = DeepFM(OLD)
        train(model, rows(OLD, 1, 8), tmp_path / '1', **options)
        model.grow(NEW)
        return model

    whole, other = begun(), begun()
    result = train(whole, day, tmp_path / 'whole', **options)
    stop = SignalAt({'middle': 7, 'end': 10}[when])
    with pytest.raises(SystemExit):
        train(other, day, tmp_path / 'two', callbacks=[stop], **options)
    again = train(other, day, tmp_path / 'two', resume=True, **options)
    assert_same(result, again, whole, other)
    # One that has come to its end gives what it gave:
    fresh = begun()
    again = train(fresh, day, tmp_path / 'two', resume=True, **options)
    assert_same(result, again, whole, fresh)


def test_units_of_labels_stay(tmp_path):
    """Weights of yesterday are in the unit that labels had then."""
    table = rows(OLD, 1, 8)
    other = rows(OLD, 1, 8, seed=1)
    other.y = 50 * other.y + 7
    for memory, stays in ((0.2, True), (0.0, False)):
        model = FM(OLD, 4, head='regression')
        train(model, table, tmp_path, memory=memory)
        std = model.head.std.clone()
        train(model, other, tmp_path, memory=memory)
        assert torch.equal(model.head.std, std) == stays


def test_without_a_data_module_it_cannot_count():
    options = TrainingOptions(memory=0.2)
    trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    loader = [rows(OLD, 1, 8)[:8]]
    with pytest.raises(ValueError, match='FieldDataModule'):
        trainer.fit(FieldModule(FM(OLD, 4), options), loader)
    with pytest.raises(ValueError, match="'memory' must not be negative"):
        TrainingOptions(memory=-1)


def test_it_says_what_it_goes_on_from(tmp_path, capsys):
    two_days(tmp_path)
    said = [x for x in capsys.readouterr().err.splitlines() if 'learned' in x]
    assert [x.split()[3] for x in said] == ['0', '320']

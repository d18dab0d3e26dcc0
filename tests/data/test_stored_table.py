import json
import pickle

import pandas as pd
import pytest
import torch

from pyg_featgraph.data import (
    Field,
    FieldEncoder,
    FieldGraphLoader,
    FieldSchema,
    FieldTable,
    shards,
)
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import LR, joint_effects, row_effects
from pyg_featgraph.training import fit, predict

SIZE = 1000


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A table in memory, and the same in a folder."""
    monkeypatch.setattr(shards, 'BLOCK_ROWS', 32)
    monkeypatch.setattr(shards, 'SHARD_ROWS', 160)
    planted = PlantedInteractions(
        SIZE, {2: 2}, num_numeric=3, num_categorical=5
    )
    df = planted.frame()
    encoder = FieldEncoder(planted.schema()).fit(df)
    stored = encoder.transform(df, tmp_path / 'table')
    table = encoder.transform(df)
    assert stored.info == table.info
    return table, FieldTable.open(tmp_path / 'table', window=150)


def same(one, other):
    assert len(one) == len(other)
    for name in ('slot_index', 'slot_value', 'y'):
        assert torch.equal(getattr(one, name), getattr(other, name))


def numbers(loader):
    """The row numbers of each batch, which is what each one holds."""
    sampler = loader._sampler
    rows = [*sampler.batches(sampler.epoch)]
    for batch, at in zip(loader, rows, strict=True):
        expected = loader.dataset.table.batch(at)
        assert torch.equal(batch.slot_index, expected.slot_index)
        assert torch.equal(batch.slot_value, expected.slot_value)
        assert torch.equal(batch.y, expected.y)
    return rows


def test_rows_are_those_in_memory(tables):
    table, stored = tables
    same(stored, table)
    generator = torch.Generator().manual_seed(0)
    for rows in (
        slice(None),
        slice(37, 431),
        slice(990, 10_000),
        slice(900, 100, -7),
        torch.randint(SIZE, (300,), generator=generator),
        torch.randint(SIZE, (20,), generator=generator),
        [-1, 0, 500],
        torch.rand(SIZE, generator=generator) < 0.1,
    ):
        if not (isinstance(rows, slice) and (rows.step or 1) < 0):
            same(stored.subset(rows), table.subset(rows))
            one, other = stored.batch(rows), table.batch(rows)
            assert torch.equal(one.slot_index, other.slot_index)
            assert torch.equal(one.y, other.y)
    assert torch.equal(stored[5].node_index, table[5].node_index)
    with pytest.raises(IndexError, match='of a table of 1000 rows'):
        stored.batch([1000])
    same(
        stored.subset(slice(100, 300)).subset(slice(50, 60)),
        table.subset(slice(150, 160)),
    )
    stored.drop_absent = True
    assert stored.batch([1]).mask is not None
    assert stored.subset(slice(3, 9)).drop_absent
    assert stored.subset([1]).drop_absent
    parts = [*stored.parts()]
    assert torch.equal(
        torch.cat([x.slot_index for x in parts]), table.slot_index
    )


def test_parts_stay_in_the_folder(tables):
    table, stored = tables
    parts = stored.split([0.61, 0.29, 0.1], seed=3)
    assert [len(x) for x in parts] == [610, 290, 100]
    rows = torch.cat([x.slot_value for x in parts]).sort(dim=0).values
    assert torch.equal(rows, table.slot_value.sort(dim=0).values)
    prints = [x.fingerprint() for x in (stored, *parts)]
    assert len({*prints}) == 4
    again = FieldTable.open(stored.folder).split([0.61, 0.29, 0.1], seed=3)
    assert [x.fingerprint() for x in again] == prints[1:]
    same(again[1], parts[1])
    with pytest.raises(ValueError, match='sum to one'):
        stored.split([0.5, 0.6])


@pytest.mark.parametrize('shuffle', [False, True])
def test_order_and_workers(tables, shuffle):
    stored = tables[1]
    loaders = [
        FieldGraphLoader(stored, 48, shuffle, seed=1, num_workers=workers)
        for workers in (0, 2)
    ]
    one, two = (numbers(loader) for loader in loaders)
    assert [x.tolist() for x in one] == [x.tolist() for x in two]
    assert torch.equal(torch.cat(one).sort().values, torch.arange(SIZE))
    assert [len(x) for x in one] == [48] * 20 + [40]
    if not shuffle:
        assert torch.equal(torch.cat(one), torch.arange(SIZE))
        return
    again = numbers(loaders[0])
    assert again[0].tolist() != one[0].tolist()
    # Rows of a batch come from anywhere in the table, but no more blocks are
    # open than a window has, and those of two at its end:
    blocks = [(x // 32).unique() for x in one]
    assert max(len(x) for x in blocks) <= 2 * 5
    assert min(int(x.max() - x.min()) for x in blocks) > 5
    mixed = torch.cat(one)
    window = mixed[: 4 * 32] // 32
    assert (window[1:] == window[:-1]).float().mean() < 0.5


def test_processes_share_an_epoch(tables):
    stored = tables[1]
    parts = [
        numbers(FieldGraphLoader(stored, 30, True, 0, rank, 2))
        for rank in range(2)
    ]
    rows = torch.cat([x for part in parts for x in part])
    assert torch.equal(rows.sort().values, torch.arange(SIZE))
    whole = [*FieldGraphLoader(stored, 60, True)._sampler.batches(0)]
    both = [torch.cat(x) for x in zip(*parts, strict=True)]
    assert [x.tolist() for x in both] == [x.tolist() for x in whole]


def test_an_epoch_is_taken_up_where_it_was(tables):
    stored = tables[1]

    def batches(loader, stop=None):
        out = []
        for batch in loader:
            out.append((batch.slot_index.tolist(), batch.y.tolist()))
            if len(out) == stop:
                break
        return out

    whole = FieldGraphLoader(stored, 48, True, seed=2)
    expected = [batches(whole), batches(whole)]
    for stop in (1, 7, 20):
        first = FieldGraphLoader(stored, 48, True, seed=2)
        batches(first)
        begun = batches(first, stop)
        state = json.loads(json.dumps(first.state_dict()))
        second = FieldGraphLoader(stored, 48, True, seed=2, num_workers=1)
        second.load_state_dict(state)
        assert begun + batches(second) == expected[1]
    assert torch.equal(whole.rows(1, 7), [*whole._sampler.batches(1)][7])


def test_memory_is_that_of_a_window(tables):
    stored = tables[1]
    for _ in FieldGraphLoader(stored, 48, shuffle=True):
        pass
    # A window of 150 rows, as blocks of 32:
    assert len(stored._pool.rows) == 6 * 32
    assert not stored._held
    assert pickle.loads(pickle.dumps(stored))._pool is None


def test_blocks_of_any_length(tables, tmp_path):
    table, stored = tables
    order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(4))
    # Ever shorter parts of blocks, in the order of a shuffle:
    parts, rest = [], stored
    while len(rest) > 4:
        rest, part = rest.split([0.5, 0.5], seed=len(rest))
        parts.append(part)
    for part in parts:
        rows = torch.arange(len(part)).flip(0)
        found = torch.cat([part.batch([int(i)]).slot_value for i in rows])
        assert torch.equal(part.batch(rows).slot_value, found)
    # Of each row there is a value, so that none is lost or there twice:
    held = torch.cat([x.slot_value for x in [*parts, rest]])
    assert torch.equal(
        held.sort(dim=0).values, table.slot_value.sort(dim=0).values
    )
    # Blocks make room for others before all rows have been taken:
    small = FieldTable.open(stored.folder, window=1)
    batch = small.batch(order)
    assert len(small._pool.rows) == 2 * 32
    assert torch.equal(batch.slot_value, table.slot_value[order])
    assert torch.equal(batch.y, table.y[order])


def test_fields_without_values(tmp_path):
    df = pd.DataFrame({'x': list('abcab'), 'y': [0, 1, 0, 1, 1]})
    schema = FieldSchema((Field('x', 'categorical'),), 'y')
    encoder = FieldEncoder(schema).fit(df)
    same(encoder.transform(df, tmp_path / 't'), encoder.transform(df))


def test_training_and_prediction(tables, tmp_path):
    table, stored = tables
    test = table.subset(slice(800, None))
    torch.manual_seed(0)
    model = LR(table.info)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    torch.testing.assert_close(predict(model, stored), predict(model, table))
    options = {'max_epochs': 2, 'lr': 0.1, 'batch_size': 64, 'save_steps': 3}
    results = []
    for name, source, valid in (
        (
            'stored',
            stored.subset(slice(0, 800)),
            stored.subset(slice(800, None)),
        ),
        ('mixed', stored.subset(slice(0, 800)), test),
    ):
        model.load_state_dict(start)
        results.append(
            fit(model, source, valid, directory=tmp_path / name, **options)
        )
    assert results[0].metrics == pytest.approx(results[1].metrics, abs=1e-6)
    assert results[0].metrics['valid_auc'] > 0.5
    again = fit(
        model,
        stored.subset(slice(0, 800)),
        test,
        directory=tmp_path / 'mixed',
        resume=True,
        **options,
    )
    assert again.metrics == results[1].metrics
    with pytest.raises(DataError, match="'training rows' has changed"):
        fit(
            model,
            stored.subset(slice(0, 799)),
            test,
            directory=tmp_path / 'mixed',
            resume=True,
            **options,
        )


def test_effects_are_those_in_memory(tables):
    table, stored = tables
    torch.manual_seed(0)
    model = LR(table.info)
    torch.nn.init.normal_(model.linear.table.weight)
    one, other = (joint_effects(model, x, num_rows=50) for x in (table, stored))
    assert torch.equal(one, other)
    one, other = (
        row_effects(model, x, 700, max_order=2).effects.to_json()
        for x in (table, stored)
    )
    assert one == other
    # Without all rows in memory:
    assert not stored._held


def test_damage_is_found(tables, tmp_path):
    folder = tables[1].folder
    path = folder / '000002.arrow'
    data = path.read_bytes()
    at = len(data) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    broken = FieldTable.open(folder)
    assert len(broken.batch(slice(0, 300)).y) == 300
    with pytest.raises(DataError, match=r"000002\.arrow' is damaged"):
        broken.batch(slice(300, 350))
    path.write_bytes(data[:-1])
    with pytest.raises(DataError, match=r'bytes instead of'):
        FieldTable.open(folder)
    path.unlink()
    with pytest.raises(DataError, match='has None bytes'):
        FieldTable.open(folder)
    path.write_bytes(data)
    manifest = folder / 'manifest.json'
    text = manifest.read_text()
    manifest.write_text(text.replace('"rows": 1000', '"rows": 1001'))
    with pytest.raises(DataError, match='damaged'):
        FieldTable.open(folder)
    with pytest.raises(DataError, match=r"lacks 'manifest\.json'"):
        FieldTable.open(tmp_path)
    manifest.write_text(text)
    with pytest.raises(ValueError, match="'window' must be positive"):
        FieldTable.open(folder, window=0)
    same(FieldTable.open(folder), tables[0])

import json
import os
import subprocess
import sys
from pathlib import Path

import distributed
import numpy as np
import pytest
import torch

import pyg_featgraph
from pyg_featgraph.data import FieldGraphLoader, FieldInfo, FieldTable
from pyg_featgraph.data.loader import RowSampler


class Rows(FieldTable):
    """So many rows, as one block or in several, of which some are mixed."""

    def __init__(self, num_rows, block=None, window=None):
        info = FieldInfo(('a',), (1,), (1,), ('categorical',))
        zeros = torch.zeros(num_rows, 1)
        super().__init__(zeros.int(), zeros, info)
        self.block, self.of_window = block, window

    @property
    def window(self):
        return self.of_window or super().window

    @property
    def block_sizes(self):
        if self.block is None:
            return super().block_sizes
        sizes = [len(x) for x in torch.arange(len(self)).split(self.block)]
        return torch.tensor(sizes)


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize('world_size', [1, 2, 3, 4])
@pytest.mark.parametrize('num_rows', [4, 61, 64, 65, 128, 131])
@pytest.mark.parametrize('blocks', [(), (10, 25)])
def test_each_row_is_seen_once(blocks, num_rows, world_size, shuffle):
    size, table = 8, Rows(num_rows, *blocks)
    for epoch in (0, 1):
        shares = []
        for rank in range(world_size):
            sampler = RowSampler(table, size, shuffle, 3, rank, world_size)
            sampler.set_epoch(epoch)
            shares.append(list(sampler))
            assert len(sampler) == len(shares[-1])
        # All have the same number of batches, none of which is empty:
        assert len({len(share) for share in shares}) == 1
        batches = [torch.cat(parts) for parts in zip(*shares, strict=True)]
        assert all(len(x) > 0 for share in shares for x in share)
        rows = torch.cat(batches)
        assert rows.sort().values.tolist() == list(range(num_rows))
        # Together they are the batches of one process:
        alone = RowSampler(table, size * world_size, shuffle, 3)
        alone.set_epoch(epoch)
        assert rows.tolist() == torch.cat(list(alone)).tolist()
        full = num_rows // (size * world_size)
        whole = list(alone.batches(epoch))
        for k in range(full - 1):
            assert batches[k].tolist() == whole[k].tolist()


def test_wrong_samplers():
    with pytest.raises(ValueError, match='3 rows are too few for 4 processes'):
        RowSampler(Rows(3), 8, True, 0, 0, 4)
    with pytest.raises(ValueError, match="'batch_size' must be positive"):
        RowSampler(Rows(3), 0, True, 0)
    assert list(RowSampler(Rows(0), 8, True, 0)) == []


def test_no_seed_has_the_orders_of_another():
    table = Rows(50)
    orders = [
        tuple(next(RowSampler(table, 50, True, seed).batches(epoch)).tolist())
        for seed in range(20)
        for epoch in range(20)
    ]
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_loader_state(num_workers, table):
    """An iteration goes on where another one was."""
    part = table.subset(slice(0, 50))

    def make():
        return FieldGraphLoader(part, 8, shuffle=True, num_workers=num_workers)

    def rows(batches):
        return [x.slot_index.tolist() for x in batches]

    loader = make()
    epochs = [rows(loader) for _ in range(3)]
    assert epochs[0] != epochs[1]
    for position in (1, 5, 6):
        loader, other = make(), make()
        loader.set_epoch(1)
        iterator = iter(loader)
        seen = rows(next(iterator) for _ in range(position))
        assert seen == epochs[1][:position]
        other.load_state_dict(loader.state_dict())
        assert rows(other) == epochs[1][position:]
        assert rows(other) == epochs[2]
    loader = make()
    list(loader)
    assert loader.state_dict() == {'epoch': 1, 'num_batches': 0}


def test_loader_leaves_the_generator_of_everybody(table):
    state = torch.get_rng_state()
    for _ in FieldGraphLoader(table, 512, shuffle=True, seed=3):
        pass
    assert torch.equal(torch.get_rng_state(), state)


TORCHRUN = ('-m', 'torch.distributed.run', '--standalone', '--nproc-per-node')


def start(folder, kind, *options, by_torchrun=True):
    """Trains in two processes, which are started by torchrun or by Lightning;
    what each of them says, if they come to an end.
    """
    script = str(Path(__file__).with_name('distributed.py'))
    launcher = (*TORCHRUN, '2') if by_torchrun else ()
    root = Path(pyg_featgraph.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, *launcher, script, folder, kind, '2', *options],
        env={
            **os.environ,
            'PYTHONPATH': str(root),
            'OMP_NUM_THREADS': '1',
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    outs = sorted(Path(folder).glob('rank-*.out'))
    return done, [json.loads(path.read_text()) for path in outs]


def assert_as_good(alone, both):
    """Sums of the same numbers in another order: a step of Adam is about as
    long as its rate of 0.01, whatever the size of a gradient, and single
    precision tells signs of sums apart that are a 10^-5 of their terms.
    """
    assert len(both) == 2
    for one in both:
        assert one['metrics'].keys() == alone['metrics'].keys()
        for name, value in alone['metrics'].items():
            assert one['metrics'][name] == pytest.approx(value, abs=1e-4), name
        for name, value in alone['weights'].items():
            np.testing.assert_allclose(
                one['weights'][name], value, atol=1e-4, err_msg=name
            )
    # Among themselves they agree to the last bit:
    assert both[0]['weights'] == both[1]['weights']
    assert both[0]['metrics'] == both[1]['metrics']
    # Two epochs of training; validation follows each, and comes at the end:
    for name, size, times in (
        ('train', alone['sizes'][0], 2),
        ('validation', alone['sizes'][1], 3),
    ):
        for outputs in ([alone], both):
            seen = np.concatenate([x['seen'][name] for x in outputs])
            numbers = np.round(1000 * seen).astype(int)
            assert (np.bincount(numbers, minlength=size) == times).all()
        shares = [len(x['seen'][name]) for x in both]
        assert abs(shares[0] - shares[1]) <= times


def test_two_processes_are_as_good_as_one(tmp_path):
    """With sparse gradients, and metrics of groups and slices."""
    alone = distributed.main(tmp_path, 'sparse', 1)
    names = ('valid_gauc', 'valid_ece', 'valid_slice', 'valid_auc')
    assert len({alone['metrics'][name] for name in names}) == len(names)
    done, both = start(tmp_path / 'two', 'sparse')
    assert done.returncode == 0, done.stderr
    assert_as_good(alone, both)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['fit', 'bilevel', 'sparse'])
def test_processes_that_lightning_starts(kind, tmp_path):
    alone = distributed.main(tmp_path, kind, 1)
    done, both = start(tmp_path / 'two', kind, by_torchrun=False)
    assert done.returncode == 0, done.stderr
    assert_as_good(alone, both)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['fit', 'sparse'])
def test_a_signal_to_one_stops_all_and_they_go_on(kind, tmp_path):
    _, whole = start(tmp_path / 'whole', kind)
    done, both = start(tmp_path / 'stopped', kind, 'stop')
    assert done.returncode != 0
    assert not both
    assert 'resume=True goes on with it' in done.stderr
    done, both = start(tmp_path / 'stopped', kind, 'resume')
    assert done.returncode == 0, done.stderr
    for one, two in zip(whole, both, strict=True):
        assert one['weights'] == two['weights']
        assert one['metrics'] == two['metrics']
        assert one['history'] == two['history']
        assert len(two['seen']['train']) < len(one['seen']['train'])
    # A run that has come to its end trains no more:
    done, both = start(tmp_path / 'stopped', kind, 'resume')
    assert done.returncode == 0, done.stderr
    for one, two in zip(whole, both, strict=True):
        assert one['weights'] == two['weights']
        assert not two['seen']['train']

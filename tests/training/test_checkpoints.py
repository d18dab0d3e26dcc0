import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fit_parts import SignalAt, assert_same, make, train

from pyg_featgraph import files
from pyg_featgraph.errors import DataError


@pytest.fixture(scope='module')
def parts(table):
    return table.subset(slice(0, 1400)).split([0.6, 0.2, 0.2])


def test_missing_best_epoch(parts, tmp_path):
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(10)])
    (tmp_path / 'best.ckpt').unlink()
    with pytest.raises(DataError, match=r"best\.ckpt' is missing"):
        train(make(parts[0].info), parts, tmp_path, resume=True)


@pytest.mark.parametrize('name', ['last.ckpt', 'best.ckpt', 'run.json'])
def test_damaged_files(name, parts, tmp_path):
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(10)])
    whole = (tmp_path / name).read_bytes()
    places = torch.linspace(0, len(whole) - 1, 20).long().tolist()
    damaged = [whole[:place] for place in places[:-1:4]]
    for place in places:
        other = bytearray(whole)
        other[place] ^= 4
        damaged.append(bytes(other))
    for content in damaged:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"'.*{name}' is damaged"):
            train(make(parts[0].info), parts, tmp_path, resume=True)
    (tmp_path / name).write_bytes(whole)
    train(make(parts[0].info), parts, tmp_path, resume=True)


def test_checkpoints_carry_no_code(parts, tmp_path):
    with pytest.raises(SystemExit):
        train(make(parts[0].info), parts, tmp_path, callbacks=[SignalAt(3)])
    path = tmp_path / 'last.ckpt'
    state = torch.load(path, weights_only=True)
    ran = tmp_path / 'ran'

    class Evil:
        def __reduce__(self):
            return (Path.touch, (ran,))

    with files.sealing(path) as temporary:
        torch.save({**state, 'evil': Evil()}, temporary)
    with pytest.raises(DataError, match=r"'.*last.ckpt' holds no valid"):
        train(make(parts[0].info), parts, tmp_path, resume=True)
    assert not ran.exists()


def test_full_disk(parts, tmp_path):
    """The error names the file, and what was there stays."""
    model = make(parts[0].info)
    whole = train(model, parts, tmp_path / 'whole')
    path = tmp_path / 'full'
    original = torch.save

    def save(value, file, **kwargs):
        if value['epoch'] == 1:
            Path(file).write_bytes(b'some')
            raise OSError(errno.ENOSPC, 'No space left on device')
        original(value, file, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, 'save', save)
        with pytest.raises(OSError, match='No space left') as error:
            train(make(parts[0].info), parts, path)
    assert error.value.errno == errno.ENOSPC
    assert Path(error.value.filename).parent == path
    assert not list(path.glob('*.tmp'))
    state = torch.load(path / 'last.ckpt', weights_only=True)
    assert state['epoch'] == 0
    other = make(parts[0].info)
    result = train(other, parts, path, resume=True)
    assert_same(whole, result, model, other)


def test_leftovers_of_the_killed_are_removed(parts, tmp_path):
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    host = os.uname().nodename
    name = f'.featgraph-{host}-{process.pid}-{16 * "a"}.tmp'
    (tmp_path / name).write_bytes(b'half')
    train(make(parts[0].info), parts, tmp_path)
    assert not list(tmp_path.glob('.*.tmp'))

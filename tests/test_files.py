import errno
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import (
    SEAL,
    read_json,
    reading,
    replacing,
    sealing,
    write_json,
)


def write_half(path, error):
    with replacing(path) as temporary:
        temporary.write_text('half')
        raise error


def verify(path):
    with reading(path, 'test'):
        pass


def test_a_file_appears_as_a_whole(tmp_path):
    path = tmp_path / 'x'
    path.write_text('before')
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text('after')
        assert path.read_text() == 'before'
    assert path.read_text() == 'after'
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError())
    assert path.read_text() == 'after'
    assert list(tmp_path.iterdir()) == [path]


def test_data_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, 'fsync', lambda fd: done.append(os.fstat(fd).st_ino) or sync(fd)
    )
    monkeypatch.setattr(
        os, 'replace', lambda a, b: done.append('replace') or replace(a, b)
    )
    with replacing(tmp_path / 'x') as temporary:
        temporary.write_text('x')
    file, folder = (tmp_path / 'x').stat().st_ino, tmp_path.stat().st_ino
    assert done == [file, 'replace', folder]


def test_long_names(tmp_path):
    path = tmp_path / (255 * 'x')
    write_json(path, {'a': 1})
    assert read_json(path, 'test') == {'a': 1}


def test_errors_name_the_file(tmp_path):
    path = tmp_path / 'x'
    path.write_text('before')
    full = OSError(errno.ENOSPC, 'No space left on device')
    with pytest.raises(OSError, match=r'stays.*No space left') as caught:
        write_half(path, full)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(path)
    assert path.read_text() == 'before'
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(FileNotFoundError, match=r'make it first.*absent'):
        write_half(tmp_path / 'absent' / 'x', full)


WRITER = """
import sys, time
from pyg_featgraph.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text('half')
    print(temporary, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_leaves(tmp_path):
    path = tmp_path / 'x'
    process = subprocess.Popen(
        [sys.executable, '-c', WRITER, path], stdout=subprocess.PIPE, text=True
    )
    left = Path(process.stdout.readline().strip())
    foreign = tmp_path / left.name.replace(socket.gethostname(), 'elsewhere')
    foreign.write_text('the process of another machine')
    with replacing(path) as temporary:
        temporary.write_text('one')
    # While the process runs, its file is its own:
    assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.exists()
    with replacing(path) as temporary:
        temporary.write_text('two')
    assert sorted(tmp_path.iterdir()) == sorted([path, foreign])


def test_many_writers(tmp_path):
    path = tmp_path / 'x'

    def write(i):
        write_json(path, {'a': [i] * 1000})
        values = read_json(path, 'test')['a']
        assert len(values) == 1000
        assert len(set(values)) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(100)))
    assert list(tmp_path.iterdir()) == [path]


def write_parquet(path):
    table = pa.table({'a': [1, 2]}).replace_schema_metadata({'seal': SEAL})
    pq.write_table(table, path)


def read_parquet(path):
    return pq.read_table(path)['a'].to_pylist()


FORMATS = {
    'safetensors': (
        lambda path: save_file({'a': torch.arange(3)}, path, {'seal': SEAL}),
        lambda path: load_file(path)['a'].tolist(),
    ),
    'parquet': (write_parquet, read_parquet),
    'json': (
        lambda path: path.write_text(json.dumps({'seal': SEAL, 'a': [3]})),
        lambda path: json.loads(path.read_text())['a'],
    ),
    'checkpoint': (
        lambda path: torch.save({'a': torch.arange(4)}, path),
        lambda path: torch.load(path, mmap=True)['a'].tolist(),
    ),
}


@pytest.mark.parametrize('name', FORMATS)
def test_every_byte_counts(name, tmp_path):
    path, damaged = tmp_path / 'x', tmp_path / 'y'
    write, read = FORMATS[name]
    with sealing(path) as temporary:
        write(temporary)
        plain = read(temporary)
    # The file is still one of its format:
    assert read(path) == plain
    verify(path)
    data = path.read_bytes()
    assert SEAL.encode() not in data
    for i in range(len(data)):
        damaged.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(DataError, match=r"y' is damaged"):
            verify(damaged)
    for end in (*range(0, len(data), 7), len(data) - 1):
        damaged.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"y' is damaged"):
            verify(damaged)
    damaged.write_bytes(data + b'\n')
    with pytest.raises(DataError, match=r'damaged.*wrong.*take another copy'):
        verify(damaged)


def write_sealed(path, text):
    with sealing(path) as temporary:
        temporary.write_text(text)


def read_with(path, error):
    with reading(path, 'test'):
        raise error


def test_a_seal_is_needed_once(tmp_path):
    for times in (0, 2):
        with pytest.raises(ValueError, match=f'does {times} times'):
            write_sealed(tmp_path / 'x', SEAL * times)
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_inside_names_the_file(tmp_path):
    path = tmp_path / 'x'
    write_json(path, {'a': 1})
    for error, message in (
        (KeyError('b'), "x' holds no valid test: KeyError.'b'."),
        (DataError('field 3'), "x' holds no valid test: field 3"),
    ):
        with pytest.raises(DataError, match=message):
            read_with(path, error)
    with pytest.raises(FileNotFoundError, match='absent'):
        read_json(tmp_path / 'absent', 'test')
    for text in (f'["{SEAL}"]', f'{{"a": "{SEAL}"', f'{{"a": "{SEAL}"}}'):
        write_sealed(path, text)
        with pytest.raises(DataError, match="x' holds no valid test"):
            read_json(path, 'test')

import math
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import Perturbation, glider, madex
from pyg_featgraph.files import read_json, write_json

OPTIONS = {
    'num_samples': (60, 20, 20),
    'hidden_channels': (8,),
    'max_epochs': 2,
    'chunk_size': 2,
    'progress': False,
}


class Box(Perturbation):
    """Rows of five features and one without any to switch off."""

    def __init__(self, factor=4.0, last=math.inf, stop=KeyboardInterrupt):
        self.factor, self.last, self.stop = factor, last, stop
        self.asked = []

    def __len__(self):
        return 9

    def names(self, row):
        return list('abcde') if row else ['a']

    def logits(self, row, masks):
        self.asked.append((row, len(masks)))
        if row > self.last:
            raise self.stop
        x = masks.float()
        return x.sum(dim=1) + row + self.factor * x[:, 0] * x[:, 1]


def run(directory, box=None, resume=True, **changes):
    options = OPTIONS | {'threshold': True} | changes
    box = box or Box()
    return madex(box, directory=directory, resume=resume, **options)


def same(one, two):
    # A row without features has errors that are not equal to themselves:
    return str(one) == str(two) and one[1:] == two[1:]


def test_goes_on_where_it_stopped(tmp_path):
    expected = madex(Box(), threshold=True, **OPTIONS)
    path = tmp_path / 'new' / 'folder'
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(path, Box(last=4), resume=False)
    assert 'resume=True' in stopped.value.__notes__[0]
    assert sorted(x.name for x in path.iterdir()) == [
        'chunk-0.json',
        'chunk-1.json',
    ]
    box = Box()
    assert same(run(path, box), expected)
    # Rows that are there are only looked at:
    assert box.asked == [
        *((row, 8) for row in (1, 2, 3, 4)),
        *((row, 100) for row in (5, 6, 7, 8)),
    ]
    box = Box()
    assert same(run(path, box), expected)
    assert {size for _, size in box.asked} == {8}
    # A new start asks for everything again:
    box = Box()
    assert same(run(path, box, resume=False), expected)
    assert {size for _, size in box.asked} == {100}


def test_a_new_start_forgets_what_was_there(tmp_path):
    run(tmp_path, resume=False, seed=1)
    with pytest.raises(ZeroDivisionError) as stopped:
        run(tmp_path, Box(last=4, stop=ZeroDivisionError), resume=False)
    assert not hasattr(stopped.value, '__notes__')
    assert same(run(tmp_path), madex(Box(), threshold=True, **OPTIONS))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'seed': 1}, "'seed' was 0 and is 1 now"),
        ({'max_epochs': 3}, "'max_epochs' was 2 and is 3 now"),
        ({'masks': 'bernoulli'}, "'masks' was lime"),
        ({'l1': 1e-3}, r"'l1' was None and is 0\.001 now"),
        ({'rows': range(3, 9)}, r"'rows' was \[1, 2\] and is \[3, 4\] now"),
        ({'box': Box(4.1)}, 'black box has other answers to row 1'),
    ],
)
def test_only_the_same_goes_on(changes, message, tmp_path):
    run(tmp_path, resume=False)
    with pytest.raises(DataError, match=f'{message}.*Set it back'):
        run(tmp_path, **changes)


def test_damaged_results(tmp_path):
    run(tmp_path, resume=False)
    path = tmp_path / 'chunk-1.json'
    data = path.read_bytes()
    path.write_bytes(data[:-9])
    with pytest.raises(DataError, match=r'chunk-1\.json.* is damaged'):
        run(tmp_path)
    path.write_bytes(data)
    values = read_json(path, 'test')
    for name, wrong in (
        ('results', [{}]),
        ('results', 3),
        ('answers', [[1.0], ['a']]),
        ('answers', []),
        ('options', None),
    ):
        write_json(path, values | {name: wrong})
        with pytest.raises(DataError, match=r'chunk-1\.json. holds no valid'):
            run(tmp_path)


def test_a_folder_is_needed():
    with pytest.raises(ValueError, match="'resume' needs the 'directory'"):
        run(None)


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_taken_up import Slow, found
found(Slow(), sys.argv[2])
"""


class Slow(Box):
    def names(self, row):
        return list('abcde')

    def logits(self, row, masks):
        time.sleep(0.02)
        return super().logits(row, masks)


def found(box, directory=None):
    options = OPTIONS | {'chunk_size': 1, 'max_epochs': 20}
    resume = directory is not None
    return glider(box, directory=directory, resume=resume, **options)


@pytest.mark.parametrize('kills', [1, pytest.param(12, marks=pytest.mark.slow)])
def test_killed(kills, tmp_path):
    expected = found(Slow())
    rng = random.Random(kills)
    folder = os.path.dirname(__file__)
    for kill in range(kills):
        path = tmp_path / str(kill)
        process = subprocess.Popen([sys.executable, '-c', SCRIPT, folder, path])
        while not path.is_dir() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert found(Slow(), path) == expected
        names = sorted(x.name for x in (path / 'rows-0').iterdir())
        assert names == [f'chunk-{i}.json' for i in range(9)]

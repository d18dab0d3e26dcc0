"""A thousand fields: what a step needs of memory for each further row."""

import multiprocessing
from pathlib import Path

import pytest
import torch

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import AIM, GraphFM

N = 1000
MATRIX = 4 * N * N / 1e6  # Megabytes of a number for each pair of a row.


def measure(model, rows, queue):
    torch.set_num_threads(1)
    info = FieldInfo(
        tuple(f'f{i}' for i in range(N)),
        (10,) * N,
        (1,) * N,
        ('categorical',) * N,
    )
    index = torch.randint(0, 10, (rows, N)) + 10 * torch.arange(N)
    table = FieldTable(index.int(), torch.ones(index.size()), info)
    built, batch = model(info), table.batch()
    # The peak so far, when the model was made, is forgotten:
    Path('/proc/self/clear_refs').write_text('5')
    before = peak()
    built(batch).sum().backward()
    queue.put(peak() - before)


def peak():
    text = Path('/proc/self/status').read_text()
    return int(text.split('VmHWM:')[1].split()[0]) / 1e3


def megabytes(model, rows):
    context = multiprocessing.get_context('spawn')
    queue = context.Queue()
    process = context.Process(target=measure, args=(model, rows, queue))
    process.start()
    process.join()
    assert process.exitcode == 0
    return queue.get()


@pytest.mark.slow
@pytest.mark.skipif(
    not Path('/proc/self/clear_refs').exists(), reason='needs Linux'
)
@pytest.mark.parametrize('kernels', ['portable', ''])
@pytest.mark.parametrize(
    ('model', 'matrices'),
    # In each of three layers GraphFM keeps the scores that were selected, and
    # of each node half as much. AIM has four values for each pair, which are
    # two matrices, and of these a small part at a time.
    [(GraphFM, 5.5), (AIM, 0.2)],
)
def test_memory_of_further_rows(model, matrices, kernels, monkeypatch):
    monkeypatch.setenv('PYG_FEATGRAPH_KERNELS', kernels)
    # What is freed is gone at once, so that the peak is what a step needs, and
    # not what has been left over in between:
    monkeypatch.setenv('MALLOC_MMAP_THRESHOLD_', '65536')
    few, more = (megabytes(model, rows) for rows in (16, 32))
    assert more - few < 16 * matrices * MATRIX

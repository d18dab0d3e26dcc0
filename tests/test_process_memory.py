"""Memory that a step has freed is at hand for the next one, and large tables
are in large pages.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from pyg_featgraph.process_memory import keep_freed_memory

# In a process of its own, whose memory nobody else has touched:
CODE = """
import resource
from pathlib import Path

import torch

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.process_memory import free_surplus
from pyg_featgraph.nn import FieldEmbedding
from pyg_featgraph.nn.kernels import top_m
from pyg_featgraph.optim import RowWiseAdagrad


def touched():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def megabytes(name):
    text = Path('/proc/self/smaps_rollup').read_text()
    return int(text.split(name + ':')[1].split()[0]) / 1e3


# The pages that ten rounds of the same pieces touch for the first time:
top_m(torch.rand(2, 3), 1)
for k in range(20):
    parts = [torch.ones(2**22) for _ in range(8)]
    if k == 9:
        before = touched()
    del parts
print(touched() - before)

# What stays lies between what goes, 800 MB of it:
before = megabytes('Rss')
pairs = [(torch.ones(2**21), torch.ones(2**10)) for _ in range(100)]
small = [pair[1] for pair in pairs]
del pairs
print(megabytes('Rss') - before)
free_surplus()
print(megabytes('Rss') - before)

# What a table of 80 MB has in large pages, one that has grown, and its state:
info = FieldInfo(('a',), (20_000_000,), (1,), ('categorical',))
large = [megabytes('AnonHugePages')]
embedding = FieldEmbedding(info, 1, std=0.0)
large.append(megabytes('AnonHugePages'))
first = embedding.weight
embedding.grow(info, [torch.arange(20_000_000)])
large.append(megabytes('AnonHugePages'))
optimizer = RowWiseAdagrad(embedding.parameters(), lr=0.1)
embedding(torch.tensor([[3]]), torch.ones(1, 1)).sum().backward()
optimizer.step()
large.append(megabytes('AnonHugePages'))
print(*[b - a for a, b in zip(large, large[1:])])
"""

PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


@pytest.mark.skipif(
    not keep_freed_memory(), reason='another allocator, or one that was told'
)
def test_memory_of_a_process():
    run = [sys.executable, '-c', CODE]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    pages, kept, left, *large = map(float, out.stdout.split())
    # In all, 32,768 pages (128 MB) are touched ten times:
    assert pages < 2 * 32_768
    assert kept > 600
    assert left < kept - 500
    if PAGES.exists() and '[madvise]' in PAGES.read_text():
        # But for what is in the way of the first page and of the last:
        assert min(large) > 70


def test_who_has_told_the_allocator_is_not_overruled(monkeypatch):
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '65536')
    assert not keep_freed_memory.__wrapped__()

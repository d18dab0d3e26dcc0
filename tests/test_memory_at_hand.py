"""Memory that a step has freed is at hand for the next one."""

import subprocess
import sys
from pathlib import Path

import pytest

from pyg_featgraph.memory import keep_freed_memory

# The pages that ten rounds of the same pieces touch for the first time:
CODE = """
import resource
import torch
from pyg_featgraph.nn.kernels import top_m

top_m(torch.rand(2, 3), 1)
for k in range(20):
    parts = [torch.ones(2**22) for _ in range(8)]
    if k == 9:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not keep_freed_memory(), reason='another allocator, or one that was told'
)
def test_freed_memory_is_at_hand():
    run = [sys.executable, '-c', CODE]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    # In all, 32,768 pages (128 MB) are touched ten times:
    assert int(out.stdout) < 2 * 32_768


def test_who_has_told_the_allocator_is_not_overruled(monkeypatch):
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '65536')
    assert not keep_freed_memory.__wrapped__()


LEFT_OVER = """
from pathlib import Path
import torch
from pyg_featgraph.memory import free_surplus, keep_freed_memory

def megabytes():
    text = Path('/proc/self/status').read_text()
    return int(text.split('VmRSS:')[1].split()[0]) / 1e3

keep_freed_memory()
before = megabytes()
# What stays lies between what goes, 800 MB of it:
pairs = [(torch.ones(2**21), torch.ones(2**10)) for _ in range(100)]
small = [pair[1] for pair in pairs]
del pairs
kept = megabytes() - before
free_surplus()
print(kept, megabytes() - before)
"""


@pytest.mark.skipif(
    not keep_freed_memory(), reason='another allocator, or one that was told'
)
def test_what_is_free_in_between_is_handed_back():
    run = [sys.executable, '-c', LEFT_OVER]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    kept, left = map(float, out.stdout.split())
    assert left < 100 < 700 < kept


LARGE_TABLE = """
from pathlib import Path
import torch
from pyg_featgraph.data import FieldInfo
from pyg_featgraph.nn import FieldEmbedding
from pyg_featgraph.optim import RowWiseAdagrad

def megabytes():
    text = Path('/proc/self/smaps_rollup').read_text()
    return int(text.split('AnonHugePages:')[1].split()[0]) / 1e3

out = []
def look():
    out.append(megabytes() - sum(out))

look()
info = FieldInfo(('a',), (20_000_000,), (1,), ('categorical',))
embedding = FieldEmbedding(info, 1, std=0.0)
look()
optimizer = RowWiseAdagrad(embedding.parameters(), lr=0.1)
x = embedding(torch.tensor([[3]]), torch.ones(1, 1))
x.sum().backward()
optimizer.step()
look()
embedding.grow(info, [torch.arange(20_000_000)])
look()
print(*out[1:])
"""

PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')


@pytest.mark.skipif(
    not PAGES.exists() or '[madvise]' not in PAGES.read_text(),
    reason='pages are large always, or never',
)
def test_large_tables_are_in_large_pages():
    run = [sys.executable, '-c', LARGE_TABLE]
    out = subprocess.run(run, capture_output=True, text=True, check=True)
    # Of 80 MB each, and what is in their way in the first and the last page:
    assert all(float(x) > 70 for x in out.stdout.split()), out.stdout

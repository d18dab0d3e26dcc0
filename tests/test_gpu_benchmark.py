"""The benchmark for GPUs, in the interpreter where there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyg_featgraph.nn.kernels.backend import VARIABLE

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

from gpu_kernels import works

pytest.importorskip('triton', reason='Triton is not installed')

SCRIPT = Path(__file__).parents[1] / 'benchmarks' / 'gpu.py'


def run(path, *args):
    sizes = ['--rows', '2', '--fields', '4', '--rounds', '2']
    command = [sys.executable, SCRIPT, *args, *sizes, '--json', path]
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run(command, env=env, check=True, capture_output=True)
    return json.loads(path.read_text())['rows']


def test_kernels_take_what_they_are_given(monkeypatch):
    monkeypatch.setenv(VARIABLE, 'portable')
    numbers = {'device': 'cpu', 'dtype': torch.float32}
    found = works(2, 4, 3, numbers)
    for work in found:
        work.operator(*work.given)
        assert work.flops > 0
        assert work.numbers > 0
    assert len({work.name for work in found}) == len(found)


@pytest.mark.slow
def test_models(tmp_path):
    rows = run(tmp_path / 'gpu.json', 'models', '--models', 'aim-inner')
    forms = [row['form'] for row in rows]
    assert forms[-2:] == ['portable', 'Triton']
    for row in rows:
        low, high = row['step ms'].split('[')[1].strip(']').split('-')
        assert 0 < float(low) <= float(high)
    assert rows[-1]['step, times Triton'].startswith('1.00 ')


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['tf32', 'bfloat16'])
def test_kernels(precision, tmp_path):
    path = tmp_path / 'gpu.json'
    rows = run(path, 'kernels', '--precision', precision)
    assert len({row['kernel'] for row in rows}) == len(rows) == 16
    for row in rows:
        assert float(row['portable ms'].split()[0]) > 0

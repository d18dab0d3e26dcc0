"""The interpreter takes what no GPU does; this compiles the kernels as well."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('triton', reason='Triton is not installed')

# The least that a program can have on GPUs of compute capability 8 and above:
SHARED = 99 * 1024
LAUNCHED = {
    'gru_step._backward',
    'gru_step._forward',
    'hadamard_attention._forward',
    'hadamard_pairs.backward_kernel',
    'induced_set._backward_nodes',
    'induced_set._backward_queries',
    'induced_set._forward',
    'narrow_gru._backward',
    'narrow_gru._forward',
    'pair_score._backward',
    'pair_score._forward',
    'small_attention._backward_keys',
    'small_attention._backward_queries',
    'small_attention._forward',
    'sum_softmax._backward',
    'sum_softmax._forward',
    'top_m._forward',
    'tuple_product._backward_nodes',
    'tuple_product._backward_weight',
    'tuple_product._forward',
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ('capability', 'dtype', 'n', 'd'),
    [
        (80, 'float32', 39, 16),
        (90, 'bfloat16', 39, 16),
        (80, 'float32', 256, 128),
        (80, 'float16', 256, 128),
    ],
)
def test_compiles(capability, dtype, n, d, tmp_path):
    env = {**os.environ, 'TRITON_CACHE_DIR': str(tmp_path)}
    env.pop('TRITON_INTERPRET', None)
    script = Path(__file__).with_name('triton_compiler.py')
    command = [sys.executable, script, str(capability), dtype, str(n), str(d)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fact['kernel'] for fact in facts} == LAUNCHED
    assert max(fact['shared'] for fact in facts) <= SHARED

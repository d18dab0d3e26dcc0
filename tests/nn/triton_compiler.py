"""Compiles the kernels as for a GPU, of which none is needed: prints for each
launch the kernel and the bytes of shared memory it takes, as lines of JSON.

    python tests/nn/triton_compiler.py 80 bfloat16 39 16
"""

import json
import sys
from importlib import import_module

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from pyg_featgraph.nn.kernels import plan_tuples, triton

CAPABILITY, DTYPE, N, D = sys.argv[1:]
SIZE, HEADS, SETS, QUERIES, HIDDEN = 3, 2, 3, 40, int(D)


class Driver:
    """One for a GPU that is not there."""

    def get_current_target(self):
        return GPUTarget('cuda', int(CAPABILITY), 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


launch = JITFunction.run


def compile_only(self, *args, grid, warmup, **kwargs):
    kernel = launch(self, *args, grid=grid, warmup=True, **kwargs)
    module = self.fn.__module__.split('.')[-1]
    fact = {
        'kernel': f'{module}.{self.fn.__name__}',
        'shared': kernel.metadata.shared,
    }
    print(json.dumps(fact), flush=True)


def randn(*size):
    return torch.randn(size).to(getattr(torch, DTYPE))


def main():
    driver.set_active(Driver())
    JITFunction.run = compile_only
    compile_pairs(int(N), int(D))
    compile_sets(int(N), int(D))
    compile_rows(int(N), int(D))


def module(name):
    return import_module(f'{triton.__name__}.{name}')


def compile_pairs(n, d):
    pair_score, top_m = module('pair_score'), module('top_m')
    attention = module('hadamard_attention')
    x = randn(SIZE, n, d)
    layer = randn(HIDDEN, d), randn(HIDDEN), randn(HIDDEN)
    out = pair_score.forward(x, *layer, randn(1))
    pair_score.backward(out, out, x, *layer)
    top_m.forward(out, 5, False)
    top_m.forward(out, 5, True)
    keep = torch.ones(1, 1, n, n, dtype=torch.bool)
    parameters = randn(HEADS, d), randn(HEADS)
    for args in (
        (randn(SIZE, 1, n, n), None, None, 0.2, False),
        (randn(SIZE, HEADS, n, n), keep, randn(SIZE, HEADS, n, n), 0.2, True),
    ):
        out = attention.forward(x, *parameters, *args)
        attention.backward(out, x, *parameters, *args)


def compile_sets(n, d):
    sets, tuples = module('induced_set'), module('tuple_product')
    x = randn(SIZE, n, d)
    args = randn(SIZE, n, SETS), randn(SETS, QUERIES, d)
    args = x, *args, randn(n, SETS, QUERIES)
    sets.backward(sets.forward(*args), *args)
    plan = plan_tuples([(0, 1, 2), (0, 1, 3), (1, 2, 4)])
    plan = plan.other, plan.permutation, plan.inverse, plan.shared, plan.ptr
    for weight in (None, randn(3, d)):
        out = tuples.forward(x, weight, *plan)
        tuples.backward(out, x, weight, *plan)


def compile_rows(n, d):
    gru_step, sum_softmax = module('gru_step'), module('sum_softmax')
    attention = module('small_attention')
    # All nodes in a tile, and in several:
    for fields in (n, 256):
        nodes = [randn(SIZE, fields, HEADS, d)] * 3
        attention.backward(attention.forward(*nodes), *nodes)
    # Small states, and larger ones:
    for channels in (min(d, 32), max(d, 64)):
        gru = [randn(3 * channels, channels)] * 2 + [randn(3 * channels)] * 2
        nodes = [randn(SIZE * n, channels)] * 3
        gru_step.backward(gru_step.forward(*nodes, *gru), *nodes[:2], *gru)
    for sources, keep in (
        (n, None),
        (n, torch.ones(SIZE, n, n, dtype=torch.bool)),
        (triton.LARGEST['sum_softmax'], None),
    ):
        scores = randn(SIZE, n), randn(SIZE, sources)
        out = sum_softmax.forward(*scores, keep, 0.2)
        sum_softmax.backward(out, out, *scores, 0.2)


if __name__ == '__main__':
    main()

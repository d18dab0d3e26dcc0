"""The kernels for GPUs: what a step and inference take, and what of the limit
of the GPU each kernel reaches.

    python benchmarks/gpu.py models
    python benchmarks/gpu.py models --precision tf32 bfloat16
    python benchmarks/gpu.py kernels --rows 4096

"models" times a training step and inference in turns: as one would write them,
with all products [B, n, n, d] ("plain dense"); as graphs, with the reductions
of torch and with those of torch-scatter, if it is installed; with the portable
kernels; and with those in Triton. "kernels" times each kernel alone, in both
forms, and says which share of the limit it reaches: the least time of its
arithmetic at the rate of a product of matrices, or of its inputs and outputs at
the rate of a copy, whichever is longer, over the time it takes. Both rates are
measured in the same rounds, in the precision asked for.

Without a GPU it runs on a CPU, in the interpreter of Triton, which shows that
it works and nothing else:

    python benchmarks/gpu.py models --rows 2 --fields 5 --rounds 1
"""

import argparse
import os
from contextlib import contextmanager

import torch

if not torch.cuda.is_available():
    # Before anything imports Triton:
    os.environ['TRITON_INTERPRET'] = '1'

import torch_geometric.typing
from common import report, spread, time_interleaved
from gpu_kernels import machine, works
from layouts import MODELS, make_inputs, make_plain

from pyg_featgraph.nn.kernels.backend import VARIABLE

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


@contextmanager
def setting(kernels, precision='float32', torch_scatter=False):
    """Which kernels run, and in which precision; parameters are in single
    precision, and so are the kernels, which they meet, with bfloat16 as well.
    """
    with_scatter = torch_geometric.typing.WITH_TORCH_SCATTER
    before = torch.get_float32_matmul_precision()
    os.environ[VARIABLE] = kernels
    torch_geometric.typing.WITH_TORCH_SCATTER = torch_scatter
    torch.set_float32_matmul_precision(
        'high' if precision == 'tf32' else 'highest'
    )
    half = precision == 'bfloat16'
    try:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=half):
            yield
    finally:
        del os.environ[VARIABLE]
        torch_geometric.typing.WITH_TORCH_SCATTER = with_scatter
        torch.set_float32_matmul_precision(before)


FORMS = {
    'plain dense': ('portable', False),
    'graph': ('portable', False),
    'graph, torch-scatter': ('portable', True),
    'portable': ('portable', False),
    'Triton': ('triton', False),
}


def passes(args, name, rows, form, precision):
    """A training step and inference of a model."""
    torch.manual_seed(0)
    info, batch = make_inputs(rows, args.fields, as_graph='graph' in form)
    model, batch = MODELS[name](info).to(DEVICE), batch.to(DEVICE)
    if form == 'plain dense':
        make_plain(model)
    optimizer = torch.optim.Adam(model.parameters())
    kernels, torch_scatter = FORMS[form]

    def step():
        optimizer.zero_grad()
        with setting(kernels, precision, torch_scatter):
            loss = model(batch).square().mean()
        # Backward is in the precision of forward, without being told:
        rest = 'tf32' if precision == 'tf32' else 'float32'
        with setting(kernels, rest, torch_scatter):
            loss.backward()
        optimizer.step()

    def inference():
        with setting(kernels, precision, torch_scatter), torch.no_grad():
            model(batch)

    return {'step': step, 'inference': inference}


def peak_megabytes(function):
    if DEVICE == 'cpu':
        return ''
    function()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20)


def time_models(args):
    forms = list(FORMS)
    if not torch_geometric.typing.WITH_TORCH_SCATTER:
        forms.remove('graph, torch-scatter')
    for name in args.models:
        for rows in args.rows:
            for precision in args.precision:
                yield from time_forms(args, name, rows, precision, forms)


def time_forms(args, name, rows, precision, forms):
    functions = {
        (form, what): function
        for form in forms
        for what, function in passes(args, name, rows, form, precision).items()
    }
    seconds = time_interleaved(functions, args.rounds)
    for form in forms:
        row = {
            'model': name,
            'rows': rows,
            'precision': precision,
            'form': form,
        }
        for what in ('step', 'inference'):
            ratio = zip(
                seconds[form, what], seconds['Triton', what], strict=True
            )
            row |= {
                f'{what} ms': spread(seconds[form, what], 1e3, 2),
                f'{what}, times Triton': spread(
                    [a / b for a, b in ratio], 1, 2
                ),
                f'{what} peak MB': peak_megabytes(functions[form, what]),
            }
        yield row


def time_kernels(args):
    for rows in args.rows:
        for precision in args.precision:
            yield from time_passes(args, rows, precision)


def time_passes(args, rows, precision):
    half = precision == 'bfloat16'
    dtype = torch.bfloat16 if half else torch.float32
    numbers = {'device': DEVICE, 'dtype': dtype}
    limits, product_work, copy_work = machine(numbers)
    found = works(rows, args.fields, args.dim, numbers)

    def run(function, given, kernels):
        def timed():
            with setting(kernels, 'float32' if half else precision):
                function(*given)

        return timed

    functions = {
        name: run(function, (), 'portable') for name, function in limits.items()
    }
    for work in found:
        for form in ('portable', 'triton'):
            functions[work.name, form] = run(work.operator, work.given, form)
    seconds = time_interleaved(functions, args.rounds)
    for work in found:
        flops, num_bytes = (
            work.flops * rows,
            work.numbers * rows * dtype.itemsize,
        )
        least = [
            max(flops / product_work * a, num_bytes / copy_work * b)
            for a, b in zip(seconds['product'], seconds['copy'], strict=True)
        ]
        row = {
            'kernel': work.name,
            'rows': rows,
            'precision': precision,
            'GFLOP': f'{flops / 1e9:.2f}',
            'MB': f'{num_bytes / 1e6:.1f}',
        }
        for form in ('portable', 'triton'):
            taken = seconds[work.name, form]
            shares = [a / b for a, b in zip(least, taken, strict=True)]
            row[f'{form} ms'] = spread(taken, 1e3, 3)
            row[f'{form} share'] = f'{spread(shares, 100, 1)} %'
        yield row


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('what', choices=['models', 'kernels'])
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS,
        default=['graphfm', 'fignn', 'featnet', 'aim-inner'],
    )
    parser.add_argument('--rows', nargs='+', type=int, default=[1024, 4096])
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=['float32', 'tf32', 'bfloat16'],
        default=['float32'],
    )
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--json')
    args = parser.parse_args()
    rows = list(
        {'models': time_models, 'kernels': time_kernels}[args.what](args)
    )
    name = torch.cuda.get_device_name() if DEVICE == 'cuda' else 'interpreted'
    report(rows, args.json, {**vars(args), 'device': name})


if __name__ == '__main__':
    main()

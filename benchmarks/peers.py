"""A training step and inference next to other libraries, in one process.

An environment of its own has all of them, in versions that work together:

    python3 -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.13.0 \\
        --index-url https://download.pytorch.org/whl/cpu
    .venv-peers/bin/pip install -r benchmarks/peers.txt -e .
    .venv-peers/bin/python benchmarks/peers.py
    .venv-peers/bin/python benchmarks/peers.py --rows 1024 \\
        --models GraphFM 'DeepCTR-Torch AutoInt'

A training step is the forward pass, the mean binary cross entropy, the
backward pass and a step of torch's fused Adam over all parameters, tables
included; inference
is a forward pass without gradients. All models take their turns in each round;
a ratio is that of the times of one round. Models of this library run once with
each form of its kernels. The peak memory is that of a training
step, the first one, in a process of its own.
"""

import argparse
import os
import sys

import torch
from common import peak_memory, report, spread, time_interleaved
from peer_models import CONTESTANTS, random_ids
from torch.nn.functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
)

from pyg_featgraph.nn.kernels.backend import VARIABLE


def contestant(name, rows, fields, ids):
    torch.manual_seed(0)
    sizes = [ids // fields] * fields
    return CONTESTANTS[name].make(random_ids(rows, sizes), sizes)


def training(name, kernels, rows, fields, ids):
    """A function that makes a step."""
    one = contestant(name, rows, fields, ids)
    optimizer = torch.optim.Adam(one.model.parameters(), lr=1e-3, fused=True)
    label = torch.rand(rows, generator=torch.Generator().manual_seed(2))
    label = label.round()
    loss = (
        binary_cross_entropy_with_logits
        if one.gives_logits
        else binary_cross_entropy
    )

    def step():
        os.environ[VARIABLE] = kernels
        optimizer.zero_grad()
        loss(one.run(), label).backward()
        optimizer.step()

    return step


def inference(name, kernels, rows, fields, ids):
    one = contestant(name, rows, fields, ids)
    one.model.eval()

    def forward():
        os.environ[VARIABLE] = kernels
        with torch.inference_mode():
            one.run()

    return forward


PHASES = {'training': training, 'inference': inference}


def compare(args, phase, rows):
    """A row of the table for each model and form of the kernels."""
    size = rows, args.fields, args.ids
    forms = [
        (name, kernels)
        for name in args.models
        for kernels in (args.kernels if CONTESTANTS[name].peer else [''])
    ]
    memory = {}
    if phase == 'training' and not args.no_memory:
        for form in forms:
            print('memory of', *form, file=sys.stderr)
            memory[form] = peak_memory(training, *form, *size)
    functions = {form: PHASES[phase](*form, *size) for form in forms}
    print(f'{phase}, {rows} rows', file=sys.stderr)
    seconds = time_interleaved(functions, args.rounds)
    out = []
    for form in forms:
        name, kernels = form
        peer = CONTESTANTS[name].peer
        row = {
            'rows': rows,
            'phase': phase,
            'model': name,
            'kernels': kernels,
            'ms': spread(seconds[form], 1e3, 1),
        }
        if (peer, '') in seconds:
            pairs = zip(seconds[form], seconds[peer, ''], strict=True)
            ratios = [own / other for own, other in pairs]
            row |= {'times peer': spread(ratios, digits=2), 'peer': peer}
        if form in memory:
            row['peak MB'] = f'{memory[form]:.0f}'
        out.append(row)
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--models', nargs='+', choices=CONTESTANTS, default=list(CONTESTANTS)
    )
    parser.add_argument(
        '--rows', type=int, nargs='+', default=[1024, 4096, 16384]
    )
    parser.add_argument(
        '--phases', nargs='+', choices=PHASES, default=list(PHASES)
    )
    parser.add_argument(
        '--kernels',
        nargs='+',
        choices=['native', 'portable'],
        default=['native', 'portable'],
    )
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--ids', type=int, default=100_000)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument('--json')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for size in args.rows:
        for phase in args.phases:
            rows += compare(args, phase, size)
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

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
backward pass and a step of Adam over all parameters, tables included; inference
is a forward pass without gradients. All models take their turns in each round;
a ratio is that of the times of one round. The peak memory is that of a training
step, the first one, in a process of its own.
"""

import argparse
import sys

import torch
from common import peak_memory, report, spread, time_interleaved
from peer_models import CONTESTANTS, random_ids
from torch.nn.functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
)


def contestant(name, rows, fields, ids):
    torch.manual_seed(0)
    sizes = [ids // fields] * fields
    return CONTESTANTS[name].make(random_ids(rows, sizes), sizes)


def training(name, rows, fields, ids):
    """A function that makes a step."""
    one = contestant(name, rows, fields, ids)
    optimizer = torch.optim.Adam(one.model.parameters(), lr=1e-3)
    label = torch.rand(rows, generator=torch.Generator().manual_seed(2))
    label = label.round()
    loss = (
        binary_cross_entropy_with_logits
        if one.gives_logits
        else binary_cross_entropy
    )

    def step():
        optimizer.zero_grad()
        loss(one.run(), label).backward()
        optimizer.step()

    return step


def inference(name, rows, fields, ids):
    one = contestant(name, rows, fields, ids)
    one.model.eval()

    def forward():
        with torch.inference_mode():
            one.run()

    return forward


PHASES = {'training': training, 'inference': inference}


def compare(args, phase, rows):
    """A row of the table for each model."""
    size = rows, args.fields, args.ids
    memory = {}
    if phase == 'training' and not args.no_memory:
        for name in args.models:
            print(f'{name}: memory', file=sys.stderr)
            memory[name] = peak_memory(training, name, *size)
    functions = {name: PHASES[phase](name, *size) for name in args.models}
    print(f'{phase}, {rows} rows', file=sys.stderr)
    seconds = time_interleaved(functions, args.rounds)
    out = []
    for name in args.models:
        peer = CONTESTANTS[name].peer
        row = {
            'rows': rows,
            'phase': phase,
            'model': name,
            'ms': spread(seconds[name], 1e3, 1),
        }
        if peer in seconds:
            ratios = [
                own / other
                for own, other in zip(seconds[name], seconds[peer], strict=True)
            ]
            row |= {'times peer': spread(ratios, digits=2), 'peer': peer}
        if name in memory:
            row['peak MB'] = f'{memory[name]:.0f}'
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

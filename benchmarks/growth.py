"""How the time of a training step grows with fields, rows, channels and layers.

    python benchmarks/growth.py
    python benchmarks/growth.py --models GraphFM --axes fields m

One size grows and the others stay at their first values: 39 fields, 512 rows,
16 channels, three layers (or steps, or orders beyond the first). All sizes of
one axis take their turns in each round. The exponent is the slope of the line
that fits the logarithms of time and size best (least squares over all rounds);
the last one is that between the two largest sizes, by medians: small sizes are
ruled by what a step costs at all. A step is the forward and the backward pass;
the table has ten ids for each field, so that it is no matter of the table.
"""

import argparse
import math
import statistics

import numpy as np
import torch
from common import report, spread, time_interleaved

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    AutoInt,
    FeatNet,
    FiGNN,
    GraphFM,
)

BASE = {'fields': 39, 'rows': 512, 'dim': 16, 'layers': 3}
AXES = {
    'fields': [10, 20, 39, 80, 140, 200],
    'rows': [128, 256, 512, 1024, 2048],
    'dim': [8, 16, 32, 64],
    'layers': [1, 2, 4, 8],
    # Of 39 fields, in each layer:
    'm': [2, 5, 10, 20, 39],
}


def graphfm(info, dim, layers, m=None):
    kept = None if m is None else [m] * layers
    return GraphFM(info, dim, dim, layers, m=kept, variant='paper')


#: For each model what makes it, and what it does not have.
MODELS = {
    'GraphFM': (graphfm, ()),
    'AutoInt': (
        lambda info, dim, layers: AutoInt(info, dim, dim, layers),
        ('m',),
    ),
    'Fi-GNN': (
        lambda info, dim, layers: FiGNN(
            info, dim, num_layers=layers, input_attention=False
        ),
        ('m',),
    ),
    'FIVES': (
        lambda info, dim, layers: FIVES(info, dim, max_order=layers + 1),
        ('m',),
    ),
    'AIM': (lambda info, dim, layers: AIM(info, dim), ('m', 'layers')),
    'FeatNet': (
        lambda info, dim, layers: FeatNet(info, dim),
        ('m', 'layers'),
    ),
}


def step_of(name, fields, rows, **sizes):
    torch.manual_seed(0)
    info = FieldInfo(
        tuple(f'f{i}' for i in range(fields)),
        (10,) * fields,
        (1,) * fields,
        ('categorical',) * fields,
    )
    index = torch.randint(0, 10, (rows, fields)) + 10 * torch.arange(fields)
    table = FieldTable(index.int(), torch.ones(index.size()), info)
    model, batch = MODELS[name][0](info, **sizes), table.batch()

    def step():
        model.zero_grad()
        model(batch).sum().backward()

    return step


def exponents(sizes, seconds):
    """The slope over all sizes, and the last one."""
    x = np.repeat(np.log(sizes), [len(s) for s in seconds])
    slope = np.polyfit(x, np.log(np.concatenate(seconds)), 1)[0]
    one, two = (statistics.median(s) for s in seconds[-2:])
    return slope, math.log(two / one) / math.log(sizes[-1] / sizes[-2])


def measure(name, axis, args):
    sizes = AXES[axis]
    steps = {size: step_of(name, **{**BASE, axis: size}) for size in sizes}
    seconds = time_interleaved(steps, args.rounds)
    slope, last = exponents(sizes, list(seconds.values()))
    times = {
        f'size {i + 1}': f'{size}: {spread(seconds[size], 1e3, 1)}'
        for i, size in enumerate(sizes)
    }
    return {
        'model': name,
        'axis': axis,
        'exponent': f'{slope:.2f}',
        'last': f'{last:.2f}',
        **times,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--models', nargs='+', choices=MODELS, default=list(MODELS)
    )
    parser.add_argument('--axes', nargs='+', choices=AXES, default=list(AXES))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [
        measure(name, axis, args)
        for name in args.models
        for axis in args.axes
        if axis not in MODELS[name][1]
    ]
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

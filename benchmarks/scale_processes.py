"""The same training in one process and in several: figures, seconds, and what
the processors of all processes have worked; prints a table and JSON.

    OMP_NUM_THREADS=1 python benchmarks/scale_processes.py --processes 1 2
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import torch
from common import report

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import DeepFM, GraphFM
from pyg_featgraph.training import fit

MODELS = {
    'DeepFM': DeepFM,
    'DeepFM, sparse': lambda info: DeepFM(info, sparse=True),
    'GraphFM': GraphFM,
}


def train(args, name):
    """Trains in this process, which may be one of several, and writes down
    what the training itself has taken.
    """
    world = int(os.environ.get('WORLD_SIZE', 1))
    data = PlantedInteractions(args.rows, seed=0)
    table = FieldEncoder(data.schema()).fit_transform(data.frame())
    parts = table.split([0.8, 0.2])
    torch.manual_seed(0)
    model = MODELS[name](table.info)
    start, cpu = time.perf_counter(), time.process_time()
    result = fit(
        model,
        *parts,
        directory=args.folder,
        batch_size=args.batch_size // world,
        accelerator='cpu',
        devices=world,
        strategy='ddp' if world > 1 else 'auto',
        max_epochs=args.epochs,
        patience=None,
        enable_progress_bar=False,
    )
    out = {
        'seconds': time.perf_counter() - start,
        'cpu': time.process_time() - cpu,
        'metrics': result.metrics,
    }
    rank = os.environ.get('RANK', '0')
    with open(f'{args.folder}/{rank}.json', 'w') as file:
        json.dump(out, file)


def start(args, name, num):
    """What each of so many processes has written down."""
    command = [
        *(sys.executable, '-m', 'torch.distributed.run', '--standalone'),
        *(f'--nproc-per-node={num}', __file__, '--here', name),
        *(f'--rows={args.rows}', f'--batch-size={args.batch_size}'),
        f'--epochs={args.epochs}',
    ]
    if num == 1:
        command = [sys.executable, *command[5:]]
    with tempfile.TemporaryDirectory() as folder:
        command.append(f'--folder={folder}')
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        outs = []
        for rank in range(num):
            with open(f'{folder}/{rank}.json') as file:
                outs.append(json.load(file))
    return outs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--models', nargs='+', default=[*MODELS])
    parser.add_argument('--rows', type=int, default=20_000)
    parser.add_argument('--batch-size', type=int, default=512, help='of all')
    parser.add_argument('--epochs', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=1)
    parser.add_argument('--json')
    parser.add_argument('--here', choices=MODELS, help='in this process')
    parser.add_argument('--folder')
    args = parser.parse_args()
    if args.here is not None:
        train(args, args.here)
        return
    rows = []
    for name in args.models:
        for _ in range(args.repeats):
            for num in args.processes:
                outs = start(args, name, num)
                rows.append(
                    {
                        'model': name,
                        'processes': num,
                        'seconds': round(max(x['seconds'] for x in outs), 1),
                        'CPU seconds of all': round(
                            sum(x['cpu'] for x in outs), 1
                        ),
                        **{
                            key: f'{value:.6f}'
                            for key, value in outs[0]['metrics'].items()
                        },
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    report(rows, args.json, {'rows': args.rows, 'epochs': args.epochs})


if __name__ == '__main__':
    main()

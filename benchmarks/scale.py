"""A click log of any size from text to training: rows a second of each stage,
its peak of memory in a process of its own, and the bytes that it leaves on the
disk. With several sizes, what grows with the rows is seen.

    python benchmarks/scale.py --rows 1000000 10000000 --folder /tmp/scale
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import click_log
from common import report

#: Columns of more distinct categories than these are hashed, if asked for.
MANY = 100_000


def generate(args, rows, folder):
    click_log.write(folder / 'log.txt', rows)
    return folder / 'log.txt', {}


def read(args, rows, folder):
    from pyg_featgraph.datasets import Criteo

    for _ in Criteo(folder / 'log.txt').files().blocks():
        pass
    return None, {}


def fit(args, rows, folder, hash_size=0):
    from pyg_featgraph.data import FieldEncoder
    from pyg_featgraph.datasets import Criteo

    data = Criteo(folder / 'log.txt')
    schema = data.schema(transform='log_square')
    for i, size in enumerate(click_log.CARDINALITIES):
        if hash_size and size > MANY:
            schema = schema.replace(
                f'C{i + 1}', min_count=1, hash_size=hash_size
            )
    encoder = FieldEncoder(schema).fit(data.files())
    encoder.save(folder / 'encoder.parquet')
    return folder / 'encoder.parquet', {'ids': encoder.info.num_embeddings}


def fit_hashed(args, rows, folder):
    return fit(args, rows, folder, 2**20)


def encode(args, rows, folder):
    from pyg_featgraph.data import FieldEncoder
    from pyg_featgraph.datasets import Criteo

    encoder = FieldEncoder.load(folder / 'encoder.parquet')
    encoder.transform(Criteo(folder / 'log.txt').files(), folder / 'encoded')
    return folder / 'encoded', {}


def load(args, rows, folder):
    from pyg_featgraph.data import FieldGraphLoader, FieldTable

    table = FieldTable.open(folder / 'encoded')
    loader = FieldGraphLoader(table, args.batch_size, shuffle=True)
    assert sum(len(batch.y) for batch in loader) == rows
    return None, {}


def train(args, rows, folder):
    """One epoch of nine tenths of the rows, and what comes at its end: the
    figures of the others, twice, and files.
    """
    from pyg_featgraph.data import FieldTable
    from pyg_featgraph.nn import DeepFM
    from pyg_featgraph.training import fit

    table = FieldTable.open(folder / 'encoded')
    cut = rows * 9 // 10
    sparse, options = None, {}
    if args.sparse_scale is not None:
        # Zero stands for dense gradients:
        sparse = args.sparse_scale > 0
        options = {'sparse_scale': args.sparse_scale}
    model = DeepFM(table.info, 8, args.layers, sparse=sparse)
    result = fit(
        model,
        table.subset(slice(cut)),
        table.subset(slice(cut, None)),
        directory=folder / 'run',
        batch_size=args.batch_size,
        max_epochs=1,
        enable_progress_bar=False,
        **options,
    )
    # Of its state, what is read again is the model:
    facts = {'valid_auc': round(result.metrics['valid_auc'], 4)}
    return result.model_path, facts


def evaluate(args, rows, folder):
    import torch

    from pyg_featgraph.data import FieldTable
    from pyg_featgraph.nn import FieldModel
    from pyg_featgraph.nn.areas import auc
    from pyg_featgraph.training import predict

    table = FieldTable.open(folder / 'encoded')
    model = FieldModel.load(folder / 'run' / 'model.safetensors')
    p = predict(model, table, args.batch_size)
    area = auc(p.double(), table.y, torch.ones(rows).double())
    return None, {'auc': round(float(area), 4)}


#: What can be run, in order. A stage takes the arguments and the folder of a
#: log and returns what it has left on the disk, and facts to show.
STAGES = {
    'generate': generate,
    'read': read,
    'fit hashed': fit_hashed,
    'fit': fit,
    'encode': encode,
    'load': load,
    'train': train,
    'evaluate': evaluate,
}


def run(stage, args, rows):
    """Runs a stage in this process; what it has taken."""
    import pyarrow as pa
    import torch

    import pyg_featgraph.datasets
    import pyg_featgraph.training  # noqa: F401

    torch.set_num_threads(args.threads)
    pa.set_cpu_count(args.threads)
    folder = Path(args.folder) / str(rows)
    folder.mkdir(parents=True, exist_ok=True)
    idle = peak()
    start, cpu = time.perf_counter(), time.process_time()
    left, facts = STAGES[stage](args, rows, folder)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {
        'rows': rows,
        'stage': stage,
        'seconds': round(seconds, 2),
        'CPU seconds': round(cpu, 2),
        'rows/s': round(rows / seconds),
        'rows/s of a CPU': round(rows / cpu),
        'peak MB': round(peak() / 1024),
        'before MB': round(idle / 1024),
        'bytes/row': round(size(left) / rows, 1) if left else '',
        **facts,
    }


def peak():
    """The highest resident memory of this process in kilobytes."""
    text = Path('/proc/self/status').read_text()
    return int(text.split('VmHWM:')[1].split()[0])


def size(path):
    files = path.rglob('*') if path.is_dir() else [path]
    return sum(x.stat().st_size for x in files)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, nargs='+', default=[1_000_000])
    parser.add_argument('--folder', required=True, help='for logs and shards')
    parser.add_argument('--stages', nargs='+', default=[*STAGES])
    parser.add_argument('--batch-size', type=int, default=4096)
    parser.add_argument('--layers', type=int, nargs='+', default=[64, 32])
    parser.add_argument(
        '--sparse-scale', type=float, help='of the training; 0: dense gradients'
    )
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    parser.add_argument('--here', action='store_true', help='in this process')
    args = parser.parse_args()
    if args.here:
        print(json.dumps(run(args.stages[0], args, args.rows[0])))
        return
    found = []
    for rows in args.rows:
        for stage in args.stages:
            options = {
                '--stages': stage,
                '--rows': rows,
                '--folder': args.folder,
                '--batch-size': args.batch_size,
                '--threads': args.threads,
            }
            command = [sys.executable, __file__, '--here', '--layers']
            command += [str(size) for size in args.layers]
            if args.sparse_scale is not None:
                options['--sparse-scale'] = args.sparse_scale
            command += [str(x) for pair in options.items() for x in pair]
            out = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            found.append(json.loads(out.stdout))
            print(found[-1], file=sys.stderr, flush=True)
    report(found, args.json, {'threads': args.threads})


if __name__ == '__main__':
    main()

"""How long an exported model takes from rows, as dictionaries, to predictions.

    python benchmarks/serving.py --json serving.json

Rows have 13 numbers and 26 categories, as those of Criteo, with a twentieth of
the entries unseen in training. All models have their default sizes and random
weights, on which no time depends. On a busy machine, `--clock cpu` leaves out
the time in which others have the core.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from common import report, time_interleaved

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
)
from pyg_featgraph.serve import Scorer, export

MODELS = {
    cls.__name__: cls
    for cls in (
        *(DeepFM, LR, FM, DNN, IPNN, AutoInt, GraphFM, FiGNN, FIVES, AIM),
        FeatNet,
    )
}
REPEATS = {1: 500, 16: 100, 256: 20, 4096: 3}
CLOCKS = {'wall': time.perf_counter, 'cpu': time.thread_time}


def make_rows(num_train, num_rows):
    """The encoder, and rows that it has not seen."""
    df = PlantedInteractions(num_train + num_rows).frame()
    df = df.drop(columns='label')
    encoder = FieldEncoder(PlantedInteractions(1).schema()).fit(df[:num_train])
    rows = df[num_train:].astype(object)
    rows = rows.where(rows.notna(), None).to_dict('records')
    rng = np.random.default_rng(0)
    for row in rows:
        for name in row:
            if name.startswith('C') and rng.random() < 0.05:
                row[name] = f'new {rng.integers(1000)}'
    return encoder, rows


def milliseconds(seconds, share):
    return f'{1000 * np.quantile(seconds, share):.3g}'


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--models', nargs='+', choices=MODELS, default=[*MODELS])
    add('--train', type=int, default=50_000, help='rows of the encoder')
    add('--clock', choices=CLOCKS, default='wall')
    add('--threads', type=int, default=1)
    add('--json', help='where the results go (default: they are printed)')
    args = parser.parse_args()
    encoder, rows = make_rows(args.train, max(REPEATS))
    clock = CLOCKS[args.clock]
    scorers, sizes = {}, {}
    with tempfile.TemporaryDirectory() as root:
        for name in args.models:
            torch.manual_seed(0)
            model = MODELS[name](encoder.info)
            folder = export(model, encoder, Path(root) / name, ['onnx'])
            scorers[name] = Scorer(folder, threads=args.threads)
            sizes[name] = sum(x.numel() for x in model.parameters())
    scorer = next(iter(scorers.values()))
    table = {name: {'model': name, 'parameters': sizes[name]} for name in sizes}
    table['encoder'] = {'model': 'encoder alone'}
    for size, repeats in REPEATS.items():
        some = rows[0] if size == 1 else rows[:size]
        functions = {
            name: lambda x=x, some=some: x.score(some)
            for name, x in scorers.items()
        }
        functions['encoder'] = lambda some=some: scorer.encode(some)
        for name, seconds in time_interleaved(
            functions, repeats, clock
        ).items():
            table[name][f'{size}, p50'] = milliseconds(seconds, 0.5)
            table[name][f'{size}, p99'] = milliseconds(seconds, 0.99)
    facts = {
        'unit': f'ms, {args.clock}',
        'threads of a scorer': args.threads,
        'onnxruntime': onnxruntime.__version__,
        'ids': encoder.info.num_embeddings,
    }
    report([*table.values()], args.json, facts)


if __name__ == '__main__':
    main()

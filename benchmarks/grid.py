"""Every edge module in every operator, on data with a known truth.

    python benchmarks/grid.py quality --results grid.json
    python benchmarks/grid.py time
    python benchmarks/grid.py table --results grid.json --plot grid.png

The models are the operators of this library in their usual surroundings; the
edges are the modules of `nn/edge`. Only the pairs on the way of a paper have
been published. Each cell is written as soon as it is known, and `quality` goes
on where it was stopped.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from common import report, spread, time_interleaved
from sklearn.metrics import roc_auc_score
from tables import load_planted
from tqdm import tqdm

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import (
    FIVES,
    AutoInt,
    FieldEdge,
    FiGNN,
    GraphFM,
    HadamardScore,
    TopM,
    UniformEdge,
)
from pyg_featgraph.training import fit, predict

SMALL = {'hidden_channels': 32, 'num_layers': 2}
#: Class, options and options of the training. Those of a row of the table are
#: the same for all edges, chosen for the published pair.
OPERATORS = {
    'GraphFM': (
        GraphFM,
        {**SMALL, 'variant': 'paper', 'field_weights': True},
        {'lr': 1e-2},
    ),
    'Fi-GNN': (
        FiGNN,
        {'input_attention': False},
        {'lr': 5e-3},
    ),
    'FIVES': (
        FIVES,
        {'max_order': 2, 'readout': 'sum'},
        {'lr': 5e-3},
    ),
    'AutoInt': (AutoInt, SMALL, {'lr': 5e-3}),
}
#: All that have a name, and the selection of GraphFM.
EDGES = {
    **{name: name for name in FieldEdge.names},
    'uniform': UniformEdge(),
    'hadamard, 5 best': TopM(HadamardScore(-1), 5),
}
#: What has been published.
PARENTS = {
    ('GraphFM', 'hadamard, 5 best'),
    ('Fi-GNN', 'attention'),
    ('FIVES', 'adjacency'),
    ('AutoInt', 'uniform'),
}


def make(operator, edge, info):
    """A model; edges by name go without the selection of GraphFM."""
    cls, config, _ = OPERATORS[operator]
    edge = EDGES[edge]
    if cls is GraphFM and isinstance(edge, str):
        config = {**config, 'm': [info.num_fields] * config['num_layers']}
    return cls(info, edge=edge, **config)


def quality(args):
    path = Path(args.results)
    cells = json.loads(path.read_text()) if path.exists() else []
    done = {(c['operator'], c['edge'], c['seed']) for c in cells}
    todo = [
        (operator, edge, seed)
        for seed in range(args.seeds)
        for operator in args.operators
        for edge in EDGES
        if (operator, edge, seed) not in done
    ]
    data = {}
    for operator, edge, seed in tqdm(todo):
        if seed not in data:
            planted = PlantedInteractions(args.rows, seed=seed)
            *parts, schema, planted = load_planted(planted)
            encoder = FieldEncoder(schema).fit(parts[0])
            data[seed] = planted, [encoder.transform(df) for df in parts]
        planted, (train, valid, test) = data[seed]
        torch.manual_seed(seed)
        model = make(operator, edge, train.info)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            fit(
                model,
                train,
                valid,
                directory=folder,
                max_epochs=args.epochs,
                monitor='valid_auc',
                patience=3,
                seed=seed,
                batch_size=args.batch_size,
                enable_progress_bar=False,
                **OPERATORS[operator][2],
            )
        seconds = time.perf_counter() - start
        found = model.interactions(train, num_rows=128)
        pairs = [fields for fields in planted.truth if len(fields) == 2]
        cells.append(
            {
                'operator': operator,
                'edge': edge,
                'seed': seed,
                'auc': roc_auc_score(test.y, predict(model, test).double()),
                'p@10': found.precision_at(10, pairs),
                'seconds': seconds,
            }
        )
        path.write_text(json.dumps(cells, indent=1))


def measure(args):
    """Milliseconds of a training step of each cell, in turns."""
    torch.set_num_threads(args.threads)
    planted = PlantedInteractions(args.batch_size, seed=0)
    encoder = FieldEncoder(planted.schema())
    batch = encoder.fit_transform(planted.frame()).batch()

    def step_of(operator, edge):
        model = make(operator, edge, encoder.info)

        def step():
            model.zero_grad()
            model.loss(batch).backward()

        return step

    steps = {(o, e): step_of(o, e) for o in args.operators for e in EDGES}
    seconds = time_interleaved(steps, args.repeats)
    rows = [
        {
            'edges': edge,
            **{o: spread(seconds[o, edge], 1e3) for o in args.operators},
        }
        for edge in EDGES
    ]
    report(rows, args.json, vars(args))


def table(args):
    cells = defaultdict(list)
    for cell in json.loads(Path(args.results).read_text()):
        cells[cell['operator'], cell['edge']].append(cell)
    for key in ('auc', 'p@10'):
        rows = []
        for edge in EDGES:
            row = {'edges': edge}
            for operator in args.operators:
                values = [c[key] for c in cells[operator, edge]]
                if values:
                    digits = 4 if key == 'auc' else 2
                    text = f'{np.mean(values):.{digits}f}'
                    if len(values) > 1:
                        text += f' ± {np.std(values, ddof=1):.{digits}f}'
                    is_parent = (operator, edge) in PARENTS
                    row[operator] = f'*{text}*' if is_parent else text
            rows.append(row)
        print(f'\n{key}, mean and deviation over seeds; *published*\n')
        report(rows, args.json, vars(args))
    if args.plot:
        draw(cells, args)


def draw(cells, args):
    """The table of AUC as a picture."""
    from matplotlib import pyplot as plt

    values = np.array(
        [
            [
                np.mean([c['auc'] for c in cells[o, e]]) if cells[o, e] else 0
                for o in args.operators
            ]
            for e in EDGES
        ]
    )
    figure, axes = plt.subplots(figsize=(6, 5), layout='constrained')
    image = axes.imshow(values, cmap='viridis', aspect='auto')
    axes.set_xticks(range(len(args.operators)), args.operators)
    axes.set_yticks(range(len(EDGES)), EDGES)
    middle = (values.max() + values.min()) / 2
    for i, edge in enumerate(EDGES):
        for j, operator in enumerate(args.operators):
            text = f'{values[i, j]:.3f}'
            if (operator, edge) in PARENTS:
                text += '\npublished'
            color = 'white' if values[i, j] < middle else 'black'
            axes.text(j, i, text, ha='center', va='center', color=color)
    axes.set_xlabel('operator')
    axes.set_ylabel('edges')
    figure.colorbar(image, label='test AUC, mean over seeds')
    figure.savefig(args.plot, dpi=150)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('task', choices=['quality', 'time', 'table'])
    parser.add_argument('--results', default='grid.json')
    parser.add_argument('--operators', nargs='+', default=list(OPERATORS))
    parser.add_argument('--rows', type=int, default=40_000)
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=512)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--plot')
    parser.add_argument('--json')
    args = parser.parse_args()
    {'quality': quality, 'time': measure, 'table': table}[args.task](args)


if __name__ == '__main__':
    main()

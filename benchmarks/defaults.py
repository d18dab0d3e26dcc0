"""How far the defaults of every model are from settings that suit a table:

    python benchmarks/defaults.py --root path/to/data
    python benchmarks/defaults.py --report

Each model is trained on each table with all defaults, and with learning rates
and penalties of embeddings around them. The validation rows, which also end
the trainings, choose among these settings; the test rows say what has been
gained. A fit is a line of JSON in the output, so a run that was stopped goes
on where it was; `--report` prints the table of what is there.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from comparison import tasks
from comparison.ours import TRAINER, encode, head_of
from comparison.tables import SOURCES, cut

from pyg_featgraph import nn
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.training import fit, predict

MODELS = (
    *('LR', 'FM', 'DNN', 'DeepFM', 'IPNN', 'AutoInt'),
    *('GraphFM', 'FIVES', 'FiGNN', 'AIM', 'FeatNet'),
)
#: What the default rate and penalty are multiplied with: the defaults first,
#: then one at a time, then both.
FACTORS = sorted(
    product((1.0, 1 / 3, 3.0), (1.0, 3.0, 0.0)),
    key=lambda pair: sum(x != 1 for x in pair),
)
#: From how much on a default is behind.
MARGIN = 0.005


def _some_of_adult(root):
    source = SOURCES['adult'](root)
    return replace(source, df=source.df.sample(12_000, random_state=0))


def _planted(root):
    data = PlantedInteractions(32_000)
    source = SOURCES['planted-small'](root)
    return replace(source, df=data.frame(), schema=source.schema)


TABLES = {
    'adult-12k': _some_of_adult,
    'employee': SOURCES['employee'],
    'adult': SOURCES['adult'],
    'movielens': SOURCES['movielens'],
    'planted-32k': _planted,
}


@lru_cache
def _parts(root, name, seed):
    table = cut(TABLES[name](root), seed)
    return table, encode(table)


def settings_of(model, factors=(1.0, 1.0)):
    """The defaults of a model, or some around them."""
    cls = getattr(nn, model)
    return {
        'lr': round(cls.lr * factors[0], 6),
        'embedding_l2': round(cls.embedding_l2 * factors[1], 6),
    }


def compute(root, name, model, settings, seed):
    """A fit with some settings, as a row of the output."""
    table, parts = _parts(root, name, seed)
    torch.manual_seed(seed)
    made = getattr(nn, model)(parts[0].info, head=head_of(table))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = {**TRAINER, **settings}
        result = fit(made, *parts[:2], directory=folder, seed=seed, **options)
    _, valid, test = table.labels
    losses = [row['valid_loss'] for row in result.history]
    predicted = [predict(made, x).double().numpy() for x in parts[1:]]
    return {
        **{'table': name, 'model': model, 'seed': seed, **settings},
        'valid': tasks.metrics(table.task, valid, predicted[0]),
        'test': tasks.metrics(table.task, test, predicted[1]),
        'valid losses': losses,
        'seconds': time.perf_counter() - start,
    }


def read(path):
    """The rows of the output."""
    return [json.loads(x) for x in path.read_text().splitlines()]


def run(args):
    done = set()
    if args.output.exists():
        done = {_key(row) for row in read(args.output)}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    for factors, name, model in product(
        FACTORS[: args.settings], args.tables, args.models
    ):
        settings = settings_of(model, factors)
        key = (name, model, args.seed, *settings.values())
        if key in done:
            continue
        done.add(key)  # A model without a penalty has none to be changed.
        row = compute(args.root, name, model, settings, args.seed)
        with args.output.open('a') as file:
            file.write(json.dumps(row) + '\n')
        print(*key, f'{row["test"]["auc"]:.4f}', file=sys.stderr, flush=True)


def _key(row):
    names = ('table', 'model', 'seed', 'lr', 'embedding_l2')
    return tuple(row[name] for name in names)


def report(rows):
    """For each model and table the test AUC of the defaults, and that of the
    settings with the lowest validation loss.
    """
    groups = {}
    order = [*product(TABLES, MODELS)]
    rows = [row for row in rows if (row['table'], row['model']) in order]
    rows.sort(key=lambda row: order.index((row['table'], row['model'])))
    for row in rows:
        group = groups.setdefault((row['table'], row['model']), {})
        group[row['lr'], row['embedding_l2']] = row
    lines = [
        '| table | model | defaults | chosen | behind | settings | rate | '
        'penalty | epochs |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for (name, model), group in groups.items():
        default = group.get(tuple(settings_of(model).values()))
        if default is None:
            continue
        best = min(group.values(), key=lambda row: row['valid']['log loss'])
        behind = best['test']['auc'] - default['test']['auc']
        mark = '**' if behind > MARGIN else ''
        cells = (
            *(name, model, f'{default["test"]["auc"]:.4f}'),
            f'{best["test"]["auc"]:.4f}',
            f'{mark}{behind:.4f}{mark}',
            len(group),
            f'{best["lr"]:.2g}',
            f'{best["embedding_l2"]:g}',
            len(default['valid losses']),
        )
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--root',
        type=Path,
        default=Path(__file__).parents[2] / 'shared' / 'data',
        help='the folder with a folder for each of the real tables',
    )
    parser.add_argument('--tables', nargs='+', choices=TABLES, default=TABLES)
    parser.add_argument('--models', nargs='+', choices=MODELS, default=MODELS)
    parser.add_argument(
        '--settings', type=int, default=len(FACTORS), help='how many of each'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument(
        '--output', type=Path, default=Path('runs/defaults.jsonl')
    )
    parser.add_argument('--report', action='store_true', help='and no more')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if not args.report:
        run(args)
    print(report(read(args.output)))


if __name__ == '__main__':
    main()

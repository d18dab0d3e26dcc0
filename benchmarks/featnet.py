"""What FeatNet costs with many fields, and what more subsets and queries do.

    python benchmarks/featnet.py fields --plot fields.png
    python benchmarks/featnet.py sizes --plot sizes.png

"fields" times a training step of each model for 20 to 400 fields, in turns,
and takes its peak memory in a process of its own. "sizes" trains FeatNet on
planted data of 18 fields with different numbers of subsets and of queries
(Figure 5 of its paper).
"""

import argparse
import statistics
import tempfile

import torch
from common import (
    peak_memory,
    report,
    spread,
    time_interleaved,
    uniform,
)
from sklearn.metrics import roc_auc_score
from tables import load_planted, summarise

from pyg_featgraph.data import FieldEncoder, FieldInfo, FieldTable
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import AutoInt, FeatNet, GraphFM
from pyg_featgraph.plot.figure import new_figure, save_figure
from pyg_featgraph.training import fit, predict

MODELS = {'GraphFM': GraphFM, 'AutoInt': AutoInt, 'FeatNet': FeatNet}
FIELDS = (20, 39, 100, 200, 400)
SUBSETS, QUERIES = (1, 2, 5, 10, 20), (1, 4, 16, 40)


def make_step(name, num_fields, num_rows):
    """A training step on rows of which every field has 100 values."""
    torch.manual_seed(0)
    n = num_fields
    names = tuple(f'f{i}' for i in range(n))
    info = FieldInfo(names, (100,) * n, (1,) * n, ('categorical',) * n)
    index = torch.randint(0, 100, (num_rows, n)) + 100 * torch.arange(n)
    batch = FieldTable(index.int(), torch.ones(index.size()), info).batch()
    model = MODELS[name](info)

    def step():
        model.zero_grad()
        model(batch).sum().backward()

    return step


def by_fields(args):
    rows = []
    for n in FIELDS:
        size = args.batch_size
        steps = {name: make_step(name, n, size) for name in MODELS}
        seconds = time_interleaved(steps, args.repeats)
        for name in MODELS:
            memory = peak_memory(make_step, name, n, size)
            rows.append(
                {
                    'model': name,
                    'fields': n,
                    'ms per 1,000 rows': spread(seconds[name], 1e6 / size),
                    'MB per 1,000 rows': f'{1000 * memory / size:.0f}',
                    'median ms': statistics.median(seconds[name]) * 1e6 / size,
                    'median MB': 1000 * memory / size,
                }
            )
            print(rows[-1], flush=True)
    if args.plot:
        plot_fields(rows, args.plot)
    for row in rows:
        del row['median ms'], row['median MB']
    return rows


def plot_fields(rows, path):
    figure = new_figure(9, 4)
    panels = (('median ms', 'ms'), ('median MB', 'peak MB'))
    for axis, (key, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for name in MODELS:
            points = [(x['fields'], x[key]) for x in rows if x['model'] == name]
            axis.loglog(*zip(*points, strict=True), marker='o', label=name)
        axis.set_xlabel('fields')
        axis.set_ylabel(f'{label} per 1,000 rows')
        axis.set_xticks(FIELDS, map(str, FIELDS))
        axis.minorticks_off()
        axis.legend()
    save_figure(figure, path)


def by_sizes(args):
    scores = {}
    forms = [(s, 16) for s in SUBSETS]
    forms += [(10, e) for e in QUERIES if e != 16]
    for seed in range(args.seeds):
        data = PlantedInteractions(40_000, {2: 5}, 5, 13, seed=seed)
        *parts, schema, _ = load_planted(data)
        encoder = FieldEncoder(schema).fit(parts[0])
        train, valid, test = (encoder.transform(df) for df in parts)
        for s, e in forms:
            torch.manual_seed(seed)
            model = FeatNet(
                encoder.info, num_subsets=s, num_queries=e, threshold_init=-3.0
            )
            with tempfile.TemporaryDirectory() as folder:
                fit(
                    model,
                    train,
                    valid,
                    directory=folder,
                    max_epochs=args.epochs,
                    batch_size=512,
                    lr=3e-3,
                    **uniform(1e-5),
                    architecture_lr=0.1,
                    monitor='valid_auc',
                    patience=3,
                    seed=seed,
                    enable_progress_bar=False,
                )
            auc = roc_auc_score(test.y.numpy(), predict(model, test).numpy())
            pruned = model.monitor(test)['pruned']
            print(seed, s, e, auc, pruned, flush=True)
            row = scores.setdefault((s, e), {'auc': [], '% pruned': []})
            row['auc'].append(auc)
            row['% pruned'].append(100 * pruned)
    if args.plot:
        plot_sizes(scores, args.plot)
    return summarise({f'S={s}, E={e}': v for (s, e), v in scores.items()})


def plot_sizes(scores, path):
    figure = new_figure(9, 4)
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, values, label, key in (
        (left, SUBSETS, 'subsets S (16 queries each)', lambda s: (s, 16)),
        (right, QUERIES, 'queries E of each of 10 subsets', lambda e: (10, e)),
    ):
        auc = [scores[key(value)]['auc'] for value in values]
        axis.plot(values, [statistics.mean(x) for x in auc], marker='o')
        for value, points in zip(values, auc, strict=True):
            axis.scatter([value] * len(points), points, s=12, color='#999999')
        axis.set_xscale('log')
        axis.set_xticks(values, map(str, values))
        axis.minorticks_off()
        axis.set_xlabel(label)
    left.set_ylabel('AUC on test rows')
    save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('question', choices=['fields', 'sizes'])
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--seeds', type=int, default=2)
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--plot', help='the picture to write')
    parser.add_argument('--json')
    args = parser.parse_args()
    run = by_fields if args.question == 'fields' else by_sizes
    report(run(args), args.json, vars(args))


if __name__ == '__main__':
    main()

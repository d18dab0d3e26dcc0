"""Trains FeatNet and shows which columns it prunes.

Without arguments it makes its own table with planted interactions, of whose
columns a third have no effect at all:

    python examples/featnet_pruning.py

With a table of your own, whose other columns are all used:

    python examples/featnet_pruning.py --data table.csv --label clicked

It compares FeatNet with FM and DeepFM, prints in how many of its subsets each
column is left, and draws what is left in single rows.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import FM, DeepFM, FeatNet
from pyg_featgraph.plot import (
    plot_interactions,
    plot_orders,
    plot_subset_members,
    plot_subset_sizes,
    save_figure,
)
from pyg_featgraph.training import fit


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--data', help='a CSV or Parquet file')
    add('--label', default='label', help='0/1 column (default: label)')
    add(
        '--rows',
        type=int,
        default=40_000,
        help='rows of the table with planted interactions (default: 40000)',
    )
    add('--epochs', type=int, default=10, help='at most (default: 10)')
    add('--batch-size', type=int, default=512, help='(default: 512)')
    add('--subsets', type=int, default=10, help='S (default: 10)')
    add('--queries', type=int, default=16, help='E (default: 16)')
    add(
        '--min-count',
        type=int,
        default=10,
        help='categories seen less often are "rare" (default: 10)',
    )
    add('--seed', type=int, default=0, help='seed (default: 0)')
    add(
        '--output',
        type=Path,
        default=Path('runs/featnet_pruning'),
        help='folder of the results (default: runs/featnet_pruning)',
    )
    add('--resume', action='store_true', help='go on with a stopped run')
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The table as a DataFrame, and the planted data set if it is one."""
    if args.data is None:
        data = PlantedInteractions(
            args.rows, {2: 5}, num_numeric=5, num_categorical=13, seed=args.seed
        )
        return data.frame(), data
    read = pd.read_parquet if args.data.endswith('.parquet') else pd.read_csv
    return read(args.data), None


def main():
    args = parse_args()
    df, planted = load(args)
    order = np.random.default_rng(args.seed).permutation(len(df))
    test, valid, train = (
        df.iloc[rows] for rows in np.split(order, [len(df) // 10, len(df) // 5])
    )
    schema = FieldSchema.infer(
        train, args.label, bins=(20,), min_count=args.min_count
    )
    encoder = FieldEncoder(schema).fit(train)
    info = encoder.info
    tables = [encoder.transform(part) for part in (train, valid, test)]
    args.output.mkdir(parents=True, exist_ok=True)
    encoder.save(args.output / 'encoder.parquet')
    print(f'{len(train)} training rows with {info.num_fields} fields')

    torch.manual_seed(args.seed)
    models = {
        'FM': FM(info),
        'DeepFM': DeepFM(info),
        'FeatNet': FeatNet(
            info,
            num_subsets=args.subsets,
            num_queries=args.queries,
            threshold_init=-3.0,
        ),
    }
    print(f'\n{f"{len(test)} test rows":18s}{"AUC":>8s}{"log loss":>10s}')
    for name, model in models.items():
        # Thresholds are learned on validation rows, on which columns without
        # effect cannot be learned by heart:
        options = {'architecture_lr': 0.1} if name == 'FeatNet' else {}
        result = fit(
            model,
            *tables,
            directory=args.output / name,
            max_epochs=args.epochs,
            batch_size=args.batch_size,
            lr=3e-3,
            patience=3,
            seed=args.seed,
            resume=args.resume,
            enable_progress_bar=not args.no_progress,
            **options,
        ).metrics
        print(f'{name:18s}{result["test_auc"]:8.4f}{result["test_loss"]:10.4f}')

    truth = planted.truth if planted else None
    noise = planted.noise_columns if planted else ()
    rows = tables[2].subset(slice(0, 2000))
    members = model.subset_members(rows)
    print(
        f'\n{model.coverage} combinations of fields a row; '
        f'{float(model.pruned_share(rows).mean()):.0%} of the edges to subsets '
        'are pruned'
    )
    legend = ' (- no effect)' if noise else ''
    print(f'share of subsets and rows with each field{legend}')
    share = members.mean(dim=1)
    for i in share.argsort(descending=True).tolist():
        mark = '-' if info.names[i] in noise else ' '
        print(f'{mark} {info.names[i]:16s}{float(share[i]):5.2f}')

    found = model.interactions(rows)
    found.save(args.output / 'interactions.json')
    print('\npairs by effect' + (' (* planted)' if truth else ''))
    planted_sets = {frozenset(fields) for fields in truth or ()}
    for entry in found.top(10):
        mark = '*' if frozenset(entry.fields) in planted_sets else ' '
        print(f'{mark} {" x ".join(entry.fields):20s}{entry.score:.3f}')

    few = rows.subset(slice(0, 4))
    titles = [f'test row {i}' for i in range(len(few))]
    sizes = (model.subset_weights(few) > 0).sum(dim=1)
    figures = {
        'members': plot_subset_members(members, info.names, noise),
        'sizes': plot_subset_sizes(sizes, info.num_fields, titles),
        'orders': plot_orders(model.orders(few), info.num_fields, titles),
        'interactions': plot_interactions(found, truth=truth),
    }
    for name, figure in figures.items():
        save_figure(figure, args.output / f'{name}.png')
    print(f'\nfigures, interactions and models are in {args.output}')


if __name__ == '__main__':
    main()

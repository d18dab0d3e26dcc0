"""Searches interactions, functions and embedding dimensions with AIM.

Without arguments it makes its own table with planted interactions, which
differ in the function that they need:

    python examples/aim_search.py

With a table of your own, whose other columns are all used:

    python examples/aim_search.py --data table.csv --label clicked

It prints what is left of all candidates, compares the compact model with the
full one, with FM and with DeepFM, and gives the interactions to DeepFM.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import AIM, FM, DeepFM
from pyg_featgraph.plot import plot_dims, plot_interactions, save_figure
from pyg_featgraph.search import aim_search
from pyg_featgraph.training import fit, predict


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
        default=60_000,
        help='rows of the table with planted interactions (default: 60000)',
    )
    add(
        '--order',
        type=int,
        default=2,
        help='highest order of an interaction (default: 2)',
    )
    add(
        '--pool',
        type=lambda text: text if text == 'all' else int(text),
        help='how many interactions of an order are extended to the next, or '
        '"all" to try every tuple (default: half the number of fields)',
    )
    add(
        '--hidden',
        type=int,
        nargs='*',
        default=[],
        help='hidden layers of the re-trained model (default: none)',
    )
    add(
        '--epochs',
        type=int,
        default=6,
        help='epochs of each stage of the search (default: 6)',
    )
    add('--batch-size', type=int, default=512, help='(default: 512)')
    add(
        '--embedding-dim',
        type=int,
        default=16,
        help='size of the node vectors before the search (default: 16)',
    )
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
        default=Path('runs/aim_search'),
        help='folder of the results (default: runs/aim_search)',
    )
    add('--resume', action='store_true', help='go on with a stopped run')
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The table as a DataFrame, and the ranks of planted interactions."""
    if args.data is None:
        data = PlantedInteractions(
            args.rows,
            {2: 6} if args.order == 2 else {2: 5, 3: 1},
            num_numeric=5,
            num_categorical=10,
            seed=args.seed,
            rank=(1, 3),
        )
        return data.frame(), data.ranks
    read = pd.read_parquet if args.data.endswith('.parquet') else pd.read_csv
    return read(args.data), {}


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def inference_times(models, table, repeats=5):
    """Milliseconds for all rows, taken in turns so that all share the ups and
    downs of the machine."""
    times = {name: [] for name in models}
    for _ in range(repeats):
        for name, model in models.items():
            begin = time.perf_counter()
            predict(model, table)
            times[name].append(1000 * (time.perf_counter() - begin))
    return {name: np.median(values) for name, values in times.items()}


def print_kept(kept):
    print('\nfunctions of interactions')
    print(f'{"order":>5s} {"possible":>9s} {"candidates":>11s} {"open":>6s}')
    for row in kept.itertuples():
        print(
            f'{row.order:5d} {row.possible:9d} {row.candidates:11d} '
            f'{row.open:6d} ({row.open / row.possible:.1%} of all)'
        )


def print_interactions(found, ranks):
    planted = {frozenset(fields): rank for fields, rank in ranks.items()}
    legend = ' (* planted, with its rank)' if planted else ''
    print(f'\n{len(found)} interactions{legend}')
    for place, entry in enumerate(found, start=1):
        rank = planted.get(frozenset(entry.fields))
        mark = ' ' if rank is None else f'*{rank}'
        gates = ', '.join(
            f'{function} {gate:+.2f}'
            for function, gate in entry.detail['functions'].items()
        )
        name = ' x '.join(entry.fields)
        print(f'{place:3d} {mark:3s}{name:20s} {entry.score:.3f}  {gates}')
    for order in sorted({len(fields) for fields in ranks}):
        truth = [fields for fields in ranks if len(fields) == order]
        own = found.of_order(order)
        precision = own.precision_at(max(len(own), 1), truth)
        print(
            f'order {order}: precision {precision:.2f}, '
            f'recall {own.recall_at(None, truth):.2f} of {len(truth)}'
        )


def print_functions(found, functions):
    print('\nopen functions' + ''.join(f'{name:>8s}' for name in functions))
    for order in sorted({entry.order for entry in found}):
        count = Counter(
            name
            for x in found.of_order(order)
            for name in x.detail['functions']
        )
        counts = ''.join(f'{count[name]:8d}' for name in functions)
        print(f'order {order:<8d}{counts}')


def print_dims(dims, info, embedding_dim):
    print(f'\nkept dimensions of {embedding_dim}, by vocabulary size')
    print(f'{"field":16s}{"size":>8s}' + ''.join(f'{x:>10s}' for x in dims))
    for i in np.argsort(info.sizes, kind='stable'):
        counts = [len(fields[i]) or '-' for fields in dims.values()]
        print(
            f'{info.names[i]:16s}{info.sizes[i]:8d}'
            + ''.join(f'{count:>10}' for count in counts)
        )


def print_models(models, metrics, table):
    times = inference_times(models, table)
    print(
        f'\n{f"{len(table)} test rows":18s}{"AUC":>8s}{"log loss":>10s}'
        f'{"parameters":>12s}{"inference":>12s}'
    )
    for name, model in models.items():
        auc, loss = metrics[name]['test_auc'], metrics[name]['test_loss']
        print(
            f'{name:18s}{auc:8.4f}{loss:10.4f}{num_parameters(model):12,d}'
            f'{times[name]:9.0f} ms'
        )


def main():
    args = parse_args()
    start = time.time()
    df, ranks = load(args)
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
    print(
        f'{len(train)} training rows with {info.num_fields} fields and '
        f'{info.num_embeddings} ids'
    )
    dim = args.embedding_dim
    options = {
        'batch_size': args.batch_size,
        'seed': args.seed,
        'resume': args.resume,
        'enable_progress_bar': not args.no_progress,
    }
    base_options = {'max_epochs': 2 * args.epochs, 'lr': 2e-3, **options}

    torch.manual_seed(args.seed)
    models = {'FM': FM(info, dim), 'DeepFM': DeepFM(info, dim)}
    metrics = {
        name: fit(
            model, *tables, directory=args.output / name, **base_options
        ).metrics
        for name, model in models.items()
    }

    torch.manual_seed(args.seed)
    models['AIM before'] = AIM(info, dim)
    result = aim_search(
        models['AIM before'],
        *tables,
        directory=args.output / 'search',
        max_order=args.order,
        pool=args.pool,
        hidden_channels=args.hidden,
        max_epochs=args.epochs,
        lr=5e-3,
        closing=0.3,
        **options,
    )
    found = result.interactions
    metrics['AIM before'] = result.stages['order-2'].metrics
    models['AIM after'] = result.model
    metrics['AIM after'] = result.metrics

    # Interactions and functions that were found help other models as well:
    torch.manual_seed(args.seed)
    name = 'DeepFM + AIM pairs'
    models[name] = DeepFM(info, dim, interactions=found)
    metrics[name] = fit(
        models[name],
        *tables,
        directory=args.output / 'transfer',
        **base_options,
    ).metrics

    dims = result.model.config['dims']
    print_kept(result.kept)
    print_interactions(found, ranks)
    print_functions(found, result.model.config['functions'])
    print_dims(dims, info, dim)
    print_models(models, metrics, tables[2])

    found.save(args.output / 'interactions.json')
    result.model.save(args.output / 'aim.safetensors')
    save_figure(
        plot_interactions(found, 25, list(ranks) or None),
        args.output / 'interactions.png',
    )
    if dims:
        save_figure(
            plot_dims(dims, info.names, info.sizes, dim),
            args.output / 'dims.png',
        )
        print(f'\ndimensions    {args.output / "dims.png"}')
    print(
        f'interactions  {args.output / "interactions.json"} and .png'
        f'\nmodel         {args.output / "aim.safetensors"}'
        f'\nencoder       {args.output / "encoder.parquet"}'
        f'\n{time.time() - start:.0f} seconds in all'
    )


if __name__ == '__main__':
    main()

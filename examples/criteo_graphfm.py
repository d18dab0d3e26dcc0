"""Trains GraphFM on click logs in the format of Criteo.

Without arguments it makes its own data with planted interactions, so that it
can be seen which of them are found:

    python examples/criteo_graphfm.py

With real logs:

    python examples/criteo_graphfm.py --data train.txt
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import Criteo, PlantedInteractions
from pyg_featgraph.nn import DNN, FM, LR, GraphFM
from pyg_featgraph.plot import (
    plot_edge_weights,
    plot_interactions,
    save_figure,
)
from pyg_featgraph.training import fit, predict


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--data', help='log file or folder in the format of Criteo')
    add(
        '--rows',
        type=int,
        help='use only the first rows (default: 80,000 '
        'of the built-in data, all of --data)',
    )
    add(
        '--on-bad-lines',
        choices=['error', 'skip'],
        default='error',
        help='what to do with broken lines of --data (default: error)',
    )
    add(
        '--min-count',
        type=int,
        default=None,
        help='categories seen less '
        'often are "rare" (default: 10 built-in, 11 with --data)',
    )
    add(
        '--output',
        type=Path,
        default=Path('runs/criteo_graphfm'),
        help='folder of checkpoints, figures and rankings '
        '(default: runs/criteo_graphfm)',
    )
    add(
        '--variant',
        choices=['reference', 'paper'],
        default='reference',
        help='layers as in the released code or in the paper '
        '(default: reference)',
    )
    add('--layers', type=int, default=2, help='GraphFM layers (default: 2)')
    add(
        '--m',
        type=int,
        nargs='+',
        help='neighbours to select in each '
        'layer (default: all fields, half of them, an eighth)',
    )
    add(
        '--embedding-dim',
        type=int,
        default=16,
        help='size of the node vectors (default: 16)',
    )
    add(
        '--hidden',
        type=int,
        default=32,
        help='output size of a GraphFM layer (default: 32)',
    )
    add('--heads', type=int, default=2, help='attention heads (default: 2)')
    add(
        '--dropout',
        type=float,
        default=0.0,
        help='dropout of attention and embeddings (default: 0)',
    )
    add(
        '--epochs',
        type=int,
        default=6,
        help='largest number of epochs (default: 6)',
    )
    add(
        '--patience',
        type=int,
        default=2,
        help='epochs without a better '
        'validation loss before a training ends (default: 2)',
    )
    add(
        '--batch-size',
        type=int,
        default=1024,
        help='rows of a batch (default: 1024)',
    )
    add(
        '--lr',
        type=float,
        default=1e-2,
        help='learning rate of GraphFM (default: 0.01)',
    )
    add('--seed', type=int, default=0, help='seed (default: 0)')
    add(
        '--accelerator', default='auto', help='cpu, gpu or auto (default: auto)'
    )
    add(
        '--sparse',
        action='store_true',
        help='sparse gradients, for very large vocabularies',
    )
    add('--resume', action='store_true', help='go on with a stopped training')
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The encoded parts, where built-in data comes from, and the test rows."""
    planted = None
    if args.data is None:
        planted = PlantedInteractions(args.rows or 80_000, seed=args.seed)
        data, df = planted, planted.frame()
    else:
        data = Criteo(args.data, on_bad_lines=args.on_bad_lines)
        df = data.frame(nrows=args.rows)
    order = np.random.default_rng(args.seed).permutation(len(df))
    test, valid, train = np.split(order, [len(df) // 10, len(df) // 5])
    options = {} if args.min_count is None else {'min_count': args.min_count}
    encoder = FieldEncoder(data.schema(**options)).fit(df.iloc[train])
    args.output.mkdir(parents=True, exist_ok=True)
    encoder.save(args.output / 'encoder.parquet')
    parts = [encoder.transform(df.iloc[rows]) for rows in (train, valid, test)]
    return parts, planted, df.iloc[test]


def heat_map_rows(p, y):
    """Two rows predicted right with confidence and one predicted wrong."""
    score = torch.where(y == 1, p, 1 - p)
    right_positive = torch.where(y == 1, score, -torch.inf).argmax()
    right_negative = torch.where(y == 0, score, -torch.inf).argmax()
    return torch.stack([right_positive, right_negative, score.argmin()])


def main():
    args = parse_args()
    start = time.time()
    torch.manual_seed(args.seed)
    (train, valid, test), planted, test_rows = load(args)
    info = train.info
    print(
        f'{len(train)} training rows with {info.num_fields} fields and '
        f'{info.num_embeddings} ids, {len(valid)} validation and '
        f'{len(test)} test rows'
    )

    dim, sparse = args.embedding_dim, args.sparse
    models = {
        'LR': (LR(info, sparse), {'lr': 1e-3}),
        'FM': (
            FM(info, dim // 2, sparse=sparse),
            {'lr': 2e-3},
        ),
        'DNN': (DNN(info, dim, dropout=0.3, sparse=sparse), {'lr': 2e-3}),
        'GraphFM': (
            GraphFM(
                info,
                dim,
                args.hidden,
                args.layers,
                m=args.m,
                heads=args.heads,
                variant=args.variant,
                dropout=args.dropout,
                embedding_dropout=args.dropout,
                sparse=sparse,
            ),
            {'lr': args.lr},
        ),
    }
    table = []
    for name, (model, options) in models.items():
        begin = time.time()
        result = fit(
            model,
            train,
            valid,
            test,
            directory=args.output / name,
            max_epochs=args.epochs,
            batch_size=args.batch_size,
            patience=args.patience,
            seed=args.seed,
            resume=args.resume,
            accelerator=args.accelerator,
            enable_progress_bar=not args.no_progress,
            **options,
        )
        table.append(
            (
                name,
                result.metrics['test_auc'],
                result.metrics['test_loss'],
                time.time() - begin,
            )
        )
    print(f'\n{"test rows":12s} {"AUC":>7s} {"log loss":>9s} {"seconds":>8s}')
    for name, auc, loss, seconds in table:
        print(f'{name:12s} {auc:7.4f} {loss:9.4f} {seconds:8.1f}')
    truth = None
    if planted is not None:
        truth = list(planted.truth)
        y, p = (
            test.y.numpy(),
            1 / (1 + np.exp(-planted.logits()[test_rows.index])),
        )
        print(
            f'{"Bayes":12s} {roc_auc_score(y, p):7.4f} {log_loss(y, p):9.4f}'
            '          (the true logits of these rows)'
        )

    model = models['GraphFM'][0].eval()
    found = model.interactions(
        train, num_rows=128, progress=not args.no_progress
    )
    found.save(args.output / 'interactions.json')
    save_figure(
        plot_interactions(found, 25, truth), args.output / 'interactions.png'
    )
    planted_sets = {frozenset(fields) for fields in truth or ()}
    legend = ' (* planted)' if planted_sets else ''
    print(f'\ninteractions by their effect on the logit{legend}')
    for rank, entry in enumerate(found.top(15), start=1):
        mark = '*' if frozenset(entry.fields) in planted_sets else ' '
        print(
            f'{rank:3d} {mark} {" x ".join(entry.fields):12s} {entry.score:.3f}'
        )
    if truth is not None:
        pairs = [fields for fields in truth if len(fields) == 2]
        k = min(10, len(pairs))
        by_edges = model.interactions(train, by='edges')
        print(
            f'precision@{k} of pairs: {found.precision_at(k, pairs):.2f} by '
            f'effect, {by_edges.precision_at(k, pairs):.2f} by edge weights'
        )

    p = predict(model, test)
    chosen = heat_map_rows(p, test.y)
    weights = model.edge_weights(test.batch(chosen))
    average = model.edge_weights(test.batch(slice(0, 1024)))
    titles = [
        f'label {test.y[row]:.0f}, predicted {p[row]:.2f}' for row in chosen
    ]
    panels = [[w[i] for w in weights] for i in range(len(chosen))]
    panels.append([w.mean(0) for w in average])
    figure = plot_edge_weights(
        panels,
        info.names,
        [*titles, 'mean over 1024 rows'],
        marks=truth or (),
        row_values=[*(test_rows.iloc[int(i)] for i in chosen), None],
        # Averages differ less than rows do:
        alone=[len(chosen)],
    )
    save_figure(figure, args.output / 'edge_weights.png')

    print(f'\ncheckpoint    {args.output / "GraphFM" / "best.ckpt"}')
    print(f'model         {args.output / "GraphFM" / "model.safetensors"}')
    print(f'encoder       {args.output / "encoder.parquet"}')
    print(f'interactions  {args.output / "interactions.json"} and .png')
    print(f'heat maps     {args.output / "edge_weights.png"}')
    print(f'{time.time() - start:.0f} seconds in all')


if __name__ == '__main__':
    main()

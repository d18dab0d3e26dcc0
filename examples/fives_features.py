"""Finds interactions of a table with FIVES and gives them to other models.

Without arguments it makes its own table with planted interactions:

    python examples/fives_features.py

With a table of your own, whose other columns are all used:

    python examples/fives_features.py --data table.csv --label clicked

It prints the ranked interactions and the AUC of a logistic regression with
and without them, and writes the interactions, the table with the cross
columns, and figures.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import FIVES
from pyg_featgraph.plot import (
    plot_interactions,
    plot_layer_graphs,
    save_figure,
)
from pyg_featgraph.search import fives_search


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--data', help='a CSV or Parquet file')
    add('--label', default='label', help='0/1 column (default: label)')
    add(
        '--order',
        type=int,
        default=2,
        help='highest order of an interaction (default: 2)',
    )
    add(
        '--by',
        choices=['effect', 'edges'],
        default='effect',
        help='rank by what interactions do to the logit, or by the searched '
        'edges (default: effect)',
    )
    add(
        '--top',
        type=int,
        default=15,
        help='interactions to cross (default: 15)',
    )
    add(
        '--min-count',
        type=int,
        default=10,
        help='categories and combinations seen less often are "rare" '
        '(default: 10)',
    )
    add('--epochs', type=int, default=6, help='epochs of search (default: 6)')
    add('--batch-size', type=int, default=512, help='(default: 512)')
    add('--seed', type=int, default=0, help='seed (default: 0)')
    add(
        '--output',
        type=Path,
        default=Path('runs/fives_features'),
        help='folder of the results (default: runs/fives_features)',
    )
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The table as a DataFrame, and the planted interactions, if any."""
    if args.data is None:
        data = PlantedInteractions(
            40_000,
            {2: 5},
            num_numeric=5,
            num_categorical=10,
            seed=args.seed,
        )
        return data.frame(), list(data.truth)
    read = pd.read_parquet if args.data.endswith('.parquet') else pd.read_csv
    return read(args.data), None


def lr_auc(train, test, label, *steps):
    """The AUC of a logistic regression on one-hot columns."""
    model = make_pipeline(
        *steps,
        OneHotEncoder(handle_unknown='infrequent_if_exist', min_frequency=5),
        LogisticRegression(max_iter=200),
    )
    model.fit(train.drop(columns=label), train[label])
    p = model.predict_proba(test.drop(columns=label))[:, 1]
    return roc_auc_score(test[label], p)


def main():
    args = parse_args()
    start = time.time()
    df, truth = load(args)
    order = np.random.default_rng(args.seed).permutation(len(df))
    test, valid, train = (
        df.iloc[rows] for rows in np.split(order, [len(df) // 10, len(df) // 5])
    )
    schema = FieldSchema.infer(
        train, args.label, bins=(20,), min_count=args.min_count
    )
    encoder = FieldEncoder(schema).fit(train)
    args.output.mkdir(parents=True, exist_ok=True)
    print(f'{len(train)} training rows, {len(schema)} fields')

    torch.manual_seed(args.seed)
    model = FIVES(
        encoder.info, max_order=args.order, readout='sum', self_loops=False
    )
    tables = [encoder.transform(part) for part in (train, valid, test)]
    result = fives_search(
        model,
        *tables,
        directory=args.output,
        max_epochs=args.epochs,
        batch_size=args.batch_size,
        seed=args.seed,
        enable_progress_bar=not args.no_progress,
    )
    by_effect = args.by == 'effect'
    found = result.interactions if by_effect else result.derived
    found.save(args.output / 'interactions.json')
    planted = {frozenset(fields) for fields in truth or ()}
    print(
        f'\n{len(found)} interactions by {args.by}'
        + ' (* planted)' * bool(planted)
    )
    for rank, entry in enumerate(found.top(args.top), start=1):
        mark = '*' if frozenset(entry.fields) in planted else ' '
        print(
            f'{rank:3d} {mark} {" x ".join(entry.fields):20s} {entry.score:.3f}'
        )

    # One-hot columns need buckets in place of numbers, which crossing a field
    # with nothing else gives:
    single = [(name,) for name in schema.names]
    options = {'schema': schema, 'min_count': args.min_count}
    before = CrossFeatures(single, **options)
    after = CrossFeatures(
        single + [x.fields for x in found.top(args.top)], **options
    )
    print(f'\n{"test rows":26s} {"AUC":>7s}')
    for name, auc in (
        ('LR', lr_auc(train, test, args.label, before)),
        ('LR + FIVES features', lr_auc(train, test, args.label, after)),
        ('FIVES', result.metrics['test_auc']),
    ):
        print(f'{name:26s} {auc:7.4f}')

    crosses = CrossFeatures(found, args.top, append=True, **options)
    augmented = crosses.fit(train).transform(df)
    augmented.to_parquet(args.output / 'augmented.parquet')
    crosses.save(args.output / 'crosses.parquet')
    save_figure(
        plot_interactions(found, 25, truth), args.output / 'interactions.png'
    )
    save_figure(
        plot_layer_graphs(
            model.adjacency.scores().detach().numpy(),
            schema.names,
            marks=truth or (),
        ),
        args.output / 'layers.png',
    )
    print(
        f'\ninteractions     {args.output / "interactions.json"} and .png'
        f'\nedges            {args.output / "layers.png"}'
        f'\naugmented table  {args.output / "augmented.parquet"} '
        f'({len(augmented.columns)} columns)'
        f'\ntransformer      {args.output / "crosses.parquet"}'
        f'\n{time.time() - start:.0f} seconds in all'
    )


if __name__ == '__main__':
    main()

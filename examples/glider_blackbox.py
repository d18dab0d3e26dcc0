"""Reads the interactions out of a GBDT and writes them into other models.

Without arguments it makes its own table with planted interactions:

    python examples/glider_blackbox.py

With a table of your own, whose other columns are all used:

    python examples/glider_blackbox.py --data table.csv --label clicked

It trains CatBoost (or LightGBM, or the one of scikit-learn), detects with
GLIDER which interactions it uses at many rows, prints them with their counts,
and adds them to logistic regression and to DeepFM.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_numeric_dtype
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.errors import require
from pyg_featgraph.explain import FramePerturbation, glider
from pyg_featgraph.nn import DeepFM
from pyg_featgraph.plot import plot_counts, save_figure
from pyg_featgraph.training import fit

MODELS = ('catboost', 'lightgbm', 'sklearn')


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
    add('--model', choices=MODELS, default='catboost', help='the black box')
    add(
        '--explain',
        type=int,
        default=100,
        help='validation rows to explain (default: 100)',
    )
    add('--top', type=int, default=10, help='interactions to use (default: 10)')
    add(
        '--max-order',
        type=int,
        default=2,
        help='fields of an interaction at most (default: 2, since larger '
        'ones need many rows, and take the place of the pairs in them)',
    )
    add(
        '--min-count',
        type=int,
        default=10,
        help='categories and combinations seen less often are "rare" '
        '(default: 10)',
    )
    add('--epochs', type=int, default=8, help='of DeepFM (default: 8)')
    add('--seed', type=int, default=0, help='seed (default: 0)')
    add(
        '--output',
        type=Path,
        default=Path('runs/glider_blackbox'),
        help='folder of the results (default: runs/glider_blackbox)',
    )
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The table as a DataFrame, and the planted interactions, if any."""
    if args.data is None:
        data = PlantedInteractions(
            args.rows, {2: 4}, num_numeric=5, num_categorical=9, seed=args.seed
        )
        return data.frame(), list(data.truth)
    read = pd.read_parquet if args.data.endswith('.parquet') else pd.read_csv
    return read(args.data), None


class BlackBox:
    """A GBDT on a table: probabilities of rows."""

    def __init__(self, kind, x, y, seed):
        self.categories = {
            name: pd.Index(x[name].dropna().unique())
            for name in x
            if not is_numeric_dtype(x[name])
        }
        self.kind = kind
        names = list(self.categories)
        if kind == 'catboost':
            model = require('catboost', 'bench').CatBoostClassifier(
                verbose=False,
                allow_writing_files=False,
                cat_features=names,
                random_seed=seed,
            )
        elif kind == 'lightgbm':
            model = require('lightgbm', 'bench').LGBMClassifier(
                verbose=-1, random_state=seed
            )
        else:
            # It takes at most 255 categories of a column:
            names = [c for c in names if len(self.categories[c]) < 255]
            self.categories = {c: self.categories[c] for c in names}
            model = HistGradientBoostingClassifier(
                categorical_features='from_dtype', random_state=seed
            )
        self.columns = [
            c for c in x if is_numeric_dtype(x[c]) or c in self.categories
        ]
        self.model = model.fit(self.prepare(x), y)

    def prepare(self, x):
        x = x[self.columns]
        if self.kind == 'catboost':
            return x.assign(
                **{c: x[c].astype(object).fillna('') for c in self.categories}
            )
        return x.assign(
            **{
                c: pd.Categorical(x[c], values)
                for c, values in self.categories.items()
            }
        )

    def __call__(self, x):
        return self.model.predict_proba(self.prepare(x))[:, 1]


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


def deepfm_auc(parts, schema, directory, args):
    encoder = FieldEncoder(schema).fit(parts[0])
    torch.manual_seed(args.seed)
    return fit(
        DeepFM(encoder.info),
        *(encoder.transform(df) for df in parts),
        directory=directory,
        max_epochs=args.epochs,
        batch_size=512,
        lr=2e-3,
        seed=args.seed,
        enable_progress_bar=not args.no_progress,
    ).metrics['test_auc']


def print_counts(found, truth, top):
    planted = {frozenset(fields) for fields in truth or ()}
    legend = ' (* planted)' if planted else ''
    print(f'\n  count of {found.num_rows} rows, interaction{legend}')
    for entry in found.counts.top(top):
        mark = '*' if frozenset(entry.fields) in planted else ' '
        print(f'{mark} {entry.score:5.0f}  {{{", ".join(entry.fields)}}}')
    print(f'a count above {found.significant_count} is no chance (p < 0.05)')


def main():
    args = parse_args()
    start = time.time()
    df, truth = load(args)
    label = args.label
    order = np.random.default_rng(args.seed).permutation(len(df))
    parts = [
        df.iloc[rows] for rows in np.split(order, [len(df) // 10, len(df) // 5])
    ]
    test, valid, train = parts
    args.output.mkdir(parents=True, exist_ok=True)

    x = [part.drop(columns=label) for part in (train, valid, test)]
    box = BlackBox(args.model, x[0], train[label], args.seed)
    aucs = {args.model: roc_auc_score(test[label], box(x[2]))}
    print(
        f'{len(train)} training rows, '
        f'AUC of {args.model} {aucs[args.model]:.4f}'
    )

    columns = box.columns
    found = glider(
        FramePerturbation(
            box, x[1][columns], x[0][columns], output='probability'
        ),
        args.top,
        num_rows=args.explain,
        # Long rankings of few columns would have all pairs in all rows:
        top=2 * args.top,
        max_order=args.max_order,
        seed=args.seed,
        progress=not args.no_progress,
    )
    found.counts.save(args.output / 'counts.json')
    found.interactions.save(args.output / 'interactions.json')
    figure = plot_counts(
        found.counts,
        highlight=5 if truth is None else truth,
        significance=found.significant_count,
        top=50,
    )
    save_figure(figure, args.output / 'counts.png')
    print_counts(found, truth, args.top)

    schema = FieldSchema.infer(
        train, label, bins=(20,), min_count=args.min_count
    )
    options = {'schema': schema, 'min_count': args.min_count}
    crosses = CrossFeatures(found.interactions, **options).fit(train)
    crosses.save(args.output / 'crosses.parquet')
    # One-hot columns need buckets in place of numbers, which crossing a field
    # with nothing else gives:
    single = [(name,) for name in schema.names]
    both = single + [x.fields for x in found.interactions]
    for name, used in (('LR', single), ('LR + GLIDER', both)):
        aucs[name] = lr_auc(train, test, label, CrossFeatures(used, **options))
    parts = [train, valid, test]
    aucs['DeepFM'] = deepfm_auc(parts, schema, args.output / 'DeepFM', args)
    parts = [part.join(crosses.transform(part)) for part in parts]
    aucs['DeepFM + GLIDER'] = deepfm_auc(
        parts, crosses.extend(schema), args.output / 'DeepFM + GLIDER', args
    )
    print(f'\n{f"{len(test)} test rows":18s}{"AUC":>8s}')
    for name, auc in aucs.items():
        print(f'{name:18s}{auc:8.4f}')
    print(f'\nresults in {args.output} after {time.time() - start:.0f} s')


if __name__ == '__main__':
    main()

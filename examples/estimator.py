"""Trains a model on a DataFrame as any estimator of scikit-learn is trained.

Without arguments it makes its own table with planted interactions:

    python examples/estimator.py

With a table of your own, whose other columns are all used:

    python examples/estimator.py --data table.csv --label clicked

It prints how well new rows are predicted, which columns and which interactions
matter, and saves the estimator, which is loaded again to predict.
"""

import argparse
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.sklearn import FeatGraphClassifier, FeatGraphRegressor


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--data', help='a CSV or Parquet file')
    add('--label', default='label', help='the column to predict')
    add('--regression', action='store_true', help='labels are numbers')
    add('--rows', type=int, default=20_000, help='rows of the built-in table')
    add('--model', default='deepfm', help='the model (default: deepfm)')
    add('--members', type=int, default=8, help='its members (default: 8)')
    add('--epochs', type=int, help='at most so many (default: that of fit)')
    add('--lr', type=float, help='learning rate (default: that of fit)')
    add('--seed', type=int, default=0, help='seed (default: 0)')
    add(
        '--output',
        type=Path,
        default=Path('runs/estimator'),
        help='folder of the estimator (default: runs/estimator)',
    )
    add('--no-progress', action='store_true', help='no progress bars')
    return parser.parse_args()


def load(args):
    """The table as a DataFrame, and the planted interactions."""
    if args.data is None:
        data = PlantedInteractions(
            args.rows, {2: 3}, num_numeric=4, num_categorical=4, seed=args.seed
        )
        return data.frame(), {frozenset(fields) for fields in data.truth}
    read = pd.read_parquet if args.data.endswith('.parquet') else pd.read_csv
    return read(args.data), set()


def main():
    args = parse_args()
    df, planted = load(args)
    X, y = df.drop(columns=args.label), df[args.label]
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.2, random_state=args.seed
    )
    cls = FeatGraphRegressor if args.regression else FeatGraphClassifier
    model = cls(
        args.model,
        members=args.members,
        max_epochs=args.epochs,
        lr=args.lr,
        random_state=args.seed,
        verbose=not args.no_progress,
    )
    model.fit(X_train, y_train)

    print(f'{model.n_iter_} epochs')
    print(pd.DataFrame(model.history_).to_string(index=False))
    name = 'R2' if args.regression else 'accuracy'
    print(f'\n{name:10s}{model.score(X_test, y_test):.4f}')
    if not args.regression and len(model.classes_) == 2:
        p = model.predict_proba(X_test)[:, 1]
        print(f'{"AUC":10s}{roc_auc_score(y_test, p):.4f}')

    print('\ncolumns')
    importance = pd.Series(model.feature_importances_, X.columns)
    for column, share in importance.nlargest(10).items():
        print(f'{column:20s}{share:7.1%}')
    legend = ' (* planted)' if planted else ''
    print(f'\ninteractions{legend}')
    for entry in model.interactions(top=10):
        low, high = entry.detail['interval']
        mark = '*' if frozenset(entry.fields) in planted else ' '
        pair = ' x '.join(entry.fields)
        print(f'{mark} {pair:30s} {entry.score:.3f}  [{low:.3f}, {high:.3f}]')

    model.save(args.output)
    loaded = cls.load(args.output)
    assert (loaded.predict(X_test) == model.predict(X_test)).all()
    print(f'\nestimator  {args.output}')


if __name__ == '__main__':
    main()

"""AUC of the models of this library next to what people use otherwise.

    python benchmarks/quality.py planted
    python benchmarks/quality.py adult --root path/to/adult
    python benchmarks/quality.py employee --root path/to/employee

On planted data also how many of the planted pairs are ranked first.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np
import torch
from catboost import CatBoostClassifier
from common import report
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.data import FieldEncoder, FieldTable
from pyg_featgraph.datasets import (
    Adult,
    EmployeeAccess,
    PlantedInteractions,
)
from pyg_featgraph.nn import DNN, FM, LR, GraphFM
from pyg_featgraph.training import fit, predict

SMALL = {'embedding_dim': 16, 'hidden_channels': 32, 'num_layers': 2}
FIXED = {**SMALL, 'variant': 'paper', 'field_weights': True}
BARE = {**SMALL, 'variant': 'paper', 'residual': False, 'norm': False}


def settings(name):
    """The models with what was found to train them on this data."""
    drop, decay, lr = {
        'planted': (0.0, 1e-5, 1e-2),
        'adult': (0.2, 1e-6, 2e-3),
        'employee': (0.3, 5e-5, 2e-3),
    }[name]
    drops = {'dropout': drop, 'embedding_dropout': drop}
    deep = {'lr': lr, 'weight_decay': decay}
    return {
        'LR': (LR, {}, {'lr': 5e-3, 'max_epochs': 30}),
        'FM': (FM, {'embedding_dim': 8}, {'lr': 2e-3, 'weight_decay': 1e-5}),
        'DNN': (DNN, {'dropout': 0.3}, {'lr': 2e-3}),
        'GraphFM reference': (GraphFM, {**SMALL, **drops}, deep),
        'GraphFM paper, fixed': (GraphFM, {**FIXED, **drops}, deep),
        'GraphFM paper, bare': (GraphFM, {**BARE, **drops}, deep),
    }


def load(name, root, seed):
    """Parts as DataFrames, the schema and, if planted, the data set."""
    rng = np.random.default_rng(seed)
    if name == 'adult':
        data = Adult(root)
        df, test = data.frame('train'), data.frame('test')
        order = rng.permutation(len(df))
        valid, train = df.iloc[order[:3000]], df.iloc[order[3000:]]
        return train, valid, test, data.schema(), None
    data = (
        EmployeeAccess(root)
        if name == 'employee'
        else PlantedInteractions(80_000, seed=seed)
    )
    df = data.frame()
    order = rng.permutation(len(df))
    tenth = len(df) // 10
    parts = (order[2 * tenth :], order[tenth : 2 * tenth], order[:tenth])
    planted = data if name == 'planted' else None
    options = {'min_count': 2} if name == 'employee' else {}
    schema = data.schema(**options)
    return *(df.iloc[part] for part in parts), schema, planted


def others(train, valid, test, schema):
    """What people use otherwise, on the same rows: logits by name."""
    label, names = schema.label, list(schema.names)
    encoder = FieldEncoder(schema).fit(train)
    one_hot = make_pipeline(
        OneHotEncoder(handle_unknown='ignore'),
        LogisticRegression(max_iter=300),
    )

    def ids(df):
        return encoder.transform(df).index.numpy()

    one_hot.fit(ids(train), train[label])
    out = {'scikit-learn LR': one_hot.predict_proba(ids(test))[:, 1]}

    categorical = [f.name for f in schema if f.kind == 'categorical']

    def codes(df):
        # LightGBM wants categories as one type over all parts:
        out = df[names].copy()
        for name in categorical:
            values = train[name].dropna().unique()
            out[name] = out[name].astype('category')
            out[name] = out[name].cat.set_categories(values)
        return out

    boost = LGBMClassifier(verbose=-1, n_jobs=2)
    boost.fit(codes(train), train[label])
    out['LightGBM'] = boost.predict_proba(codes(test))[:, 1]

    def texts(df):
        return df[names].assign(
            **{c: df[c].astype(object).fillna('') for c in categorical}
        )

    cat = CatBoostClassifier(
        verbose=False, thread_count=2, allow_writing_files=False
    )
    cat.fit(texts(train), train[label], cat_features=categorical)
    out['CatBoost'] = cat.predict_proba(texts(test))[:, 1]
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=['planted', 'adult', 'employee'])
    parser.add_argument('--root', help='folder of the real data')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=1024)
    parser.add_argument('--only', nargs='+', help='names of models')
    parser.add_argument('--no-others', action='store_true')
    parser.add_argument('--json')
    args = parser.parse_args()

    scores = {}

    def note(name, **values):
        for key, value in values.items():
            scores.setdefault(name, {}).setdefault(key, []).append(value)
        print(name, values, flush=True)

    for seed in range(args.seeds):
        train, valid, test, schema, planted = load(args.data, args.root, seed)
        y = test[schema.label].to_numpy()
        if planted is not None:
            p = 1 / (1 + np.exp(-planted.logits()[test.index]))
            note('Bayes', auc=roc_auc_score(y, p), loss=log_loss(y, p))
        if not args.no_others:
            start = time.perf_counter()
            for name, p in others(train, valid, test, schema).items():
                note(name, auc=roc_auc_score(y, p), loss=log_loss(y, p))
            print(f'others: {time.perf_counter() - start:.0f} s')
        encoder = FieldEncoder(schema).fit(train)
        parts: list[FieldTable] = [
            encoder.transform(df) for df in (train, valid, test)
        ]
        for name, (cls, config, options) in settings(args.data).items():
            if args.only and name not in args.only:
                continue
            torch.manual_seed(seed)
            model = cls(encoder.info, **config)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                fit(
                    model,
                    *parts[:2],
                    directory=folder,
                    batch_size=args.batch_size,
                    monitor='valid_auc',
                    patience=3,
                    seed=seed,
                    progress=False,
                    **{'max_epochs': args.epochs, **options},
                )
            seconds = time.perf_counter() - start
            p = predict(model, parts[2]).double().sigmoid().numpy()
            values = {'auc': roc_auc_score(y, p), 'loss': log_loss(y, p)}
            if planted is not None:
                pairs = [g for g in planted.truth if len(g) == 2]
                found = model.interactions(parts[0], num_rows=128)
                values['p@10'] = found.precision_at(10, pairs)
                if isinstance(model, GraphFM):
                    edges = model.interactions(parts[0], by='edges')
                    values['p@10 edges'] = edges.precision_at(10, pairs)
            note(name, **values, seconds=seconds)

    rows = []
    for name, values in scores.items():
        row = {'model': name}
        for key, numbers in values.items():
            digits = 0 if key == 'seconds' else 2 if 'p@' in key else 4
            text = f'{statistics.mean(numbers):.{digits}f}'
            if len(numbers) > 1:
                text += f' ± {statistics.stdev(numbers):.{digits}f}'
            row[key] = text
        rows.append(row)
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

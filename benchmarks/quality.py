"""AUC of the models of this library next to what people use otherwise.

    python benchmarks/quality.py planted
    python benchmarks/quality.py adult --root path/to/adult
    python benchmarks/quality.py employee --root path/to/employee
    python benchmarks/quality.py bank --root path/to/bank
    python benchmarks/quality.py criteo --root path/to/lines.txt

On planted data also how many of the planted interactions are ranked first.
"""

import argparse
import tempfile
import time

import numpy as np
import torch
from common import report
from sklearn.metrics import log_loss, roc_auc_score
from tables import DATA, boost, ids, load, one_hot_lr, summarise

from pyg_featgraph.data import FieldEncoder, FieldTable
from pyg_featgraph.nn import (
    DNN,
    FIVES,
    FM,
    LR,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
)
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import fit, predict

SMALL = {'embedding_dim': 16, 'hidden_channels': 32, 'num_layers': 2}
FIXED = {**SMALL, 'variant': 'paper', 'field_weights': True}
BARE = {**SMALL, 'variant': 'paper', 'residual': False, 'norm': False}


def settings(name):
    """The models with what was found to train them on this data: class,
    arguments, options of the training, and how to train.
    """
    drop, decay, lr = {
        'planted': (0.0, 1e-5, 1e-2),
        'adult': (0.2, 1e-6, 2e-3),
        'bank': (0.2, 1e-6, 2e-3),
        'employee': (0.3, 5e-5, 2e-3),
        'criteo': (0.3, 1e-4, 2e-3),
    }[name]
    drops = {'dropout': drop, 'embedding_dropout': drop}
    deep = {'lr': lr, 'weight_decay': decay}
    both = {'dropout': drop}
    # The edges of FIVES need more steps than there are in a small table:
    wide = {'lr': 5e-3, 'architecture_lr': 5e-3}
    if name != 'planted':
        wide = {
            'lr': 2e-3,
            'architecture_lr': 1e-2,
            'weight_decay': 1e-5,
            'batch_size': 256,
        }
    joint = {k: v for k, v in wide.items() if k != 'architecture_lr'}
    flat = {'temperature': None}
    step = {'lr': 3e-3, 'weight_decay': decay, 'batch_size': 512}
    # "Joint" learns thresholds on the same rows as everything else:
    thresholds = {'architecture_lr': 0.1 if name == 'planted' else 0.02}
    featnet = {**both, 'threshold_init': -3.0}
    if name == 'criteo':
        # So few rows are learned by heart by the default:
        featnet |= {'num_subsets': 2, 'num_queries': 4, 'hidden_channels': [32]}
    return {
        'LR': (LR, {}, {'lr': 5e-3, 'max_epochs': 30}, fit),
        'FM': (
            FM,
            {'embedding_dim': 8},
            {'lr': 2e-3, 'weight_decay': 1e-5},
            fit,
        ),
        'DNN': (DNN, {'dropout': 0.3}, {'lr': 2e-3}, fit),
        'DeepFM': (
            DeepFM,
            {'embedding_dim': 16, **both},
            {'lr': 5e-3 if name == 'planted' else 2e-3, 'weight_decay': decay},
            fit,
        ),
        'AutoInt': (AutoInt, {}, {'lr': 2e-3, 'weight_decay': decay}, fit),
        'GraphFM reference': (GraphFM, {**SMALL, **drops}, deep, fit),
        'GraphFM paper, fixed': (GraphFM, {**FIXED, **drops}, deep, fit),
        'GraphFM paper, bare': (GraphFM, {**BARE, **drops}, deep, fit),
        'Fi-GNN': (FiGNN, both, {'lr': 2e-3, 'weight_decay': decay}, fit),
        'Fi-GNN released': (
            FiGNN,
            {**both, 'edge': 'uniform', 'readout': 'flatten'},
            {'lr': 2e-3, 'weight_decay': decay},
            fit,
        ),
        'FeatNet': (FeatNet, featnet, {**step, **thresholds}, fit),
        'FeatNet joint': (FeatNet, featnet, step, fit),
        'FIVES': (FIVES, both, wide, fives_search),
        'FIVES independent': (
            FIVES,
            {**both, 'recursive': False},
            wide,
            fives_search,
        ),
        'FIVES no re-scaling': (FIVES, both, {**wide, **flat}, fives_search),
        'FIVES sum': (FIVES, {**both, 'readout': 'sum'}, wide, fives_search),
        'FIVES sum independent': (
            FIVES,
            {**both, 'readout': 'sum', 'recursive': False},
            wide,
            fives_search,
        ),
        'FIVES sum no re-scaling': (
            FIVES,
            {**both, 'readout': 'sum'},
            {**wide, **flat},
            fives_search,
        ),
        'FIVES sum joint': (FIVES, {**both, 'readout': 'sum'}, joint, fit),
    }


def others(train, valid, test, schema):
    """What people use otherwise, on the same rows: probabilities by name."""
    parts = (train, valid, test)
    x = ids(parts, schema)
    lr = one_hot_lr().fit(x[0], train[schema.label])
    return {
        'scikit-learn LR': lr.predict_proba(x[2])[:, 1],
        'LightGBM': boost('LightGBM', parts, schema)[1],
        'CatBoost': boost('CatBoost', parts, schema)[1],
    }


def rank(model, table, planted):
    """How well the planted interactions are found."""
    pairs = [fields for fields in planted.truth if len(fields) == 2]
    found = model.interactions(table, num_rows=128)
    out = {'p@10 effect': found.precision_at(10, pairs)}
    if isinstance(model, FIVES):
        edges = model.derive()
        recall = edges.recall_per_order(planted.truth, 10)
        out['p@10 edges'] = edges.of_order(2).precision_at(10, pairs)
        out['r@10 of triples, edges'] = recall[3]
    elif isinstance(model, FeatNet):
        noise = [name in planted.noise_columns for name in model.info.names]
        members = model.subset_members(table.subset(slice(0, 2000)))
        kept = members.mean(dim=1)
        for key, value in (('noise', True), ('others', False)):
            share = kept[torch.tensor(noise) == value].mean()
            out[f'% pruned, {key}'] = 100 * (1 - float(share))
    elif isinstance(model, GraphFM | FiGNN) and model.config.get('edge') != (
        'uniform'
    ):
        edges = model.interactions(table, by='edges')
        out['p@10 edges'] = edges.precision_at(10, pairs)
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=['planted', *DATA])
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
        for name, (cls, config, options, train_by) in settings(
            args.data
        ).items():
            if args.only and name not in args.only:
                continue
            torch.manual_seed(seed)
            model = cls(encoder.info, **config)
            start = time.perf_counter()
            if train_by is fit:
                options = {'monitor': 'valid_auc', 'patience': 3, **options}
            with tempfile.TemporaryDirectory() as folder:
                train_by(
                    model,
                    *parts[:2],
                    directory=folder,
                    seed=seed,
                    enable_progress_bar=False,
                    **{
                        'max_epochs': args.epochs,
                        'batch_size': args.batch_size,
                        **options,
                    },
                )
            seconds = time.perf_counter() - start
            p = predict(model, parts[2]).double().numpy()
            values = {'auc': roc_auc_score(y, p), 'loss': log_loss(y, p)}
            if planted is not None:
                values |= rank(model, parts[0], planted)
            note(name, **values, seconds=seconds)

    report(summarise(scores), args.json, vars(args))


if __name__ == '__main__':
    main()

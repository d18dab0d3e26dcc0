"""Do the interactions of FIVES help other models?

    python benchmarks/features.py employee --root path/to/employee
    python benchmarks/features.py adult --root path/to/adult
    python benchmarks/features.py bank --root path/to/bank

FIVES is searched, with the settings of its paper by default. Its first
interactions become cross columns for logistic regression and GBDTs, ranked by
the searched edges or by their effect on the logit; how many is chosen by the
AUC of validation rows, and the same number of random ones is a control.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
import torch
from common import report, uniform
from scipy.special import logit
from sklearn.metrics import roc_auc_score
from tables import DATA, boost, ids, load, one_hot_lr, summarise

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.nn import FIVES, derive_interactions
from pyg_featgraph.search import fives_search
from pyg_featgraph.training import predict


def random_interactions(info, rng):
    """As many of each order as a search can find, without any learning."""
    scores = rng.random((2, info.num_fields, info.num_fields))
    return derive_interactions(scores, info.names, source='random')


def lr_with(x, crosses, ys, strength):
    """Probabilities of a logistic regression on ids and crosses."""
    tables = [
        np.hstack([a, b.to_numpy(np.int64)])
        for a, b in zip(x, crosses, strict=True)
    ]
    model = one_hot_lr(C=strength).fit(tables[0], ys[0])
    return [model.predict_proba(table)[:, 1] for table in tables[1:]]


def best_lr(x, parts, ys, schema, interactions, counts, strengths, options):
    """The numbers of interactions and the strength that suit the validation
    rows best: probabilities and the number.
    """
    best = (-1.0, None, 0)
    for count in counts:
        crosses = cross(parts, schema, interactions, count, options)
        for strength in strengths:
            out = lr_with(x, crosses, ys, strength)
            best = max(
                best,
                (roc_auc_score(ys[1], out[0]), out, count),
                key=lambda entry: entry[0],
            )
    return best[1], best[2]


def cross(parts, schema, interactions, count, options):
    crosses = CrossFeatures(interactions, count, schema=schema, **options)
    crosses.fit(parts[0])
    return [crosses.transform(df) for df in parts]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=DATA)
    parser.add_argument('--root', required=True, help='folder of the data')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--epochs', type=int, default=10)
    parser.add_argument('--order', type=int, default=3)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument('--min-count', type=int, default=5)
    parser.add_argument('--lr', type=float, default=5e-3)
    parser.add_argument('--architecture-lr', type=float, default=5e-3)
    parser.add_argument('--weight-decay', type=float, default=1e-4)
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--dropout', type=float, default=0.3)
    parser.add_argument('--readout', default='mean')
    parser.add_argument(
        '--counts', type=int, nargs='+', default=[3, 5, 10, 20, 40]
    )
    parser.add_argument(
        '--strengths', type=float, nargs='+', default=[0.3, 1.0, 3.0]
    )
    parser.add_argument('--cross-min-count', type=int, default=2)
    parser.add_argument('--bins', type=int, default=10)
    parser.add_argument('--no-boost', action='store_true')
    parser.add_argument('--json')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')

    scores = {}
    for seed in range(args.seeds):
        *parts, schema, _ = load(
            args.data, args.root, seed, min_count=args.min_count
        )
        ys = [df[schema.label].to_numpy() for df in parts]

        def note(name, p, y=ys[2], **values):
            values = {'auc': roc_auc_score(y, p), **values}
            for key, value in values.items():
                scores.setdefault(name, {}).setdefault(key, []).append(value)
            print(name, values, flush=True)

        encoder = FieldEncoder(schema).fit(parts[0])
        tables = [encoder.transform(df) for df in parts]
        torch.manual_seed(seed)
        model = FIVES(
            encoder.info,
            args.dim,
            args.order,
            dropout=args.dropout,
            readout=args.readout,
        )
        training = {
            'max_epochs': args.epochs,
            'batch_size': args.batch_size,
            'lr': args.lr,
            **uniform(args.weight_decay, len(tables[0])),
            'seed': seed,
            'enable_progress_bar': False,
        }
        kept = {'monitor': 'valid_auc', 'patience': 3}
        for retrain in (None, 'finetune', 'scratch'):
            # The same search each time, so that the phases can be compared:
            torch.manual_seed(seed)
            model.reset_parameters()
            model.adjacency.set_mode('soft')
            model.adjacency.requires_grad_(True)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                result = fives_search(
                    model,
                    *tables[:2],
                    directory=folder,
                    architecture_lr=args.architecture_lr,
                    retrain=retrain,
                    retrain_options=kept,
                    **training,
                )
            name = {None: '', 'finetune': ', FT', 'scratch': ', LFS'}[retrain]
            seconds = time.perf_counter() - start
            fives = predict(model, tables[2]).double().numpy()
            note(f'FIVES{name}', fives, seconds=seconds)
        print(result.interactions, flush=True)

        # Ids of all values, as rare ones tell something to these:
        full = schema
        for field in schema:
            full = full.replace(field.name, min_count=1)
        x = ids(parts, full)
        found = result.interactions
        chance = random_interactions(encoder.info, np.random.default_rng(seed))
        options = {'min_count': args.cross_min_count, 'bins': args.bins}
        chosen = [args.counts, args.strengths, options]
        lr, _ = best_lr(x, parts, ys, schema, [], [0], *chosen[1:])
        note('LR', lr[1])
        base = roc_auc_score(ys[2], lr[1])
        effects = model.interactions(tables[0], num_rows=512)
        for way, ranking in (('edges', found), ('effect', effects)):
            out, count = best_lr(x, parts, ys, schema, ranking, *chosen)
            gain = 100 * (roc_auc_score(ys[2], out[1]) / base - 1)
            name = f'LR + FIVES features by {way}'
            note(name, out[1], features=count, **{'gain %': gain})
        control, _ = best_lr(x, parts, ys, schema, chance, [count], *chosen[1:])
        gain = 100 * (roc_auc_score(ys[2], control[1]) / base - 1)
        note('LR + random features', control[1], **{'gain %': gain})
        if args.no_boost:
            continue
        for kind in ('LightGBM', 'CatBoost'):
            alone = boost(kind, parts, schema)
            note(kind, alone[1])
            crosses = cross(parts, schema, effects, 5, options)
            both = boost(kind, parts, schema, crosses)
            note(f'{kind} + FIVES features by effect', both[1], features=5)
            # The mean of two logits:
            note(f'{kind} and LR', logit(alone[1]) + logit(lr[1]))
            note(
                f'{kind} and LR + FIVES features by effect',
                logit(alone[1]) + logit(out[1]),
            )
            note(f'{kind} and FIVES, LFS', logit(alone[1]) + fives)

    report(summarise(scores), args.json, vars(args))


if __name__ == '__main__':
    main()

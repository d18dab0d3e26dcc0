"""Which interactions are worth most as crosses, and how weak a triple can be?

    python benchmarks/rankings.py crosses --data adult --root path/to/adult
    python benchmarks/rankings.py crosses --data planted
    python benchmarks/rankings.py limit
    python benchmarks/rankings.py values
    python benchmarks/rankings.py time
    python benchmarks/rankings.py triples

"crosses" ranks pairs by every method on the same training rows, and gives the
first ones of each to a logistic regression on ids. "limit" screens for planted
triples without a lower-order trace and "values" for one of fields with many
values, "time" says what a screen of all of them takes, and "triples" what
models gain from those that it finds.
"""

import argparse
import resource
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
import torch
from common import report
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from tables import ids, load, load_planted, one_hot_lr, summarise

from pyg_featgraph.crossing import CrossFeatures, greedy_crosses
from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.explain import FramePerturbation, glider
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import AIM, FIVES, FeatNet
from pyg_featgraph.search import aim_search, fives_search, screen
from pyg_featgraph.training import fit

#: Above this score the best of all triples of 39 fields is no chance.
CLAIM = -np.log10(0.05 / 9139)


class Scores(dict):
    """Figures by the name of a row, a list over seeds of each."""

    def note(self, name, **values):
        for key, value in values.items():
            self.setdefault(name, {}).setdefault(key, []).append(value)
        print(name, values, flush=True)


def rank(args, parts, schema, seed):
    """A ranking of pairs by every method, and its seconds."""
    y = parts[0][schema.label].to_numpy()
    encoder = FieldEncoder(schema).fit(parts[0])
    tables = [encoder.transform(df) for df in parts[:2]]
    training = {
        'max_epochs': args.epochs,
        'batch_size': 512,
        'seed': seed,
        'enable_progress_bar': False,
    }
    fields = [df[list(schema.names)] for df in parts]

    def by_fives(folder):
        model = FIVES(encoder.info, max_order=2, readout='sum', dropout=0.3)
        found = fives_search(
            model, *tables, directory=folder, lr=2e-3, **training
        )
        return {'effect': found.interactions, 'edges': found.derived}

    def by_aim(folder):
        model = AIM(encoder.info, functions=['inner'])
        found = aim_search(
            model,
            *tables,
            directory=folder,
            lr=5e-3,
            search_dims=False,
            **training,
        )
        gates = found.interactions
        effect = found.model.interactions(tables[1], candidates=gates)
        return {'gates': gates, 'effect': effect}

    def by_featnet(folder):
        model = FeatNet(encoder.info)
        fit(model, *tables, directory=folder, lr=2e-3, **training)
        return {'effect': model.interactions(tables[1])}

    def by_glider(folder):
        dtypes = {
            f.name: fields[0][f.name].astype('category').dtype
            for f in schema
            if f.kind == 'categorical'
        }
        train, valid = (df.astype(dtypes) for df in fields[:2])
        model = LGBMClassifier(verbose=-1, n_jobs=1).fit(train, y)
        box = FramePerturbation(model, frame=valid, background=train)
        options = {'max_order': 2, 'progress': False}
        found = glider(
            box, num_rows=args.glider_rows, agreement=0.9, seed=seed, **options
        )
        print(f'GLIDER: {found.num_rows} rows agree by {found.agreement:.2f}')
        return {'LightGBM': found.counts}

    def by_screen(folder):
        # An additive model, so that dependent fields do not shine through:
        model = HistGradientBoostingClassifier(
            interaction_cst='no_interactions', categorical_features=None
        )
        codes = ids(parts, schema)[0]
        p = cross_val_predict(model, codes, y, method='predict_proba', cv=3)
        return {
            'labels': screen(fields[0], y, 2, schema=schema),
            'residuals': screen(fields[0], y - p[:, 1], 2, schema=schema),
        }

    def greedily(folder):
        found = greedy_crosses(fields[0], y, top=args.top, schema=schema)
        return {'gain': found}

    methods = {
        'FIVES': by_fives,
        'AIM': by_aim,
        'FeatNet': by_featnet,
        'GLIDER': by_glider,
        'screen': by_screen,
        'greedy': greedily,
    }
    out = {}
    for name, method in methods.items():
        if args.only and name not in args.only:
            continue
        start = time.process_time()
        torch.manual_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            found = method(folder)
        seconds = time.process_time() - start
        out |= {f'{name} ({way})': (x, seconds) for way, x in found.items()}
    names, rng = schema.names, np.random.default_rng(seed)
    for draw in range(2):
        pairs = [rng.choice(names, 2, replace=False) for _ in range(99)]
        out[f'random {draw + 1}'] = (
            InteractionSet(
                Interaction(tuple(x), -i) for i, x in enumerate(pairs)
            ),
            0,
        )
    return out


def lr_auc(args, parts, schema, crosses):
    """The AUC of validation and test rows, with some crosses beside all
    fields, numbers in quantile buckets.
    """
    columns = [(name,) for name in schema.names]
    columns += [x.fields for x in crosses]
    cross = CrossFeatures(columns, min_count=args.min_count, schema=schema)
    tables = [cross.fit(parts[0]).transform(df) for df in parts]
    ys = [df[schema.label].to_numpy() for df in parts]
    model = one_hot_lr(C=0.3).fit(tables[0], ys[0])
    return {
        name: roc_auc_score(y, model.predict_proba(table)[:, 1])
        for name, table, y in zip(
            ('valid auc', 'auc'), tables[1:], ys[1:], strict=True
        )
    }


def crosses(args, scores):
    for seed in range(args.seeds):
        *parts, schema, planted = load(args.data, args.root, seed)
        if args.rows:
            parts[0] = parts[0][: args.rows]
        base = lr_auc(args, parts, schema, InteractionSet())
        scores.note('LR', **base)
        for name, (found, seconds) in rank(args, parts, schema, seed).items():
            chosen = found.of_order(2).top(args.top)
            auc = lr_auc(args, parts, schema, chosen)
            gains = {f'gain, {k}': auc[k] - base[k] for k in base}
            values = {'seconds': seconds} if seconds else {}
            if planted is not None:
                values['p@10'] = found.precision_at(10, planted.truth)
            scores.note(name.rstrip(' 12'), **auc, **gains, **values)


def limit(args, scores):
    """Of three planted triples in each of three tables, the scores."""
    for strength in (1.0, 0.5, 0.25):
        for seed in range(3):
            strengths = {2: 1.0, 3: strength}
            data = PlantedInteractions(
                250_000, {2: 10, 3: 3}, strength=strengths, seed=seed
            )
            df = data.frame()
            y = df.pop('label').to_numpy()
            for rows in (4_000, 16_000, 64_000, 250_000):
                for bins in (4, 8, 16):
                    found = [
                        screen(df[list(x)][:rows], y[:rows], bins=bins)[0].score
                        for x in data.truth
                        if len(x) == 3
                    ]
                    name = f'strength {strength}, {rows} rows'
                    for score in found:
                        scores.note(
                            name,
                            **{
                                f'found, {bins} bins': float(score > CLAIM),
                                f'score, {bins} bins': score,
                            },
                        )


def values(args, scores):
    """Three fields of many values, of which each has one of two levels."""
    for size in (10, 30, 100, 1000):
        for seed in range(args.seeds):
            rng = np.random.default_rng(seed)
            share = np.arange(1, size + 1) ** -1.1
            share /= share.sum()
            x = rng.choice(size, (64_000, 3), p=share)
            level = rng.choice([-1.0, 1.0], (3, size))
            level -= (level @ share)[:, None]
            level /= np.sqrt(level**2 @ share)[:, None]
            z = np.prod([level[i][x[:, i]] for i in range(3)], axis=0) - 1.2
            y = rng.random(len(z)) < 1 / (1 + np.exp(-z))
            df = pd.DataFrame(x.astype(str), columns=list('abc'))
            for cells in (2**12, 2**15, 2**18):
                (best,) = screen(df, y, max_cells=cells)
                kept = int(cells ** (1 / 3) + 1e-9)
                scores.note(f'{size} values', **{f'{kept} kept': best.score})


def times(args, scores):
    for order, rows in ((2, 64_000), (3, 16_000), (3, 64_000), (3, 250_000)):
        data = PlantedInteractions(rows, {2: 10, 3: 3})
        df = data.frame()
        y = df.pop('label')
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        found = screen(df, y, order)
        true = [x for x in data.truth if len(x) == order]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        scores.note(
            f'order {order}, {rows} rows',
            seconds=time.process_time() - start,
            **{
                'more MB': (peak - before) / 1024,
                'recall of as many': found.recall_at(len(true), true),
            },
        )


def triples(args, scores):
    """AUC without and with the triples that a screen claims."""
    for seed in range(args.seeds):
        data = PlantedInteractions(
            args.rows or 80_000, {2: 10, 3: 3}, seed=seed
        )
        *parts, schema, _ = load_planted(data)
        y = parts[0][schema.label]
        fields = parts[0][list(schema.names)]
        pairs, found = (
            InteractionSet(
                x
                for x in screen(fields, y, order)
                if x.detail['p_adjusted'] < 0.05
            )
            for order in (2, 3)
        )
        for name, ranking, order in (
            ('pairs', pairs, 2),
            ('triples', found, 3),
        ):
            true = [x for x in data.truth if len(x) == order]
            recall = ranking.recall_at(None, true)
            scores.note(name, found=len(ranking), recall=recall)
        encoder = FieldEncoder(schema).fit(parts[0])
        tables = [encoder.transform(df) for df in parts]
        none, both = InteractionSet(), InteractionSet([*pairs, *found])
        for name, ranking in (
            ('', none),
            (' + pairs', pairs),
            (' + both', both),
        ):
            auc = lr_auc(args, parts, schema, ranking)['auc']
            scores.note(f'LR{name}', auc=auc)
            if not len(ranking):
                continue
            torch.manual_seed(seed)
            model = AIM(encoder.info, interactions=ranking, functions=['inner'])
            with tempfile.TemporaryDirectory() as folder:
                result = fit(
                    model,
                    *tables,
                    directory=folder,
                    max_epochs=args.epochs,
                    batch_size=1024,
                    lr=1e-2,
                    monitor='valid_auc',
                    seed=seed,
                    enable_progress_bar=False,
                )
            scores.note(f'AIM{name}', auc=result.metrics['test_auc'])
        scores.note('Bayes', auc=data.bayes_auc)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = {
        'crosses': crosses,
        'limit': limit,
        'values': values,
        'time': times,
        'triples': triples,
    }
    parser.add_argument('task', choices=tasks)
    parser.add_argument('--data', default='planted')
    parser.add_argument('--root', help='folder of real data')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--rows', type=int, help='of training, at most')
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--top', type=int, default=10, help='crosses to use')
    parser.add_argument('--min-count', type=int, default=5)
    parser.add_argument('--glider-rows', type=int, default=256)
    parser.add_argument('--only', nargs='+', help='methods')
    parser.add_argument('--json')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')
    scores = Scores()
    tasks[args.task](args, scores)
    report(summarise(scores), args.json, vars(args))


if __name__ == '__main__':
    main()

"""What crosses are worth, as ids for linear models and as statistics.

    python benchmarks/crosses.py employee --root path/to/employee
    python benchmarks/crosses.py adult --root path/to/adult

Each seed is another split: a tenth of the rows are test rows (those of Adult
come with it). A tenth of the training rows choose the strength of the linear
models, the settings of LightGBM and the epoch of networks; all but networks
then learn from all training rows. CatBoost has its default settings.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
import torch
from catboost import CatBoostClassifier
from common import report
from lightgbm import LGBMClassifier
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from tables import DATA, summarise

from pyg_featgraph.crossing import CrossFeatures, greedy_crosses
from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.nn import DNN, DeepFM
from pyg_featgraph.training import fit, predict

STRENGTHS = (0.1, 0.3, 1.0)
BOOSTS = {
    'default': {},
    'slow': {
        'learning_rate': 0.03,
        'n_estimators': 400,
        'colsample_bytree': 0.2,
        'subsample': 0.8,
        'subsample_freq': 1,
    },
}


def split(name, root, seed):
    """Training and test rows and the schema."""
    data = DATA[name](root)
    rng = np.random.RandomState(seed)
    if name == 'adult':
        df, test = data.frame('train'), data.frame('test')
        return df.iloc[rng.permutation(len(df))], test, data.schema()
    df = data.frame()
    order = rng.permutation(len(df))
    cut = round(0.9 * len(df))
    train, test = df.iloc[order[:cut]], df.iloc[order[cut:]]
    return train, test, data.schema()


def choose(settings, make, x, y):
    """The setting whose model has the best log loss on the last tenth."""
    cut = round(0.9 * len(y))
    losses = {}
    for name in settings:
        model = make(name).fit(x[:cut], y[:cut])
        losses[name] = log_loss(y[cut:], model.predict_proba(x[cut:])[:, 1])
    return min(losses, key=losses.get)


def make_lr(strength):
    return LogisticRegression(C=strength, solver='liblinear')


def make_lightgbm(name):
    options = BOOSTS[name]
    return LGBMClassifier(n_jobs=1, verbose=-1, random_state=0, **options)


def make_catboost(**options):
    return CatBoostClassifier(
        verbose=False, thread_count=1, allow_writing_files=False, **options
    )


def network(make, train, test, label, seed, **options):
    """Probabilities of a network; statistics are in many small buckets."""
    schema = FieldSchema.infer(train, label=label, **options)
    encoder = FieldEncoder(schema).fit(train)
    table = encoder.transform(train)
    cut = round(0.9 * len(train))
    torch.manual_seed(seed)
    model = make(encoder.info)
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            table.subset(slice(0, cut)),
            table.subset(slice(cut, None)),
            directory=folder,
            max_epochs=20,
            batch_size=256,
            enable_progress_bar=False,
        )
    return predict(model, encoder.transform(test)).double().numpy()


def run(args, seed, note):
    train, test, schema = split(args.data, args.root, seed)
    y, label = train[schema.label].to_numpy(), schema.label
    names = list(schema.names)
    x, x_test = train[names], test[names]
    categorical = [f.name for f in schema if f.kind == 'categorical']
    options = {'schema': schema, 'bins': args.bins}
    single = [(name,) for name in names]

    def as_categories(df):
        return df.assign(
            **{
                c: df[c].astype(object).where(df[c].notna(), '').astype(str)
                for c in categorical
            }
        )

    def lr(name, crosses, min_count):
        start = time.perf_counter()
        crosses = CrossFeatures(
            crosses,
            order=args.order,
            min_count=min_count,
            sparse_output=True,
            **options,
        )
        one_hot = crosses.fit_transform(x)
        strength = choose(STRENGTHS, make_lr, one_hot, y)
        model = make_lr(strength).fit(one_hot, y)
        p = model.predict_proba(crosses.transform(x_test))[:, 1]
        return note(name, p, start, chosen=f'C = {strength:g}')

    def statistics(order, encode):
        crosses = CrossFeatures(order=order, encode=encode, **options)
        return crosses.fit_transform(x, y), crosses.transform(x_test)

    def lightgbm(name, a, b):
        start = time.perf_counter()
        chosen = choose(BOOSTS, make_lightgbm, a, y)
        p = make_lightgbm(chosen).fit(a, y).predict_proba(b)[:, 1]
        return note(name, p, start, chosen=chosen)

    out = {}
    a, b = as_categories(x), as_categories(x_test)
    both = a.astype(dict.fromkeys(categorical, 'category'))
    types = both.dtypes[categorical].to_dict()
    lightgbm('LightGBM, columns', both, b.astype(types))

    lr('LR, columns', single, 1)
    out['LR'] = lr(f'LR, all crosses up to {args.order}', None, 1)
    start = time.perf_counter()
    found = greedy_crosses(x, y, order=(2, args.order), **options)
    note('(greedy choice)', None, start, crosses=len(found))
    lr('LR, columns and greedy crosses', [*single, *found], 1)

    for order in range(1, args.order + 1):
        name = f'up to {order}'
        if order == 2:
            lightgbm(f'LightGBM, target {name}', *statistics(order, 'target'))
        a, b = statistics(order, ('target', 'count'))
        p = lightgbm(f'LightGBM, target and count {name}', a, b)
        out[order] = p
        if order != 2:
            continue
        if args.catboost_statistics:
            start = time.perf_counter()
            p = make_catboost().fit(a, y).predict_proba(b)[:, 1]
            note(f'CatBoost, target and count {name}', p, start)
        fields = {
            'DNN': lambda info: DNN(
                info, args.dim, dropout=0.2, norm='batch_norm'
            ),
            'DeepFM': lambda info: DeepFM(info, args.dim, dropout=0.2),
        }
        for kind, make in fields.items():
            start = time.perf_counter()
            p = network(make, a.assign(**{label: y}), b, label, seed)
            out[kind] = note(f'{kind}, target and count {name}', p, start)

    if not args.no_catboost:
        start = time.perf_counter()
        a, b = as_categories(x), as_categories(x_test)
        model = make_catboost(cat_features=categorical).fit(a, y)
        p = model.predict_proba(b)[:, 1]
        out['CatBoost'] = note('CatBoost, columns', p, start)
    pairs = [
        ('LR', 2),
        ('LR', args.order),
        ('DNN', 2),
        ('LR', 'DNN', 2),
        ('CatBoost', 2),
        ('CatBoost', 'LR', 2),
    ]
    for parts in pairs:
        if all(part in out for part in parts):
            p = expit(np.mean([logit(out[part]) for part in parts], axis=0))
            texts = [
                f'LightGBM up to {x}' if isinstance(x, int) else x
                for x in parts
            ]
            note(f'mean of {", ".join(texts)}', p, time.perf_counter())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=DATA)
    parser.add_argument('--root', required=True, help='folder of the data')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--order', type=int, default=3)
    parser.add_argument('--bins', type=int, default=20)
    parser.add_argument('--dim', type=int, default=8)
    parser.add_argument('--no-catboost', action='store_true')
    parser.add_argument('--catboost-statistics', action='store_true')
    parser.add_argument('--json')
    args = parser.parse_args()
    warnings.filterwarnings('ignore')

    scores = {}
    for seed in args.seeds:
        y = split(args.data, args.root, seed)[1]
        y = y[DATA[args.data].label].to_numpy()

        def note(name, p, start, y=y, seed=seed, **chosen):
            values = {'seconds': time.perf_counter() - start}
            if p is not None:
                loss = log_loss(y, p)
                values = {'auc': roc_auc_score(y, p), 'loss': loss, **values}
            for key, value in values.items():
                scores.setdefault(name, {}).setdefault(key, []).append(value)
            shown = {k: round(float(v), 4) for k, v in values.items()}
            print(seed, name, shown, chosen, flush=True)
            return p

        run(args, seed, note)
    report(summarise(scores), args.json, vars(args))


if __name__ == '__main__':
    main()

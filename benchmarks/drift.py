"""A click log whose users and items change from day to day: an encoder and a
model that go on with the rows of each day and a memory of those before, or
without one, also with the rows of the last two days, against both made anew on
all days so far, and against those of the first day. Each is measured on the
next day.

    python benchmarks/drift.py
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from click_log import effect
from common import report
from sklearn.metrics import roc_auc_score

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.nn import DeepFM
from pyg_featgraph.training import fit, predict


def schema(min_count):
    names = ('user', 'item', 'place')
    price = Field('price', 'numeric', bins=(16,), interpolate=True)
    fields = [Field(x, 'categorical', min_count) for x in names]
    return FieldSchema((*fields, price), 'y')


def day(number, num_rows, seed, users=2000, items=1000, share=0.3):
    """The rows of a day, of whose users and items a share is new each day."""
    rng = np.random.default_rng([seed, number])

    def draw(size):
        # The later ones among them are new; some are frequent:
        rank = (size ** rng.random(num_rows)).astype(np.int64)
        order = np.random.default_rng([seed, 17]).permutation(size)
        return order[rank - 1] + int(number * share * size)

    user, item = draw(users), draw(items)
    place = rng.integers(0, 20, num_rows)
    price = rng.lognormal(size=num_rows)
    logit = (
        -1.5
        + 2 * effect(user.astype(np.uint64), 1)
        + 2 * effect(item.astype(np.uint64), 2)
        + effect((place + 20 * (item % 3)).astype(np.uint64), 3)
        - 0.3 * np.log(price)
    )
    return pd.DataFrame(
        {
            'user': np.char.add('u', user.astype(str)),
            'item': np.char.add('i', item.astype(str)),
            'place': place.astype(str),
            'price': price,
            'y': (rng.random(num_rows) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    )


def train(model, encoder, df, folder, seed, lr=1.0, memory=0.0):
    """Trains on nine tenths of the rows; the others end it."""
    table = encoder.transform(df)
    train, valid = table.split([0.9, 0.1], seed)
    fit(
        model,
        train,
        valid,
        directory=folder,
        seed=seed,
        lr=lr * model.lr,
        memory=memory,
        max_epochs=10,
        enable_progress_bar=False,
    )


def auc(model, encoder, df):
    return roc_auc_score(df['y'], predict(model, encoder.transform(df)))


def run(args, seed, folder):
    days = [day(i, args.rows, seed, args.users) for i in range(args.days + 1)]

    def make(df, keep_rare=False, memory=0.0):
        torch.manual_seed(seed)
        encoder = FieldEncoder(schema(args.min_count), keep_rare).fit(df)
        model = DeepFM(encoder.info, sparse=args.sparse or None)
        train(model, encoder, df, folder, seed, memory=memory)
        return model, encoder

    first = make(days[0])
    # How many days each trains on, with which rate and memory:
    ways = {
        'last day': (1, 1.0, 0.0),
        'last 2 days': (2, 1.0, 0.0),
        'memory': (1, args.lr, args.memory),
    }
    going_on = {
        name: make(days[0], keep_rare=True, memory=ways[name][2])
        for name in args.ways
    }
    rows = []
    for i in range(1, args.days):
        found = {'first day': auc(*first, days[i + 1])}
        refit = make(pd.concat(days[: i + 1], ignore_index=True))
        found['refit'] = auc(*refit, days[i + 1])
        for name, (model, encoder) in going_on.items():
            reused = encoder.update(days[i])
            model.grow(encoder.info, reused)
            num, lr, memory = ways[name]
            last = pd.concat(days[i + 1 - num : i + 1], ignore_index=True)
            train(model, encoder, last, folder, seed, lr, memory)
            found[name] = auc(model, encoder, days[i + 1])
            found[f'{name} - refit'] = found[name] - found['refit']
        shown = {k: f'{x:.4f}' for k, x in found.items()}
        ids = going_on[args.ways[-1]][1].info.num_embeddings
        rows.append({'seed': seed, 'days': i + 1, **shown, 'ids': ids})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rows', type=int, default=20_000, help='of a day')
    parser.add_argument('--days', type=int, default=5)
    parser.add_argument('--users', type=int, default=2000)
    parser.add_argument(
        '--lr',
        type=float,
        default=0.3,
        help='the learning rate that goes with memory, by the default one',
    )
    parser.add_argument('--memory', type=float, default=0.2)
    parser.add_argument(
        '--sparse', action='store_true', help='gradients as of large tables'
    )
    parser.add_argument('--min-count', type=int, default=1)
    parser.add_argument(
        '--ways',
        nargs='+',
        default=['last day', 'last 2 days', 'memory'],
        help='those that go on',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[*range(6)])
    parser.add_argument('--json')
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            rows += run(args, seed, Path(folder) / 'run')
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

"""AIM next to its bases, and what each of its stages adds (Tables 2, 4, 5, 7
and 10 of its paper).

    python benchmarks/aim.py planted
    python benchmarks/aim.py triples
    python benchmarks/aim.py adult --root path/to/adult
    python benchmarks/aim.py employee --root path/to/employee
    python benchmarks/aim.py criteo --root path/to/lines.txt
    python benchmarks/aim.py scaling

"FIS" searches which pairs, all with inner products (AutoFIS); "+ IFS" also
under which functions, "+ EDS" also which dimensions; "order 3" also triples.
"scaling" times a step of the search for 10 to 80 fields.
"""

import argparse
import tempfile
import time

import numpy as np
import torch
from common import report, spread, time_interleaved, uniform
from sklearn.metrics import log_loss, roc_auc_score
from tables import DATA, load, load_planted, summarise

from pyg_featgraph.data import FieldEncoder, FieldInfo, FieldTable
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import AIM, FM, IPNN, DeepFM
from pyg_featgraph.nn.gates import gated
from pyg_featgraph.optim import GRDA
from pyg_featgraph.search import aim_search
from pyg_featgraph.search.aim_orders import extend_tuples
from pyg_featgraph.training import fit, predict

ALL = ('inner', 'outer', 'vector', 'scalar')
#: Learning rate and weight decay of the bases and of AIM, batch size, and
#: epochs of each stage of the search.
SETTINGS = {
    'planted': ((5e-3, 0.0), (5e-3, 0.0), 1024, 5),
    'triples': ((5e-3, 0.0), (5e-3, 0.0), 1024, 8),
    'adult': ((2e-3, 1e-6), (2e-3, 1e-6), 512, 3),
    'employee': ((2e-3, 1e-4), (1e-2, 1e-5), 256, 5),
    'criteo': ((2e-3, 1e-4), (5e-3, 1e-4), 128, 10),
}
#: Planted interactions, of one and of three terms, and columns.
PLANTED = {
    'planted': ({2: 6, 3: 2}, 8, 12),
    'triples': ({2: 4, 3: 2}, 4, 8),
}


def searches(name):
    """The forms of the search: functions of the start, options."""
    out = {
        'AIM, FIS': (['inner'], {'search_dims': False}),
        'AIM, FIS + IFS': (ALL, {'search_dims': False}),
        'AIM, FIS + IFS, shared': (ALL, {'search_dims': False}),
        'AIM, FIS + IFS + EDS': (ALL, {}),
        'AIM, all, fine-tuned': (ALL, {'retrain': 'finetune'}),
        'AIM, all, perceptron': (
            ALL,
            {'hidden_channels': [64], 'dropout': 0.3},
        ),
        'AIM, all, order 3': (ALL, {'max_order': 3}),
    }
    if name == 'triples':
        every = {'search_dims': False, 'max_order': 3, 'pool': 'all'}
        out = {
            'AIM, FIS': out['AIM, FIS'],
            'AIM, FIS, all triples': (['inner'], every),
            'AIM, FIS + IFS, all triples': (ALL, every),
        }
    return out


def load_parts(name, root, seed):
    """Encoded parts, labels of the test rows, and the planted data."""
    if name in PLANTED:
        orders, *columns = PLANTED[name]
        data = PlantedInteractions(
            80_000, orders, *columns, rank=(1, 3), seed=seed
        )
        train, valid, test, schema, data = load_planted(data)
    else:
        train, valid, test, schema, data = load(name, root, seed)
    encoder = FieldEncoder(schema).fit(train)
    parts = [encoder.transform(df) for df in (train, valid, test)]
    return parts, test[schema.label].to_numpy(), data


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=[*PLANTED, *DATA, 'scaling'])
    parser.add_argument('--root', help='folder of the real data')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--only', nargs='+', help='names of models')
    parser.add_argument('--json')
    args = parser.parse_args()
    if args.data == 'scaling':
        report(scaling(), args.json, vars(args))
        return
    scores = {}
    for seed in range(args.seeds):
        parts, y, planted = load_parts(args.data, args.root, seed)
        results, models = train_all(args, parts, planted, seed)
        times = inference_times(models, parts[2])
        for name, model in models.items():
            p = predict(model, parts[2]).double().numpy()
            values = {
                'auc': roc_auc_score(y, p),
                'loss': log_loss(y, p),
                'parameters': sum(w.numel() for w in model.parameters()),
                'inference ms': times[name],
                **results[name],
            }
            for key, value in values.items():
                scores.setdefault(name, {}).setdefault(key, []).append(value)
            print(seed, name, values, flush=True)
    report(summarise(scores), args.json, vars(args))


def train_all(args, parts, planted, seed):
    rates, search_rates, batch_size, epochs = SETTINGS[args.data]
    options = {
        'batch_size': batch_size,
        'seed': seed,
        'enable_progress_bar': False,
    }
    late = {'max_epochs': 12, 'monitor': 'valid_auc', 'patience': 3}
    info = parts[0].info
    results, models = {}, {}

    def train(name, model):
        torch.manual_seed(seed)
        model = model()
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            fit(
                model,
                *parts[:2],
                directory=folder,
                lr=rates[0],
                **uniform(rates[1], len(parts[0])),
                **options,
                **late,
            )
        results[name] = {'seconds': time.perf_counter() - start}
        models[name] = model

    def wanted(name):
        return not args.only or name in args.only

    bases = {'FM': FM, 'DeepFM': DeepFM, 'IPNN': IPNN}
    for name, cls in bases.items():
        if wanted(name):
            train(name, lambda cls=cls: cls(info))
    found = None
    for name, (functions, extra) in searches(args.data).items():
        if not wanted(name):
            continue
        torch.manual_seed(seed)
        model = AIM(
            info,
            functions=functions,
            function_wise='shared' not in name,
        )
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            result = aim_search(
                model,
                *parts[:2],
                directory=folder,
                max_epochs=epochs,
                lr=search_rates[0],
                **uniform(search_rates[1], len(parts[0])),
                retrain_options=late,
                **options,
                **extra,
            )
        seconds = time.perf_counter() - start
        models[name] = result.model
        results[name] = {'seconds': seconds, **kept(result, planted)}
        if name == 'AIM, FIS + IFS':
            found = result.interactions
        if name == 'AIM, FIS + IFS + EDS':
            # What it was searched in:
            models['AIM, before'] = model
            results['AIM, before'] = {}
    if found is not None:
        for name, cls in {'DeepFM': DeepFM, 'IPNN': IPNN}.items():
            if wanted(f'{name} + pairs'):
                train(
                    f'{name} + pairs',
                    lambda cls=cls: cls(info, interactions=found),
                )
    return results, models


def kept(result, planted):
    """The share of pairs of interaction and function that are open, and how
    well the planted interactions are found.
    """
    table = result.kept.set_index('order')
    share = table['open'] / table['possible']
    out = {f'% kept, order {k}': 100 * v for k, v in share.items()}
    if planted is not None:
        found = result.interactions
        recall = found.recall_per_order(planted.truth)
        out |= {f'recall, order {k}': v for k, v in recall.items()}
        out['precision'] = found.precision_at(len(found), planted.truth)
    return out


def inference_times(models, table):
    """Milliseconds for the test rows, in turns."""
    seconds = time_interleaved(
        {
            name: lambda model=model: predict(model, table)
            for name, model in models.items()
        },
        5,
    )
    return {name: 1e3 * float(np.median(s)) for name, s in seconds.items()}


def scaling():
    """Time of a step of the search of order 2 and 3 against fields."""
    rows = []
    for n in (10, 20, 40, 80):
        names = tuple(f'f{i}' for i in range(n))
        info = FieldInfo(names, (1000,) * n, (1,) * n, ('categorical',) * n)
        index = torch.randint(0, 1000, (1024, n)) + 1000 * torch.arange(n)
        y = torch.randint(0, 2, (1024,)).float()
        batch = FieldTable(index.int(), torch.ones(index.size()), info, y)[:]
        best = [(i, (i + 1) % n) for i in range(n // 2)]
        triples = extend_tuples(best, n)
        functions = dict.fromkeys(ALL)
        steps = {
            'order 2': step(AIM(info), batch),
            'order 3, pool': step(
                AIM(
                    info,
                    interactions=gated(
                        {tuple(names[i] for i in q): functions for q in triples}
                    ),
                ),
                batch,
            ),
        }
        seconds = time_interleaved(steps, 5)
        rows.append(
            {
                'fields': n,
                'pairs': n * (n - 1) // 2,
                'triples in the pool': len(triples),
                'all triples': n * (n - 1) * (n - 2) // 6,
                **{f'{k}, ms': spread(s, 1e3) for k, s in seconds.items()},
            }
        )
    return rows


def step(model, batch):
    gates = model.architecture_parameters()
    ids = {id(gate) for gate in gates}
    weights = [p for p in model.parameters() if id(p) not in ids]
    optimizers = [GRDA(gates), torch.optim.Adam(weights)]

    def run():
        model.zero_grad()
        model.loss(batch).backward()
        for optimizer in optimizers:
            optimizer.step()

    return run


if __name__ == '__main__':
    main()

"""Does GLIDER find what a model uses, and does it help other models?

    python benchmarks/glider.py planted
    python benchmarks/glider.py adult --root path/to/adult
    python benchmarks/glider.py employee --root path/to/employee

A source model is trained and explained at validation rows. What is found
becomes cross columns of LR, FM and DeepFM, next to
embeddings enlarged to at least as many parameters (Appendix A of the paper).
The source model among the targets is enhancement, the others are distillation.
"""

import argparse
import tempfile
import time

import torch
from common import report, uniform
from sklearn.metrics import log_loss, roc_auc_score
from tables import DATA, load, summarise

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.explain import FieldPerturbation, glider
from pyg_featgraph.nn import FM, LR, DeepFM
from pyg_featgraph.training import fit, predict

#: How each model is trained on each data set.
RATES = {
    'planted': {'LR': 5e-3, 'FM': 2e-3, 'DeepFM': 5e-3},
    'adult': {'LR': 5e-3, 'FM': 2e-3, 'DeepFM': 2e-3},
    'employee': {'LR': 5e-3, 'FM': 2e-3, 'DeepFM': 2e-3},
}
DECAY = {'planted': 1e-5, 'adult': 1e-6, 'employee': 5e-5}
DROPOUT = {'planted': 0.0, 'adult': 0.2, 'employee': 0.3}


def make(name, info, dim, dropout):
    if name == 'LR':
        return LR(info)
    if name == 'FM':
        return FM(info, dim)
    return DeepFM(info, dim, dropout=dropout)


def train(args, name, parts, schema, seed, dim=16):
    """The model, its tables, and figures of the test rows."""
    encoder = FieldEncoder(schema).fit(parts[0])
    tables = [encoder.transform(df) for df in parts]
    torch.manual_seed(seed)
    model = make(name, encoder.info, dim, DROPOUT[args.data])
    with tempfile.TemporaryDirectory() as folder:
        fit(
            model,
            *tables[:2],
            directory=folder,
            max_epochs=args.epochs,
            batch_size=1024,
            lr=RATES[args.data][name],
            **uniform(DECAY[args.data], len(tables[0])),
            monitor='valid_auc',
            patience=3,
            seed=seed,
            enable_progress_bar=False,
        )
    y = parts[2][schema.label].to_numpy()
    p = predict(model, tables[2]).double().numpy()
    return (
        model,
        tables,
        {
            'auc': roc_auc_score(y, p),
            'loss': log_loss(y, p),
            'parameters': sum(w.numel() for w in model.parameters()),
        },
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('data', choices=['planted', *DATA])
    parser.add_argument('--root', help='folder of the real data')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--epochs', type=int, default=12)
    parser.add_argument('--source', default='DeepFM', choices=['FM', 'DeepFM'])
    parser.add_argument('--rows', type=int, default=200, help='to explain')
    parser.add_argument('--k', type=int, default=10, help='crosses to use')
    parser.add_argument('--max-order', type=int, default=2)
    parser.add_argument('--min-count', type=int, default=20)
    parser.add_argument('--json')
    args = parser.parse_args()

    scores = {}

    def note(name, **values):
        for key, value in values.items():
            scores.setdefault(name, {}).setdefault(key, []).append(value)
        print(name, values, flush=True)

    for seed in range(args.seeds):
        *parts, schema, planted = load(args.data, args.root, seed)
        bases = {}
        for name in RATES[args.data]:
            bases[name] = train(args, name, parts, schema, seed)
            note(name, **bases[name][2])
        source, tables, _ = bases[args.source]
        start = time.perf_counter()
        found = glider(
            FieldPerturbation(source, tables[1], tables[0]),
            args.k,
            num_rows=args.rows,
            max_order=args.max_order,
            seed=seed,
            progress=False,
        )
        values = {'seconds': time.perf_counter() - start}
        if planted is not None:
            pairs = [fields for fields in planted.truth if len(fields) == 2]
            values['p@10'] = found.counts.precision_at(10, pairs)
        note(f'GLIDER on {args.source}', **values)
        print(found.counts.top(15), found.significant_count, flush=True)
        crosses = CrossFeatures(
            found.interactions, schema=schema, min_count=args.min_count
        ).fit(parts[0])
        joined = [df.join(crosses.transform(df)) for df in parts]
        both = crosses.extend(schema)
        for name in RATES[args.data]:
            _, _, values = train(args, name, joined, both, seed)
            note(f'{name} + GLIDER', **values)
            if name == 'LR':
                continue
            # The smallest embeddings with at least as many parameters:
            info = bases[name][1][0].info
            dim = next(
                d
                for d in range(16, 1000)
                if sum(w.numel() for w in make(name, info, d, 0.0).parameters())
                >= values['parameters']
            )
            _, _, values = train(args, name, parts, schema, seed, dim)
            note(f'{name}, larger embeddings', **values, d=dim)
    report(summarise(scores), args.json, vars(args))


if __name__ == '__main__':
    main()

"""What tables with sparse gradients come to at several rates, beside dense
gradients with the default optimizer: all options are defaults.

    python benchmarks/sparse_rates.py --root path/to/data
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from common import report
from comparison.tables import SOURCES, cut

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.nn import FM, DeepFM
from pyg_featgraph.training import fit

MODELS = {'FM': FM, 'DeepFM': DeepFM}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', type=Path, required=True)
    parser.add_argument(
        '--tables', nargs='+', default=['employee', 'movielens']
    )
    parser.add_argument('--models', nargs='+', default=[*MODELS])
    parser.add_argument(
        '--scales', type=float, nargs='+', default=[10, 30, 100]
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json')
    args = parser.parse_args()
    warnings.filterwarnings('ignore', 'The AUC of')
    rows = []
    for name in args.tables:
        table = cut(SOURCES[name](args.root), args.seed)
        encoder = FieldEncoder(table.schema).fit(table.train)
        parts = [encoder.transform(df) for df in table.parts]
        for model in args.models:
            for scale in (None, *args.scales):
                torch.manual_seed(args.seed)
                made = MODELS[model](encoder.info, sparse=scale is not None)
                options = {} if scale is None else {'sparse_scale': scale}
                with tempfile.TemporaryDirectory() as folder:
                    result = fit(
                        made,
                        *parts,
                        directory=folder,
                        seed=args.seed,
                        enable_progress_bar=False,
                        **options,
                    )
                rows.append(
                    {
                        'table': name,
                        'model': model,
                        'sparse_scale': 'dense' if scale is None else scale,
                        'epochs': result.num_epochs,
                        'valid loss': f'{result.metrics["valid_loss"]:.4f}',
                        'test AUC': f'{result.metrics["test_auc"]:.4f}',
                    }
                )
                print(rows[-1], file=sys.stderr, flush=True)
    report(rows, args.json, {'seed': args.seed})


if __name__ == '__main__':
    main()

"""Trains in so many processes and prints what comes of it; rank by rank,
which rows each process has seen.
"""

import json
import os
import sys
from pathlib import Path

import torch
from fit_parts import SignalAt
from lightning.pytorch.callbacks import Callback
from torchmetrics.classification import BinaryCalibrationError

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import FIVES, DeepFM, GraphFM
from pyg_featgraph.training import (
    ByField,
    GroupedAUC,
    PredictedRatio,
    Slice,
    fit,
)

KINDS = {
    'fit': (lambda info: GraphFM(info, 4, 4, num_layers=1), {}),
    'bilevel': (lambda info: FIVES(info, 4, 2), {'architecture_lr': 0.05}),
    'sparse': (
        lambda info: DeepFM(info, 4, [8], sparse=True),
        {
            'embedding_l2': 3.0,
            'linear_scale': 1.0,
            'sparse_scale': 1.0,
            'memory': 0.01,
        },
    ),
}


class Watch(Callback):
    """Notes what tells the rows of each batch apart: their numbers."""

    def __init__(self):
        self.seen = {'train': [], 'validation': []}

    def on_train_batch_start(self, trainer, module, batch, *args):
        self.seen['train'] += batch.slot_value[:, 0].tolist()

    def on_validation_batch_start(self, trainer, module, batch, *args):
        self.seen['validation'] += batch.slot_value[:, 0].tolist()


def rank():
    distributed = torch.distributed
    if distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get('RANK', 0))


def main(directory, kind, num, **options):
    data = PlantedInteractions(
        701, {2: 1}, num_numeric=1, num_categorical=3, seed=1
    )
    table = FieldEncoder(data.schema()).fit_transform(data.frame())
    parts = table.split([0.6, 0.2, 0.2])
    for part in parts:
        part.slot_value[:, 0] = torch.arange(len(part)) / 1000
    torch.manual_seed(1)
    watch = Watch()
    make, of_kind = KINDS[kind]
    model = make(table.info)
    options = {'lr': 0.01, **of_kind, **options}
    if 'memory' in options:
        model.rows_seen = torch.arange(table.info.num_embeddings)
    result = fit(
        model,
        *parts,
        directory=directory,
        batch_size=64 // num,
        max_epochs=2,
        devices=num,
        accelerator='cpu',
        strategy='ddp' if num > 1 else 'auto',
        enable_progress_bar=False,
        callbacks=[watch, *options.pop('callbacks', [])],
        metrics={
            'gauc': ByField(GroupedAUC(), 'C1'),
            'ece': BinaryCalibrationError(n_bins=5),
            'slice': Slice(PredictedRatio(), 'C2', 2),
        },
        **options,
    )
    out = {
        'metrics': result.metrics,
        'history': result.history,
        'seen': watch.seen,
        'sizes': [len(part) for part in parts],
        'weights': {k: x.tolist() for k, x in model.state_dict().items()},
    }
    Path(directory, f'rank-{rank()}.out').write_text(json.dumps(out))
    return out


if __name__ == '__main__':
    folder, name, count, *rest = sys.argv[1:]
    more = {'resume': 'resume' in rest}
    if 'stop' in rest:
        # Only the second process gets the signal:
        more['callbacks'] = [SignalAt(5)] if os.environ['RANK'] == '1' else []
    main(folder, name, int(count), **more)

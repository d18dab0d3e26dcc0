"""Trains in so many processes and prints what comes of it; rank by rank,
which rows each process has seen.
"""

import json
import sys

import torch
from lightning.pytorch.callbacks import Callback

from pyg_featgraph.data import FieldEncoder
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.nn import FIVES, GraphFM
from pyg_featgraph.training import fit


class Watch(Callback):
    """Notes what tells the rows of each batch apart: their numbers."""

    def __init__(self):
        self.seen = {'train': [], 'validation': []}

    def on_train_batch_start(self, trainer, module, batch, *args):
        self.seen['train'] += batch.slot_value[:, 0].tolist()

    def on_validation_batch_start(self, trainer, module, batch, *args):
        self.seen['validation'] += batch.slot_value[:, 0].tolist()


def main():
    directory, kind, num = sys.argv[1], sys.argv[2], int(sys.argv[3])
    data = PlantedInteractions(
        701, {2: 1}, num_numeric=1, num_categorical=3, seed=1
    )
    table = FieldEncoder(data.schema()).fit_transform(data.frame())
    parts = table.split([0.6, 0.2, 0.2])
    for part in parts:
        part.slot_value[:, 0] = torch.arange(len(part)) / 1000
    torch.manual_seed(1)
    watch = Watch()
    options = {'architecture_lr': 0.05} if kind == 'bilevel' else {}
    model = (
        FIVES(table.info, 4, 2)
        if kind == 'bilevel'
        else GraphFM(table.info, 4, 4, num_layers=1)
    )
    result = fit(
        model,
        *parts,
        directory=directory,
        batch_size=64 // num,
        lr=0.01,
        max_epochs=2,
        devices=num,
        accelerator='cpu',
        strategy='ddp' if num > 1 else 'auto',
        enable_progress_bar=False,
        callbacks=[watch],
        **options,
    )
    out = {
        'metrics': result.metrics,
        'seen': watch.seen,
        'sizes': [len(part) for part in parts],
        'weights': {k: x.tolist() for k, x in model.state_dict().items()},
    }
    rank = 0
    if torch.distributed.is_initialized():
        rank = torch.distributed.get_rank()
    with open(f'{directory}/rank-{rank}.out', 'w') as file:
        json.dump(out, file)


if __name__ == '__main__':
    main()

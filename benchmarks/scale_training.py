"""How long a training step takes by the size of the tables of vectors, with
row-wise Adagrad, SparseAdam and AdamW; prints a table and JSON.

    python benchmarks/scale_training.py --ids 1e6 1e7 1e8 --json steps.json

All sizes have the same batches: the ids are those of a long tail over a million
ranks, which are spread over the whole of a table.
"""

import argparse
import gc
import statistics
import time

import torch
from common import report, spread

from pyg_featgraph.data import FieldBatch, FieldInfo
from pyg_featgraph.nn import FM, DeepFM
from pyg_featgraph.training import TrainingOptions
from pyg_featgraph.training.optimizers import make_optimizer

NUM_FIELDS = 26
MODELS = {'FM': FM, 'DeepFM': DeepFM}
#: Whether gradients are sparse, and the optimizer of such ones.
KINDS = {
    'row-wise Adagrad': (True, None),
    'SparseAdam': (True, torch.optim.SparseAdam),
    'AdamW, dense': (False, None),
}


def make_info(num_ids):
    size = num_ids // NUM_FIELDS
    names = tuple(f'C{i}' for i in range(NUM_FIELDS))
    return FieldInfo(
        names,
        (size,) * NUM_FIELDS,
        (1,) * NUM_FIELDS,
        ('categorical',) * NUM_FIELDS,
    )


def make_batches(info, num, batch_size, ranks):
    """Rows with ids of a Zipf distribution of ranks, spread by a large step
    that has no divisor in common with the size.
    """
    generator = torch.Generator().manual_seed(0)
    size = info.sizes[0]
    step = int(size * 0.6180339887) | 1
    while torch.gcd(torch.tensor(step), torch.tensor(size)) != 1:
        step += 2
    weight = torch.arange(1, ranks + 1).double().pow(-1.05)
    offset = torch.tensor(info.offsets)
    for _ in range(num):
        shape = batch_size * NUM_FIELDS
        drawn = weight.multinomial(shape, True, generator=generator)
        index = drawn.view(batch_size, NUM_FIELDS) * step % size + offset
        y = (torch.rand(batch_size, generator=generator) < 0.2).float()
        ones = torch.ones(batch_size, NUM_FIELDS)
        yield FieldBatch.from_rows(index, ones, info, y)


class Steps:
    """Training steps of a model with so many ids."""

    def __init__(self, model, num_ids, dim, kind, batches, ranks):
        info = make_info(num_ids)
        sparse, other = KINDS[kind]
        torch.manual_seed(0)
        self.model = MODELS[model](info, dim, sparse=sparse)
        options = TrainingOptions(lr=1e-3)
        parameters = [*self.model.parameters()]
        self.optimizer = make_optimizer(self.model, parameters, options)
        if other is not None:
            parts = self.optimizer.parts
            parts[-1] = other(parts[-1].param_groups)
        self.batches = [*make_batches(info, *batches, ranks)]
        self.position = 0

    def __call__(self):
        batch = self.batches[self.position % len(self.batches)]
        self.position += 1
        self.optimizer.zero_grad()
        self.model.loss(batch).backward()
        self.optimizer.step()


def time_steps(steps, repeats):
    """Milliseconds of steps that take turns, after a round that is not
    counted.
    """
    taken = {key: [] for key in steps}
    for k in range(repeats + 3):
        for key, step in steps.items():
            # Of the processor, as others may use the machine:
            start = time.process_time()
            step()
            if k >= 3:
                taken[key].append(1e3 * (time.process_time() - start))
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', choices=MODELS, default='FM')
    parser.add_argument('--ids', type=float, nargs='+', default=[1e6, 1e7])
    parser.add_argument('--kinds', nargs='+', default=[*KINDS])
    parser.add_argument('--dim', type=int, default=8)
    parser.add_argument('--batch-size', type=int, default=1024)
    parser.add_argument('--repeats', type=int, default=30)
    parser.add_argument(
        '--dense-up-to', type=float, default=1e6, help='ids of AdamW at most'
    )
    parser.add_argument('--json')
    args = parser.parse_args()
    rows = []
    ranks = int(min(args.ids)) // NUM_FIELDS
    for kind in args.kinds:
        steps = {
            int(num): Steps(
                args.model,
                int(num),
                args.dim,
                kind,
                (8, args.batch_size),
                ranks,
            )
            for num in args.ids
            if KINDS[kind][0] or num <= args.dense_up_to
        }
        if not steps:
            continue
        taken = time_steps(steps, args.repeats)
        first = statistics.median(next(iter(taken.values())))
        rows += [
            {
                'optimizer': kind,
                'ids': f'{num:,}',
                'ms a step': spread(values, digits=1),
                'by the first': f'{statistics.median(values) / first:.2f}',
            }
            for num, values in taken.items()
        ]
        del steps
        gc.collect()
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

"""A training step of GraphFM in each layout: time and peak memory.

The forms are timed in turns within one process; the peak memory of each is
taken in a process of its own.
"""

import argparse
import multiprocessing
import resource

import torch
from common import report, spread, time_interleaved
from torch.nn.functional import leaky_relu

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import GraphFM


def make(args, name):
    torch.manual_seed(0)
    n = args.fields
    info = FieldInfo(tuple(f'f{i}' for i in range(n)), (1000,) * n, (1,) * n)
    index = torch.randint(0, 1000, (args.batch_size, n))
    index += 1000 * torch.arange(n)
    table = FieldTable(index.int(), torch.ones(index.size()), info)
    model = GraphFM(info, variant=args.variant)
    batch = table.batch()
    if name == 'scatter':
        # Every field is there, but nothing is known of it:
        batch.present = torch.ones(index.size(), dtype=torch.bool)
    run = model
    if name == 'compiled':
        run = torch.compile(model, fullgraph=True)
    if name == 'plain dense':
        for conv in model.convs:
            conv.forward = PlainDense(conv)

    def step():
        model.zero_grad()
        run(batch).sum().backward()

    return step


class PlainDense:
    """The layer as one would write it, with all products [B, n, n, d]."""

    def __init__(self, conv):
        self.conv = conv

    def __call__(self, x, edge_index=None, field=None):
        conv = self.conv
        v = x.unsqueeze(2) * x.unsqueeze(1)
        p = conv.score.score_products(v)
        keep = conv.select(p)
        scale = (p * keep).unsqueeze(-1)
        c = torch.nn.functional.linear(v, conv.att, conv.att_bias)
        if conv.variant == 'paper':
            c = leaky_relu(c, conv.negative_slope)
            c = c.masked_fill(~keep.unsqueeze(-1), -1e30)
            alpha = c.softmax(2) * scale
        else:
            alpha = (c.relu() * scale).softmax(2)
        out = torch.einsum('bijh,bijd->bihd', alpha, v)
        out = conv.lin(out, field).flatten(-2)
        out = (out + conv.res(x, field).relu()).relu()
        out = torch.nn.functional.layer_norm(out, out.shape[-1:], eps=1e-8)
        return out * conv.norm_weight + conv.norm_bias


def peak_memory(args, name, queue):
    torch.set_num_threads(args.threads)
    step = make(args, name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queue.put((after - before) / 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--batch-size', type=int, default=1024)
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--variant', default='reference')
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    parser.add_argument(
        '--forms',
        nargs='+',
        default=['scatter', 'plain dense', 'rows', 'compiled'],
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    context = multiprocessing.get_context('spawn')
    memory = {}
    for name in args.forms:
        queue = context.Queue()
        process = context.Process(target=peak_memory, args=(args, name, queue))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"'{name}' failed")
        memory[name] = queue.get()
    steps = {name: make(args, name) for name in args.forms}
    seconds = time_interleaved(steps, args.repeats)
    rows = [
        {
            'form': name,
            'ms': spread(seconds[name], 1e3),
            'times rows': spread(
                [
                    a / b
                    for a, b in zip(seconds[name], seconds['rows'], strict=True)
                ],
                digits=2,
            ),
            'peak MB': f'{memory[name]:.0f}',
        }
        for name in args.forms
    ]
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

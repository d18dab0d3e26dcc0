"""Sums and softmax over the edges of a batch as a graph, next to dense ones.

    python benchmarks/scatter.py
    make scatter && python benchmarks/scatter.py  # with torch-scatter as well

Every row is a complete graph, and its edges are sorted by target. "Messages"
sums ready messages [E, d]; "weighted" gathers the vectors of the sources,
multiplies them by the weights of the edges and sums; "softmax" normalises a
number for each edge over those of the same target. All take their turns in each
round, forward and backward. Bytes for an edge are those of the index and of
what autograd keeps, in numbers of four bytes: what has to be stored, not what
is moved.
"""

import argparse

import torch
from common import report, spread, time_interleaved
from torch_geometric.utils import scatter, softmax


def data(args):
    rows, n, d = args.rows, args.fields, args.dim
    torch.manual_seed(0)
    field = torch.arange(n)
    first = n * torch.arange(rows).view(-1, 1, 1)
    source = (first + field.view(1, 1, n)).expand(rows, n, n).flatten()
    target = (first + field.view(1, n, 1)).expand(rows, n, n).flatten()
    return {
        'source': source,
        'target': target,
        'ptr': n * torch.arange(rows * n + 1),
        'x': torch.randn(rows * n, d, requires_grad=True),
        'weight': torch.rand(rows * n * n, requires_grad=True),
        'message': torch.randn(rows * n * n, d, requires_grad=True),
        'size': (rows, n, d),
    }


def segment_reduce(value, g):
    return torch.segment_reduce(
        value, 'sum', offsets=g['ptr'], axis=0, unsafe=True
    )


def index_add(value, g):
    out = value.new_zeros(g['ptr'].numel() - 1, value.size(1))
    return out.index_add(0, g['target'], value)


def pyg_scatter(value, g):
    return scatter(value, g['target'], 0, g['ptr'].numel() - 1)


SUMS = {
    'scatter of PyG': pyg_scatter,
    'index_add': index_add,
    'segment_reduce, sorted': segment_reduce,
}
try:
    from torch_scatter import segment_csr

    SUMS['segment_csr of torch-scatter, sorted'] = lambda v, g: segment_csr(
        v, g['ptr']
    )
except ImportError:
    pass


def dense_messages(g):
    rows, n, d = g['size']
    return g['message'].view(rows, n, n, d).sum(dim=2).flatten(0, 1)


def dense_weighted(g):
    rows, n, d = g['size']
    weight, x = g['weight'].view(rows, n, n), g['x'].view(rows, n, d)
    return (weight @ x).flatten(0, 1)


def dense_softmax(g):
    rows, n, _ = g['size']
    return g['weight'].view(rows, n, n).softmax(dim=-1).flatten()


def weighted(total):
    def function(g):
        message = g['weight'].unsqueeze(1) * g['x'][g['source']]
        return total(message, g)

    return function


# For each function what it gives, its inputs, and how many numbers (of d for
# vectors) it keeps for an edge beside the two of the index.
def forms(d):
    out = {('messages', 'dense'): (dense_messages, ['message'], d, 0)}
    for name, total in SUMS.items():
        function = lambda g, total=total: total(g['message'], g)  # noqa: E731
        out['messages', name] = function, ['message'], d, 16
    out['weighted', 'dense'] = dense_weighted, ['weight', 'x'], 1, 0
    for name, total in SUMS.items():
        # The weights and the vectors gathered, which the product keeps, and
        # the messages themselves:
        kept = 1 + 2 * d
        function = weighted(total)
        out['weighted', name] = function, ['weight', 'x'], kept, 16
    out['softmax', 'dense'] = dense_softmax, ['weight'], 2, 0
    out['softmax', 'of PyG'] = (
        lambda g: softmax(
            g['weight'], g['target'], num_nodes=g['ptr'].numel() - 1
        ),
        ['weight'],
        3,
        16,
    )
    out['softmax', 'of PyG, sorted'] = (
        lambda g: softmax(g['weight'], ptr=g['ptr']),
        ['weight'],
        3,
        16,
    )
    return out


def step(function, inputs, g):
    grad = torch.randn_like(function(g))
    values = [g[name] for name in inputs]

    def both():
        torch.autograd.grad(function(g), values, grad)

    return both


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--rows', type=int, default=1024)
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    g, table = data(args), forms(args.dim)
    for (what, name), (function, *_) in table.items():
        expected = table[what, 'dense'][0](g)
        torch.testing.assert_close(function(g), expected, msg=name)
    steps = {
        key: step(function, inputs, g)
        for key, (function, inputs, *_) in table.items()
    }
    seconds = time_interleaved(steps, args.rounds)
    rows = []
    for key, (_, _, numbers, index) in table.items():
        what, name = key
        pairs = zip(seconds[key], seconds[what, 'dense'], strict=True)
        rows.append(
            {
                'what': what,
                'how': name,
                'ms': spread(seconds[key], 1e3, 1),
                'times dense': spread([a / b for a, b in pairs], digits=2),
                'bytes for an edge': 4 * numbers + index,
            }
        )
    report(rows, args.json, vars(args))


if __name__ == '__main__':
    main()

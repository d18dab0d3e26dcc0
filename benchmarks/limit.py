"""What each operator reaches of the limit of the machine.

    python benchmarks/limit.py
    python benchmarks/limit.py --rows 4096 --operators GraphFM FIVES

The least work of an operator is counted by hand, from its equations: additions
and multiplications, for a row of n fields with d channels (an exponential or a
division is one, too), and the bytes of what has to be read and written even if
all else stays in registers: node vectors and their gradients. A selection of
the m best leaves work for these alone. What a kernel computes again in the
backward pass counts once more only where the gradient cannot do without it.
No operator can take less time than its work at the rate of a large product of
matrices, or its bytes at the rate of a copy, whichever is longer; both rates
are measured in the same rounds. The share is that time over the time taken.
"""

import argparse
from typing import NamedTuple

import torch
from common import report, spread, time_interleaved

from pyg_featgraph.nn import (
    AdjacencyTensor,
    AttentionEdge,
    FiGNNConv,
    FIVESConv,
    GraphFMConv,
    HadamardScore,
    InducedSetConv,
    InteractionConv,
    SelfAttentionConv,
    TopM,
)

HEADS, STEPS, HIDDEN, SUBSETS, QUERIES = 2, 3, 16, 10, 16


class Work(NamedTuple):
    """For a row: forward and backward pass, and numbers of the output."""

    forward: float
    backward: float
    outputs: float


class Operator(NamedTuple):
    make: object
    work: object


def score_work(n, d, m):
    # Symmetric pairs: product, two layers with biases, sigmoid. Gradients of
    # the pairs that are kept: hidden layer again, both layers' weights,
    # hidden layer and product, which goes to two nodes.
    pairs = n * (n + 1) / 2
    kept = min(pairs, n * m)
    return Work(
        pairs * (d + 2 * d * HIDDEN + 3 * HIDDEN + 4),
        kept * (5 * d + 6 * d * HIDDEN + 6 * HIDDEN),
        n * n,
    )


def graphfm_work(n, d, m):
    score = score_work(n, d, m)
    # For a head and a pair: logit, softmax, weighted sum. Backwards both
    # again, gradients of the weight, of the source and, through the logit, of
    # both nodes and the attention vector.
    pairs = HEADS * n * m
    attention = pairs * (4 * d + 4), pairs * (12 * d + 8)
    # For a node: transformation, residual, normalisation.
    node = n * (4 * d * d + 10 * d)
    return Work(
        score.forward + attention[0] + node,
        score.backward + attention[1] + 2 * node,
        n * d,
    )


def fignn_work(n, d, m):
    # For a step and a node: two transformations, neighbours, the recurrence;
    # once the edges. Backwards twice as much.
    step = n * (4 * d * d + 2 * n * d + 12 * d * d + 16 * d)
    total = STEPS * step + n * (4 * d + 6 * n)
    return Work(total, 2 * total, n * d)


def fives_work(n, d, m):
    total = n * (2 * d * d + 2 * n * d + d)
    return Work(total, 2 * total, n * d)


def autoint_work(n, d, m):
    # Three transformations and a residual; for a head and a pair logit,
    # softmax and sum, and the logits again backwards.
    node, pairs = 8 * n * d * d, n * n * (4 * d + 4 * HEADS)
    return Work(node + pairs, 2 * node + 2 * pairs + 2 * n * n * d, n * d)


def inner_work(n, d, m):
    pairs = n * (n - 1) / 2
    return Work(pairs * 2 * d, pairs * 4 * d, pairs)


def outer_work(n, d, m):
    pairs = n * (n - 1) / 2
    return Work(4 * n * d + pairs, 8 * n * d + 2 * pairs, pairs)


def featnet_work(n, d, m):
    # For a query and a member: score, threshold, weighted sum. Backwards the
    # scores again, gradients of weight, member (twice) and query.
    members = SUBSETS * QUERIES * n
    return Work(
        members * (4 * d + 4),
        members * (10 * d + 6),
        SUBSETS * QUERIES * d,
    )


def graphfm(n, d, m):
    edge = TopM(HadamardScore(d, HIDDEN), m)
    return GraphFMConv(d, d // HEADS, edge, HEADS, residual=True, norm=True)


def pairs_of(function):
    def make(n, d, m):
        pairs = [(i, j) for j in range(n) for i in range(j)]
        return InteractionConv(d, pairs, function, norm=False, gate=None)

    return make


class FeatNet(torch.nn.Module):
    """Subsets with weights that all rows share."""

    def __init__(self, n, d, m):
        super().__init__()
        self.conv = InducedSetConv(d, n, SUBSETS, QUERIES)
        self.weight = torch.nn.Parameter(torch.rand(SUBSETS, n))

    def forward(self, x):
        return self.conv(x, None, self.weight)


OPERATORS = {
    'GraphFM': Operator(graphfm, graphfm_work),
    'GraphFM, scores': Operator(
        lambda n, d, m: TopM(HadamardScore(d, HIDDEN), m), score_work
    ),
    'Fi-GNN': Operator(
        lambda n, d, m: FiGNNConv(d, n, STEPS, AttentionEdge(d)), fignn_work
    ),
    'FIVES': Operator(
        lambda n, d, m: FIVESConv(d, n, AdjacencyTensor(n)), fives_work
    ),
    'AutoInt': Operator(
        lambda n, d, m: SelfAttentionConv(d, d // HEADS, HEADS), autoint_work
    ),
    'AIM, inner': Operator(pairs_of('inner'), inner_work),
    'AIM, outer': Operator(pairs_of('outer'), outer_work),
    'FeatNet': Operator(FeatNet, featnet_work),
}


def passes(name, args, m):
    """The forward pass without gradients, and both passes with them."""
    torch.manual_seed(0)
    operator = OPERATORS[name].make(args.fields, args.dim, m)
    x = torch.randn(args.rows, args.fields, args.dim, requires_grad=True)
    grad = torch.randn_like(operator(x))

    def forward():
        with torch.inference_mode():
            operator(x)

    def both():
        x.grad = None
        operator.zero_grad()
        operator(x).backward(grad)

    return forward, both


def machine():
    """A product of matrices and a copy, with their work."""
    a, b = torch.randn(2, 1024, 1024)
    out = torch.empty(1024, 1024)
    source = torch.randn(2**24)
    target = torch.empty_like(source)
    functions = {
        'product': lambda: torch.mm(a, b, out=out),
        'copy': lambda: target.copy_(source),
    }
    return functions, 2 * 1024**3, 2 * 4 * 2**24


def share(seconds, rates, flops, num_bytes):
    """The share in each round, and what limits."""
    least = [max(flops / rate, num_bytes / copied) for rate, copied in rates]
    limit = sum(flops / rate > num_bytes / copied for rate, copied in rates)
    shares = [a / b for a, b in zip(least, seconds, strict=True)]
    bound = 'arithmetic' if 2 * limit > len(rates) else 'memory'
    return f'{spread(shares, 100, 1)} %', bound


def measure(args):
    functions, product_work, copy_work = machine()
    works = {}
    for name in args.operators:
        cut = args.m if 'GraphFM' in name else [args.fields]
        for m in cut:
            key = f'{name}, m = {m}' if 'GraphFM' in name else name
            functions[key, 0], functions[key, 1] = passes(name, args, m)
            works[key] = OPERATORS[name].work(args.fields, args.dim, m)
    seconds = time_interleaved(functions, args.rounds)
    rates = [
        (product_work / a, copy_work / b)
        for a, b in zip(seconds['product'], seconds['copy'], strict=True)
    ]
    rows = [
        {
            'operator': 'product of matrices',
            'forward ms': '',
            'rate': spread([a for a, _ in rates], 1e-9) + ' GFLOP/s',
        },
        {
            'operator': 'copy',
            'rate': spread([b for _, b in rates], 1e-9, 1) + ' GB/s',
        },
    ]
    for key, work in works.items():
        row = {'operator': key}
        # Nodes in and results out; backwards the gradients of both and the
        # nodes once more:
        nodes, outputs = args.fields * args.dim, work.outputs
        for label, index, flops, numbers in (
            ('forward', 0, work.forward, nodes + outputs),
            (
                'both',
                1,
                work.forward + work.backward,
                3 * nodes + 2 * outputs,
            ),
        ):
            reached, bound = share(
                seconds[key, index],
                rates,
                flops * args.rows,
                4 * numbers * args.rows,
            )
            row |= {
                f'{label} ms': spread(seconds[key, index], 1e3, 1),
                f'{label} MFLOP a row': f'{flops / 1e6:.2f}',
                f'{label} KB a row': f'{4 * numbers / 1e3:.1f}',
                f'{label} share': reached,
                f'{label} limit': bound,
            }
        rows.append(row)
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--operators', nargs='+', choices=OPERATORS, default=list(OPERATORS)
    )
    parser.add_argument('--rows', type=int, default=1024)
    parser.add_argument('--fields', type=int, default=39)
    parser.add_argument('--dim', type=int, default=16)
    parser.add_argument('--m', type=int, nargs='+', default=[39, 20, 5])
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report(measure(args), args.json, vars(args))


if __name__ == '__main__':
    main()

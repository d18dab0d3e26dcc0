"""What each kernel is given by gpu.py, and the least that it has to do."""

from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import torch

from pyg_featgraph.nn.kernels import plan_tuples, small_attention

OPS = torch.ops.pyg_featgraph
HIDDEN, HEADS, SETS, QUERIES, BEST = 16, 2, 10, 16, 20


class Work(NamedTuple):
    """A pass of a kernel. For a row: operations, of which an exponential or a
    division is one, and numbers that have to be read or written even if all
    else stays in registers.
    """

    name: str
    given: tuple
    flops: float
    numbers: float
    function: Callable | None = None

    @property
    def operator(self):
        return self.function or getattr(OPS, self.name)


def machine(numbers):
    """A product of matrices and a copy, with their work."""
    on_gpu = numbers['device'] == 'cuda'
    side, length = (4096, 2**27) if on_gpu else (64, 2**10)
    a, b = torch.randn(2, side, side, **numbers)
    source = torch.randn(length, **numbers)
    target = torch.empty_like(source)
    functions = {'product': lambda: a @ b, 'copy': lambda: target.copy_(source)}
    return functions, 2 * side**3, 2 * source.nbytes


def works(rows, n, d, numbers):
    """Both passes of each kernel, for rows of n nodes with d channels."""
    x = torch.randn(rows, n, d, **numbers)
    score = torch.rand(rows, n, n, **numbers)
    best = OPS.top_m(score, min(BEST, n), False)
    return [
        *pair_score(x, score, numbers),
        *top_m(score, best),
        *attention(x, best, numbers),
        *sets(x, numbers),
        *tuples(x, numbers),
        *values(x),
        *recurrence(x, numbers),
        *edges(x),
    ]


def pair_score(x, score, numbers):
    _, n, d = x.size()
    layer = [
        torch.randn(size, **numbers)
        for size in ((HIDDEN, d), (HIDDEN,), (HIDDEN,))
    ]
    offset = torch.randn(1, **numbers)
    # Symmetric pairs: product, two layers with biases, sigmoid; backwards the
    # hidden layer again, the weights of both, hidden layer and product.
    pairs = n * (n + 1) / 2
    yield Work(
        'pair_score',
        (x, *layer, offset),
        pairs * (d + 2 * d * HIDDEN + 3 * HIDDEN + 4),
        n * d + n * n,
    )
    yield Work(
        'pair_score_backward',
        (score, score, x, *layer),
        pairs * (5 * d + 6 * d * HIDDEN + 6 * HIDDEN),
        2 * n * d + 2 * n * n,
    )


def top_m(score, best):
    n = score.size(1)
    yield Work('top_m', (score, min(BEST, n), False), n * n, 2 * n * n)
    yield Work('top_m_backward', (score, best), n * n, 3 * n * n)


def attention(x, best, numbers):
    rows, n, d = x.size()
    att, bias = torch.randn(HEADS, d, **numbers), torch.randn(HEADS, **numbers)
    given = x, att, bias, best.unsqueeze(1), None, None, 0.2, False
    grad = torch.randn(rows, n, HEADS, d, **numbers)
    # For a head and an edge: logit, softmax, weighted sum; backwards both
    # again, gradients of the weight, of the source and, through the logit, of
    # both nodes and the attention vector.
    edges = HEADS * n * min(BEST, n)
    yield Work(
        'hadamard_attention',
        given,
        edges * (4 * d + 4),
        n * d + n * n + n * HEADS * d,
    )
    yield Work(
        'hadamard_attention_backward',
        (grad, *given),
        edges * (12 * d + 8),
        2 * n * d + 2 * n * n + n * HEADS * d,
    )


def sets(x, numbers):
    rows, n, d = x.size()
    given = (
        x,
        torch.rand(rows, n, SETS, **numbers),
        torch.randn(SETS, QUERIES, d, **numbers),
        torch.rand(n, SETS, QUERIES, **numbers),
    )
    grad = torch.randn(rows, SETS, QUERIES, d, **numbers)
    # For a query and a node: score, threshold, weighted sum; backwards the
    # score again, gradients of weight, node (twice) and query.
    members, outputs = SETS * QUERIES * n, SETS * QUERIES * d
    yield Work(
        'induced_set_attention',
        given,
        members * (4 * d + 4),
        n * (d + SETS) + outputs,
    )
    yield Work(
        'induced_set_attention_backward',
        (grad, *given),
        members * (10 * d + 6),
        2 * n * (d + SETS) + outputs,
    )


def tuples(x, numbers):
    rows, n, d = x.size()
    plan = plan_tuples(list(combinations(range(n), 2)))
    num = plan.other.numel()
    order = plan.other, plan.permutation, plan.inverse
    sets = *(v.to(x.device) for v in order), plan.shared, plan.ptr, plan.starts
    given = x, torch.randn(num, d, **numbers), *sets
    grad = torch.randn(rows, num, **numbers)
    # All pairs, with weights: product, weight, sum; backwards the gradients of
    # two nodes and of the weight.
    yield Work('tuple_product', given, num * 3 * d, n * d + num)
    yield Work(
        'tuple_product_backward',
        (grad, *given),
        num * 8 * d,
        2 * n * d + num,
    )


def values(x):
    rows, n, d = x.size()
    nodes = [torch.randn_like(x).view(rows, n, 1, d) for _ in range(3)]
    leaves = [v.clone().requires_grad_() for v in nodes]

    def both(grad, *leaves):
        torch.autograd.grad(small_attention(*leaves), leaves, grad)

    # For a pair: logit, softmax, weighted sum; backwards both products again
    # and those of the gradients of query, key and value. What it is compared
    # with is the attention of torch, which keeps something for backward, so
    # that the passes are timed together.
    pairs = n * n
    yield Work(
        'small_attention',
        (*nodes,),
        pairs * (4 * d + 4),
        4 * n * d,
        small_attention,
    )
    yield Work(
        'small_attention, both passes',
        (torch.randn_like(nodes[0]), *leaves),
        pairs * (14 * d + 12),
        11 * n * d,
        both,
    )


def recurrence(x, numbers):
    _, n, d = x.size()
    state, first, grad = torch.randn(3, x.size(0) * n, d, **numbers)
    nodes = x.flatten(0, 1), state
    gru = [
        torch.randn(size, **numbers)
        for size in ((3 * d, d), (3 * d, d), (3 * d,), (3 * d,))
    ]
    # For a node: six products and three gates; backwards the same again and
    # the gradients of node, state and weights.
    yield Work(
        'gru_step',
        (*nodes, first, *gru),
        n * (12 * d * d + 20 * d),
        4 * n * d,
    )
    yield Work(
        'gru_step_backward',
        (grad, *nodes, *gru),
        n * (36 * d * d + 40 * d),
        5 * n * d,
    )


def edges(x):
    _, n, _ = x.size()
    scores = x[..., 0].contiguous(), torch.randn_like(x[..., 0])
    out = OPS.sum_softmax(*scores, None, 0.2)
    # For a pair: sum, slope, exponential, total, division; backwards its part
    # in the mean, the gradient, the slope and both sums.
    yield Work('sum_softmax', (*scores, None, 0.2), 5 * n * n, 2 * n + n * n)
    yield Work(
        'sum_softmax_backward',
        (torch.randn_like(out), out, *scores, 0.2),
        7 * n * n,
        4 * n + 2 * n * n,
    )

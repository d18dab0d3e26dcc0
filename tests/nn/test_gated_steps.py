"""The kernel of all steps of a gated graph network against plain loops."""

from importlib import import_module

import pytest
import torch
from loops import assert_same, randn
from operator_checks import assert_proper, assert_single_precision

pytestmark = pytest.mark.usefixtures('kernels')

# The module, whose function has the same name:
gated = import_module('pyg_featgraph.nn.kernels.gated_steps')


def parameters(steps, fields, d):
    """The matrices of nodes, and those of the recurrence."""
    shapes = [(steps, fields, d, d)] * 2 + [(3 * d, d)] * 2 + [(3 * d,)] * 2
    return [randn(*shape) for shape in shapes]


def steps_by_loops(x, weight, outgoing, incoming, w_i, w_h, b_i, b_h, steps):
    size, n, d = x.size()
    weight = weight.expand(size, n, n)
    outgoing = outgoing.expand(steps, n, d, d)
    incoming = incoming.expand(steps, n, d, d)
    rows = []
    for row, edges in zip(x, weight, strict=True):
        states = list(row)
        for k in range(steps):
            sent = [h @ outgoing[k, j] for j, h in enumerate(states)]
            after = []
            for i, h in enumerate(states):
                total = sum(edges[i, j] * sent[j] for j in range(n))
                z_i, z_h = w_i @ (total @ incoming[k, i]) + b_i, w_h @ h + b_h
                reset = (z_i[:d] + z_h[:d]).sigmoid()
                update = (z_i[d : 2 * d] + z_h[d : 2 * d]).sigmoid()
                new = (z_i[2 * d :] + reset * z_h[2 * d :]).tanh()
                after.append((1 - update) * new + update * h + row[i])
            states = after
        rows.append(torch.stack(states))
    return torch.stack(rows)


@pytest.mark.parametrize('is_shared', [False, True])
@pytest.mark.parametrize(
    ('size', 'n', 'd', 'steps', 'matrices', 'fields'),
    [
        (1, 1, 1, 1, 1, 1),
        (9, 4, 3, 3, 3, 4),
        (2, 5, 17, 2, 1, 5),
        (17, 3, 8, 2, 2, 1),
    ],
)
def test_gated_steps(size, n, d, steps, matrices, fields, is_shared):
    x = randn(size, n, d)
    weight = randn(n, n) if is_shared else randn(size, n, n)
    inputs = [x, weight, *parameters(matrices, fields, d)]
    expected = steps_by_loops(*inputs, steps)
    assert_same(expected, [gated.gated_steps(*inputs, steps)], inputs)


def operator(is_shared, fields):
    """It and its backward, as :mod:`operator_checks` has them."""
    n, d = 4, 3
    weight = torch.rand(n, n) if is_shared else torch.rand(2, n, n)
    given = torch.randn(2, n, d), weight
    given += tuple(v.detach().float() for v in parameters(2, fields, d))
    ops = gated._gated_steps, gated._gated_steps_backward
    return *ops, (*given, 2), (2, n, d), (*given, 2)


@pytest.mark.parametrize('is_shared', [False, True])
def test_is_a_proper_operator(is_shared):
    fields = 4 if is_shared else 1
    assert_proper(*operator(is_shared, fields))
    assert_single_precision(*operator(is_shared, fields))


@pytest.mark.parametrize('is_shared', [False, True])
def test_threads_share_the_rows(is_shared):
    used, (n, d) = torch.get_num_threads(), (3, 5)
    weight = randn(n, n) if is_shared else randn(40, n, n)
    inputs = [randn(40, n, d), weight, *parameters(2, n, d)]
    try:
        torch.set_num_threads(1)
        expected = gated.gated_steps(*inputs, 2)
        for threads in (2, 3, 99):
            torch.set_num_threads(threads)
            assert_same(expected, [gated.gated_steps(*inputs, 2)], inputs)
    finally:
        torch.set_num_threads(used)


def test_a_number_that_is_missing_is_seen():
    x, weight = torch.randn(9, 3, 2), torch.rand(3, 3)
    given = [v.detach().float() for v in parameters(1, 1, 2)]
    x[4, 1, 0] = torch.nan
    lost = gated.gated_steps(x, weight, *given, 1).isnan()
    assert lost[4].all()
    assert lost.sum() == 6

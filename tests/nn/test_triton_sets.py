"""The kernels of sets of nodes for GPUs against plain loops."""

from itertools import combinations

import pytest
import torch
from kernel_loops import gather_and_multiply, sets_by_loops
from loops import randn
from triton_checks import (
    DEVICE,
    DTYPES,
    check,
    check_no_rows,
    given,
    kernels,
)

from pyg_featgraph.nn.kernels import plan_tuples


def set_inputs(size, n, d, sets, queries):
    inputs = [
        randn(size, n, d),
        randn(size, n, sets),
        randn(sets, queries, d),
        randn(n, sets, queries),
    ]
    with torch.no_grad():
        # Some fields are no members:
        inputs[1].relu_()
        inputs[3].sigmoid_().mul_(0.1)
    return inputs


@pytest.mark.parametrize(
    ('size', 'n', 'd', 'sets', 'queries'),
    [
        (3, 1, 3, 1, 1),
        (2, 2, 1, 2, 3),
        (2, 5, 20, 3, 2),
        (1, 17, 3, 2, 3),
        (1, 3, 3, 2, 65),
    ],
)
def test_induced_sets(size, n, d, sets, queries):
    inputs = set_inputs(size, n, d, sets, queries)
    check(kernels.induced_set, sets_by_loops, inputs, other_order=n == 5)


def tuple_inputs(order, size, d, weighted):
    tuples = list(combinations(range(6), order))
    # Some of them, and one twice:
    some = [tuples[i] for i in torch.randperm(len(tuples))[:9]]
    some.append(some[0])
    plan = plan_tuples(some)
    weight = randn(len(some), d) if weighted else None

    def by_gathering(x, weight, *sets):
        return gather_and_multiply(x, weight, some)

    order = (plan.other, plan.permutation, plan.inverse)
    sets = *(v.to(DEVICE) for v in order), plan.shared, plan.ptr
    return by_gathering, [randn(size, 6, d), weight], sets


@pytest.mark.parametrize('order', [2, 3, 4])
@pytest.mark.parametrize(
    ('size', 'd', 'weighted'), [(3, 1, True), (18, 20, True), (2, 5, False)]
)
def test_tuple_product(order, size, d, weighted):
    by_gathering, inputs, sets = tuple_inputs(order, size, d, weighted)
    tensors = list(given(inputs, torch.double, d == 5))
    expected = by_gathering(*inputs)
    out = kernels.tuple_product.forward(*tensors, *sets)
    torch.testing.assert_close(out.cpu(), expected)
    grad = torch.randn_like(expected)
    leaves = [v for v in inputs if v is not None]
    want = torch.autograd.grad(expected, leaves, grad)
    got = kernels.tuple_product.backward(grad.to(DEVICE), *tensors, *sets)
    assert weighted or got[1].numel() == 0
    for one, two in zip(got, want, strict=False):
        torch.testing.assert_close(one.cpu(), two)


def test_rows_share_the_sums_of_a_program(monkeypatch):
    # Five rows in two groups, each of which leaves one sum:
    common = kernels.common.groups
    monkeypatch.setattr(
        kernels.induced_set, 'groups', lambda rows, others: common(rows, 1, 2)
    )
    check(kernels.induced_set, sets_by_loops, set_inputs(5, 3, 2, 2, 2))


@pytest.mark.parametrize('dtype', DTYPES)
def test_precision(dtype):
    """Sums are in single precision: what differs is the rounding of results."""
    inputs = set_inputs(2, 3, 3, 2, 3)
    check(kernels.induced_set, sets_by_loops, inputs, (), dtype)
    by_gathering, inputs, sets = tuple_inputs(3, 3, 5, True)
    check(kernels.tuple_product, by_gathering, inputs, sets, dtype)


def test_no_rows():
    check_no_rows(kernels.induced_set, set_inputs(0, 4, 3, 2, 2))
    check_no_rows(kernels.tuple_product, *tuple_inputs(2, 0, 3, True)[1:])

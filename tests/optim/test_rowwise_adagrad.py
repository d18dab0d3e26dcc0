import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from pyg_featgraph.optim import RowWiseAdagrad

T, D = 7, 3


def batches(num=6):
    """Ids with repetitions, none of which is the last one."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(0, T - 1, (num, 8), generator=generator)
    scale = torch.randn(num, 8, D, generator=generator, dtype=torch.double)
    return zip(index, scale, strict=True)


def make(**options):
    torch.manual_seed(1)
    weight = torch.nn.Parameter(torch.randn(T, D, dtype=torch.double))
    return weight, RowWiseAdagrad([weight], **options)


def step(weight, optimizer, index, scale, sparse=True):
    optimizer.zero_grad()
    (F.embedding(index, weight, sparse=sparse) * scale).sum().backward()
    assert weight.grad.is_sparse == sparse
    optimizer.step()


@pytest.mark.parametrize(
    ('weight_decay', 'sparse'), [(0.0, True), (0.3, True), (0.0, False)]
)
def test_against_loops(weight_decay, sparse):
    """The formula, a number at a time."""
    lr, eps = 0.2, 1e-3
    weight, optimizer = make(lr=lr, weight_decay=weight_decay, eps=eps)
    table, sums = weight.tolist(), [0.0] * T
    for index, scale in batches():
        for t in range(T):
            places = [k for k in range(len(index)) if index[k] == t]
            if not places:
                continue
            grad = [
                sum(float(scale[k, j]) for k in places)
                + weight_decay * table[t][j]
                for j in range(D)
            ]
            sums[t] += sum(g * g for g in grad) / D
            for j in range(D):
                table[t][j] -= lr / (math.sqrt(sums[t]) + eps) * grad[j]
        step(weight, optimizer, index, scale, sparse)
        expected = torch.tensor(table, dtype=torch.double)
        torch.testing.assert_close(weight.detach(), expected)
    state = optimizer.state[weight]['sum']
    torch.testing.assert_close(state, torch.tensor(sums, dtype=torch.double))


@pytest.mark.parametrize('weight_decay', [0.0, 0.3])
def test_other_rows_are_left_alone(weight_decay):
    weight, optimizer = make(weight_decay=weight_decay, eps=0.0)
    before = weight.detach().clone()
    for index, scale in batches():
        step(weight, optimizer, index, scale)
    assert torch.equal(weight[-1], before[-1])
    assert (weight[:-1] != before[:-1]).all()


def test_rows_without_a_gradient_do_not_become_nan():
    weight, optimizer = make(eps=0.0)
    before = weight.detach().clone()
    index = torch.tensor([0, 1])
    scale = torch.tensor([[0.0], [1.0]]).double()
    for sparse in (True, False):
        step(weight, optimizer, index, scale, sparse)
    assert torch.equal(weight[0], before[0])
    assert torch.equal(weight[2:], before[2:])
    assert weight.isfinite().all()
    assert (weight[1] != before[1]).all()


def test_numbers_are_rows_of_one():
    """There it is Adagrad."""
    values = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    number = torch.nn.Parameter(torch.tensor(3.0))
    others = [torch.nn.Parameter(x.detach().clone()) for x in (values, number)]
    one = RowWiseAdagrad([values, number], lr=0.1, eps=1e-10)
    two = torch.optim.Adagrad(others, lr=0.1)
    for _ in range(4):
        for optimizer in (one, two):
            optimizer.zero_grad()
            a, b = optimizer.param_groups[0]['params']
            (a.square().sum() * b).backward()
            optimizer.step()
    torch.testing.assert_close(values, others[0])
    torch.testing.assert_close(number, others[1])


def test_state_is_one_number_a_row_and_is_taken_up():
    weight, optimizer = make(lr=0.3)
    other, _ = make()
    parts = [*batches()]
    for index, scale in parts[:3]:
        step(weight, optimizer, index, scale)
    assert optimizer.state[weight]['sum'].shape == (T,)
    with torch.no_grad():
        other.copy_(weight)
    taken_up = RowWiseAdagrad([other])
    taken_up.load_state_dict(deepcopy(optimizer.state_dict()))
    for index, scale in parts[3:]:
        step(weight, optimizer, index, scale)
        step(other, taken_up, index, scale)
    assert torch.equal(weight, other)


def test_closure_and_wrong_options():
    weight, optimizer = make()
    weight.grad = torch.ones_like(weight)
    assert optimizer.step(lambda: 3.0) == 3.0
    for name in ('lr', 'weight_decay', 'eps'):
        with pytest.raises(ValueError, match=f"'{name}' must not be negative"):
            RowWiseAdagrad([weight], **{name: -1.0})

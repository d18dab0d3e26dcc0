"""The formulas of custom operators are what the kernels compute."""

from itertools import combinations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_featgraph.nn.kernels import (
    field_product,
    hadamard_attention,
    induced_set_attention,
    pair_score,
    plan_tuples,
    small_attention,
    top_m,
    tuple_product,
)
from pyg_featgraph.serve.decompositions import Decomposed


class Recorder(TorchDispatchMode):
    """Which custom operators are called."""

    def __init__(self):
        super().__init__()
        self.own = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == 'pyg_featgraph':
            self.own.append(func)
        return func(*args, **(kwargs or {}))


def attention(n, scale_logits, with_mask):
    x, att = torch.randn(5, n, 4), torch.randn(3, 4)
    keep = torch.rand(5, 1, n, n) > 0.4 if with_mask else None
    scale = torch.rand(5, 3, n, n)
    return hadamard_attention(
        x, att, torch.randn(3), scale, keep, 0.2, scale_logits
    )


def induced_set(n):
    x, weight = torch.randn(5, n, 4), torch.rand(5, n, 3)
    return induced_set_attention(
        x, weight, torch.randn(3, 2, 4), torch.rand(n, 3, 2)
    )


def pairs(n):
    x, weight = torch.randn(5, n, 4), torch.randn(6, 4)
    return pair_score(x, weight, *torch.randn(2, 6), torch.randn(1))


def top(n, keep_ties, m=3):
    # Many are equal, some but for the order of a sum:
    score = torch.randint(0, 4, (50, n)).float() + 1
    score *= 1 + 1e-7 * torch.randn(50, n)
    return top_m(score, m, keep_ties)


def fields(n, shared):
    x, count = torch.randn(5, n, 3, 4), 1 if shared else n
    return field_product(x, torch.randn(count, 3, 4, 2))


def self_attention(n):
    return small_attention(*torch.randn(3, 5, n, 2, 4))


def products(n, order, with_weight):
    sets = [*combinations(range(n), order)][::2]
    weight = torch.randn(len(sets), 4) if with_weight else None
    return tuple_product(torch.randn(5, n, 4), weight, plan_tuples(sets))


@pytest.mark.parametrize('n', [5, 6])
@pytest.mark.parametrize(
    ('compute', 'args'),
    [
        (attention, (False, False)),
        (attention, (True, True)),
        (induced_set, ()),
        (pairs, ()),
        (top, (False,)),
        (top, (True,)),
        (top, (False, 9)),
        (fields, (True,)),
        (fields, (False,)),
        (self_attention, ()),
        (products, (2, True)),
        (products, (3, False)),
    ],
)
def test_formulas(compute, args, n):
    with torch.no_grad(), Recorder() as kernels:
        torch.manual_seed(0)
        expected = compute(n, *args)
    with torch.no_grad(), Recorder() as formulas, Decomposed():
        torch.manual_seed(0)
        found = compute(n, *args)
    torch.testing.assert_close(found, expected)
    assert (len(kernels.own), len(formulas.own)) == (1, 0)

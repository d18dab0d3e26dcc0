"""Interactions in plain loops, and operators to compare them with."""

from itertools import combinations

import pytest
import torch
from loops import assert_same, layout

from pyg_featgraph.nn import InteractionConv

N, SIZE, CHANNELS = 5, 6, 3

FUNCTIONS = ['inner', 'outer', 'vector', 'scalar']
all_functions = pytest.mark.parametrize('function', FUNCTIONS)
all_orders = pytest.mark.parametrize('order', [2, 3, 4])


def some(tuples, num):
    """A few of them in random order."""
    tuples = list(tuples)
    return [tuples[i] for i in torch.randperm(len(tuples))[:num]]


def make(function, order=2, n=N, num=7, **kwargs):
    interactions = some(combinations(range(n), order), num)
    conv = InteractionConv(CHANNELS, interactions, function, **kwargs)
    return randomise(conv)


def randomise(conv):
    conv.double()
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter)
    if conv.norm is not None:
        torch.nn.init.normal_(conv.norm.running_mean)
        torch.nn.init.uniform_(conv.norm.running_var, 0.1, 2)
    return conv


def nodes_of(size, n=N):
    return torch.randn(
        size * n, CHANNELS, dtype=torch.double, requires_grad=True
    )


def reference(conv, x, row, field, size):
    """Eqs. 6, 13 and 20, one interaction of one row after the other."""
    places = zip(row.tolist(), field.tolist(), strict=True)
    node = {place: k for k, place in enumerate(places)}
    columns = []
    for q, members in enumerate(conv.interactions):
        z = []
        for b in range(size):
            if any((b, i) not in node for i in members):
                z.append(x.new_zeros(()))
                continue
            vectors = [x[node[b, i]] for i in members]
            product = torch.ones_like(vectors[0])
            for vector in vectors:
                product = product * vector
            if conv.function == 'inner':
                value = product.sum()
            elif conv.function == 'vector':
                value = (conv.weight[q] * product).sum()
            elif conv.function == 'scalar':
                value = conv.weight[q, 0] * product.sum()
            else:
                value = 1
                for s, vector in enumerate(vectors):
                    value = value * (conv.weight[s] * vector).sum()
            z.append(value)
        z = torch.stack(z)
        if conv.norm is not None:
            if conv.training and size > 1:
                mean = z.sum() / size
                var = (z - mean).square().sum() / size
            else:
                mean, var = conv.norm.running_mean[q], conv.norm.running_var[q]
            z = (z - mean) / (var + conv.norm.eps).sqrt()
        columns.append(z if conv.gate is None else conv.gate[q] * z)
    return torch.stack(columns, dim=1)


def check(conv, x, drop=(), size=SIZE, n=N):
    """Both layouts are the same as the loops, which are returned."""
    row, field, _ = layout(size, n, drop)
    # Reads the running statistics before any of the layouts changes them:
    expected = reference(conv, x, row, field, size)
    edges = conv.hyperedges(field, row, size, n)
    mixed = edges[:, torch.randperm(edges.size(1))]
    perm = torch.randperm(len(row))
    moved = conv.hyperedges(field[perm], row[perm], size, n)
    num = size * len(conv.interactions)
    others = [
        conv(x, edges, None, field, num),
        conv(x, mixed, None, field, num),
        conv(x[perm], moved, None, field[perm], num),
    ]
    if int(edges[1].max()) // len(conv.interactions) == size - 1:
        others.append(conv(x, edges, field=field))
    full = x
    if drop:
        keep = torch.tensor([k for k in range(size * n) if k not in drop])
        mask = torch.zeros(size * n, dtype=torch.bool)
        mask[keep] = True
        # What stands in the place of a missing field means nothing:
        full = 9 * torch.ones(size * n, CHANNELS, dtype=x.dtype)
        full = full.index_copy(0, keep, x).view(size, n, -1)
        others.append(conv(full, mask=mask.view(size, n)))
        full = full * mask.view(size, n, 1)
    others.append(conv(full.view(size, n, -1)))
    assert_same(expected, others, [x, *conv.parameters()])
    return expected

from itertools import combinations

import pytest
import torch
from aim_loops import (
    DIM,
    INFO,
    SLOTS,
    layer_by_loops,
    layouts,
    lr_by_loops,
    node_vectors,
    product,
    randomise,
)

from pyg_featgraph.nn import IPNN, DeepFM
from pyg_featgraph.nn.gates import gated


def mlp_by_loops(mlp, x):
    for lin in mlp.hidden.lins:
        x = (x @ lin.weight.t() + lin.bias).clamp(min=0)
    return (x @ mlp.lin.weight[0].t() + mlp.lin.bias[0]).squeeze(1)


def flat(nodes):
    zeros = torch.zeros(DIM, dtype=torch.double)
    return torch.stack(
        [torch.cat([zeros if x is None else x for x in row]) for row in nodes]
    )


def inner_products(nodes):
    """Of each pair, for all rows."""
    return [
        torch.stack(
            [product('inner', [row[i], row[j]], None, 0) for row in nodes]
        )
        for i, j in combinations(range(INFO.num_fields), 2)
    ]


FOUND = gated(
    {
        ('b', 'd', 'f'): {'outer': 0.5, 'inner': 0.25},
        ('a', 'e'): {'vector': -0.5, 'scalar': 0.125},
    }
)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('found', [None, FOUND], ids=['all', 'installed'])
def test_deepfm_equals_loops(found, training):
    model = randomise(DeepFM(SLOTS, DIM, [5, 4], found)).train(training)
    for batch, form in layouts():
        nodes = node_vectors(model.embedding.weight, batch)
        if found is None:
            values = inner_products(nodes)
        else:
            vectors = dict.fromkeys(model.layer.convs, nodes)
            values = layer_by_loops(model.layer, vectors)
            assert len(values) == 4
        expected = lr_by_loops(model.linear, batch) + sum(values)
        expected = expected + mlp_by_loops(model.mlp, flat(nodes))
        torch.testing.assert_close(model(form), expected)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('found', [None, FOUND], ids=['all', 'installed'])
def test_ipnn_equals_loops(found, training):
    model = randomise(IPNN(SLOTS, DIM, [5, 4], found)).train(training)
    for batch, form in layouts():
        nodes = node_vectors(model.embedding.weight, batch)
        if found is None:
            values = inner_products(nodes)
            assert not [n for n, _ in model.named_parameters() if 'gate' in n]
        else:
            vectors = dict.fromkeys(model.layer.convs, nodes)
            values = layer_by_loops(model.layer, vectors)
        x = torch.cat([flat(nodes), torch.stack(values, dim=1)], dim=1)
        torch.testing.assert_close(model(form), mlp_by_loops(model.mlp, x))

from itertools import product

import pytest
import torch
from featnet_loops import (
    DROP,
    B,
    D,
    N,
    S,
    make_conv,
    random_nodes,
    randomise,
    soft,
    subset_weights,
    to_rows,
)
from loops import assert_same, layout

from pyg_featgraph.nn import SoftThreshold, SubsetEdge


@pytest.mark.parametrize('size', [(), (2,), (3, 1), (3, 2)])
def test_soft_threshold_is_equation_4(size):
    module = randomise(SoftThreshold(*size), 2)
    w = torch.randn(5, 3, 2, dtype=torch.double, requires_grad=True)
    tau = module.weight.expand(3, 2)
    expected = torch.stack(
        [soft(w[i], tau[i[1:]]) for i in product(*map(range, w.shape))]
    )
    assert 0 < (expected == 0).sum() < expected.numel()
    assert_same(expected, [module(w)], [w, module.weight])
    torch.testing.assert_close(module.threshold, module.weight.sigmoid())


def test_soft_threshold_of_single_edges():
    module = randomise(SoftThreshold(3, 2, 4), 2)
    i, j = torch.randint(0, 3, (6,)), torch.randint(0, 2, (6,))
    w = torch.randn(6, 4, dtype=torch.double)
    whole = w.view(6, 1, 1, 4).expand(-1, 3, 2, -1)
    places = torch.arange(6), i, j
    torch.testing.assert_close(module(w, (i, j)), module(whole)[places])
    w = torch.randn(6, 2, 4, dtype=torch.double)
    whole = w.view(6, 1, 2, 4).expand(-1, 3, -1, -1)
    torch.testing.assert_close(module(w, i), module(whole)[places[:2]])


def test_soft_threshold_starts_open():
    module = SoftThreshold(3, 2)
    assert str(module) == 'SoftThreshold(3, 2, init=-7.0)'
    assert (module.weight == -7).all()
    assert (module.threshold < 1e-3).all()
    torch.nn.init.zeros_(module.weight)
    assert (module.threshold == 0.5).all()
    module.reset_parameters()
    assert (module.weight == -7).all()


def test_weights_shrink_and_vanish_below_the_threshold():
    edge = randomise(SubsetEdge(D, N, S, 2))
    edge.mix.data.copy_(torch.tensor([[1.0, -0.6], [-0.4, 0.8]]))
    x = torch.randn(200, N, D, dtype=torch.double)
    p = ((x @ edge.weight.t()).sigmoid() @ edge.mix.t()).relu()
    out, threshold = edge.members(x), edge.threshold.threshold
    assert (out <= p).all()
    assert torch.equal(out > 0, p > threshold)
    assert 0 < (out > 0).sum() < (p > 0).sum() < p.numel()
    # A plain ReLU at one end, and not zero at the other:
    torch.nn.init.constant_(edge.threshold.weight, -60)
    torch.testing.assert_close(edge.members(x), p)
    scale = 1.5 / p.max()
    edge.mix.data.mul_(scale)
    torch.nn.init.constant_(edge.threshold.weight, 60)
    torch.testing.assert_close(edge.members(x), (scale * p - 1).relu())
    assert (edge.members(x) > 0).any()


# The edges to subsets.


def test_subset_edge_is_equations_2_to_4():
    edge = randomise(SubsetEdge(D, N, S, 2))
    row, field, _ = layout(B, N, DROP)
    x = random_nodes(len(row))
    expected = subset_weights(edge, x, field)
    assert 0 < (expected == 0).sum() < expected.numel()
    rows = edge.members(to_rows(x, row, field))[row, field]
    perm = torch.randperm(len(row))
    nodes = edge.members(x[perm], field[perm])[perm.argsort()]
    assert_same(expected, [rows, nodes], [x, *edge.parameters()])


def test_zero_vectors_have_weights_but_make_no_messages():
    edge, conv = randomise(SubsetEdge(D, N, S, 2)), make_conv()
    edge.mix.data.abs_()
    edge.mix.data.add_(1)
    x = torch.zeros(1, N, D, dtype=torch.double)
    p = (0.5 * edge.mix.sum(1)).relu()
    expected = (p - edge.threshold.threshold).relu()
    torch.testing.assert_close(edge.members(x)[0], expected)
    assert (edge.members(x) > 0).any()
    assert (conv(x, edge_weight=edge.members(x).mT) == 0).all()


def test_no_subset_starts_without_members():
    for _ in range(50):
        edge = SubsetEdge(16, 10, 20, 4)
        assert (edge.members(torch.randn(8, 10, 16)) > 0).all()
    p = torch.stack([SubsetEdge(16, 10, 20).members(torch.randn(8, 10, 16))])
    assert 0.4 < p.mean() < 0.6
    assert str(edge) == 'SubsetEdge(16, num_fields=10, num_subsets=20, rank=4)'


def test_shared_subsets_make_edges_between_fields():
    edge = randomise(SubsetEdge(D, N, S, 2))
    edge.mix.data.abs_()
    row, field, edges = layout(B, N, DROP)
    x = random_nodes(len(row))
    member = subset_weights(edge, x, field)
    expected = torch.stack(
        [
            sum(member[i, s] * member[j, s] for s in range(S)) / S
            for j, i in edges.t().tolist()
        ]
    )
    assert (expected > 0).any()
    inputs = [x, *edge.parameters()]
    assert_same(expected, [edge(x, edges, field)], inputs)


def test_subset_edge_needs_fields_of_nodes():
    edge = SubsetEdge(D, N, S)
    for size in ((7, D), (2, N + 1, D)):
        with pytest.raises(ValueError, match="'field' is required"):
            edge.members(torch.randn(size))
    shared = SubsetEdge(D, num_subsets=S)
    assert shared.members(torch.randn(7, D)).size() == (7, S)

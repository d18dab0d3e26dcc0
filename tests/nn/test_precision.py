"""Half precision, and equal scores."""

import copy

import pytest
import torch
from loops import layout
from model_zoo import MODELS, randomise
from protocol import CONVS, H, N, make, make_inputs

from pyg_featgraph.nn import FIVES, AdjacencyTensor, HadamardScore, TopM

HALVES = [torch.float16, torch.bfloat16]
# 11 and 8 bits, through a few layers:
ERROR = {torch.float16: 0.02, torch.bfloat16: 0.15}


def error(out, expected):
    return float((out.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize('dtype', HALVES)
@pytest.mark.parametrize('edge', ['uniform', 'attention', 'adjacency', 'top'])
@pytest.mark.parametrize('name', CONVS)
@pytest.mark.parametrize('autocast', [True, False])
def test_operators_in_half_precision(name, edge, dtype, autocast):
    conv = make(name, edge).float()
    x, field, edges = make_inputs()
    x = x.detach().float()
    mask = torch.ones(x.size()[:2], dtype=torch.bool)
    mask[0, 2] = mask[1, :4] = mask[2] = False
    nodes = x[mask]
    row, field = mask.nonzero().unbind(1)
    target, source = (row.unsqueeze(1) == row).nonzero().unbind(1)
    edges = torch.stack([source, target])
    expected = conv(x, mask=mask)
    half = conv if autocast else copy.deepcopy(conv).to(dtype)
    if not autocast:
        x, nodes = x.to(dtype), nodes.to(dtype)
    conv.zero_grad()
    with torch.autocast('cpu', dtype, enabled=autocast):
        dense = half(x, mask=mask)
        graph = half(nodes, edges, field=field)
        (dense.float().sum() + graph.float().sum()).backward()
    assert dense.isfinite().all()
    if edge != 'top':
        # Which edge is the best may hang on the last bit.
        assert error(dense, expected) < ERROR[dtype]
        assert error(graph, expected[mask]) < ERROR[dtype]
    assert (dense[~mask] == 0).all()
    for parameter in half.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()
    assert H == 2


@pytest.mark.parametrize('name', MODELS)
def test_models_in_mixed_precision(name, table):
    model = randomise(MODELS[name](table.info))
    batch = table[:32]
    with torch.autocast('cpu', torch.bfloat16):
        out = model(batch)
        out.float().sum().backward()
    # bfloat16 has 8 bits; activations pass a few layers:
    assert error(out, model(batch)) < 0.1
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize('recursive', [True, False])
def test_edges_do_not_depend_on_the_precision(recursive, table):
    n = table.info.num_fields
    adjacency = AdjacencyTensor(n, 3, recursive=recursive)
    # Scores that differ from the threshold by less than bfloat16 can tell:
    torch.nn.init.normal_(adjacency.weight, std=4e-3)
    expected, edges = adjacency.scores(), adjacency.edges()
    assert 0.2 < edges.float().mean() < 0.8
    with torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(adjacency.scores(), expected)
        assert torch.equal(adjacency.edges(), edges)
        model = FIVES(table.info, 4, 4, recursive=recursive, mode='hard')
        model.adjacency.load_state_dict(adjacency.state_dict())
        assert torch.equal(model.adjacency.matrices() > 0, edges)
        found = model.derive()
    assert found == model.derive()


@pytest.mark.parametrize('ties', ['lowest', 'all'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_equal_scores_are_the_same_everywhere(ties, dtype):
    size, n, d = 33, 13, 16
    x = torch.randn(size, n, d, dtype=dtype)
    # Fields with the same vectors in each row, and with none:
    x[:, [2, 5, 7, 11]] = x[:, [1]]
    x[:, 4] = x[:, 9] = 0
    x[::2, 8] = x[::2, 3]
    edge = TopM(HadamardScore(d), 4, ties).to(dtype)
    whole = edge(x) != 0
    for one, two in ((0, 1), (3, 4), (5, 12), (10, 33)):
        assert torch.equal(edge(x[one:two]) != 0, whole[one:two])
    _, _, edges = layout(size, n)
    for perm in (torch.arange(edges.size(1)), torch.randperm(edges.size(1))):
        index = edges[:, perm]
        graph = torch.zeros(size * n, n, dtype=torch.bool)
        graph[index[1], index[0] % n] = edge(x.flatten(0, 1), index) != 0
        assert torch.equal(graph.view_as(whole), whole)
    mask = torch.rand(size, n) < 0.8
    some = edge(x, mask=mask) != 0
    row, field = mask.nonzero().unbind(1)
    target, source = (row.unsqueeze(1) == row).nonzero().unbind(1)
    weight = edge(x[mask], torch.stack([source, target]))
    graph = torch.zeros_like(whole)
    graph[row[target], field[target], field[source]] = weight != 0
    assert torch.equal(graph, some)
    assert N > 1

"""What PyG's own operators take."""

import copy
import pickle

import pytest
import torch
from loops import randomise
from torch_geometric import EdgeIndex
from torch_geometric.nn import (
    GATv2Conv,
    HeteroConv,
    JumpingKnowledge,
    Sequential,
    to_hetero,
)
from torch_geometric.testing import assert_module
from torch_geometric.utils import to_torch_csc_tensor

from pyg_featgraph.nn import (
    AttentionEdge,
    FieldLinear,
    FiGNNConv,
    FIVESConv,
    GraphFMConv,
    HadamardScore,
    InducedSetConv,
    InteractionConv,
    SelfAttentionConv,
    SubsetEdge,
    TopM,
)

F = 8
CONVS = {
    'GraphFMConv': lambda c=F, **kw: GraphFMConv(
        c, F // 2, TopM(HadamardScore(c), 3), 2, residual=True, **kw
    ),
    'GraphFMConv reference': lambda c=F, **kw: GraphFMConv(
        c, F, TopM(HadamardScore(c), 3, 'all'), variant='reference', **kw
    ),
    'FiGNNConv': lambda c=F, **kw: FiGNNConv(c, edge=AttentionEdge(c), **kw),
    'FIVESConv': lambda c=F, **kw: FIVESConv(c, edge=SubsetEdge(c), **kw),
    'SelfAttentionConv': lambda c=F, **kw: SelfAttentionConv(
        c, F // 2, 2, HadamardScore(c), **kw
    ),
}
HYPER = {
    'InducedSetConv': lambda c=F, **kw: InducedSetConv(c, None, 2, 3, **kw),
    'InteractionConv': lambda c=F, **kw: InteractionConv(
        c, [(0, 1), (2, 3)], 'vector', **kw
    ),
}
every_conv = pytest.mark.parametrize('name', CONVS)


def graph(size=10, num=40, others=None):
    """Node vectors and different edges in random order."""
    others = size if others is None else others
    perm = torch.randperm(size * others)[:num]
    index = torch.stack(
        [perm.div(others, rounding_mode='floor'), perm % others]
    )
    return torch.randn(size, F), index


@every_conv
def test_is_a_pyg_operator(name):
    conv = CONVS[name]()
    x, edges = graph()
    options = {'expected_size': (10, F), 'atol': 1e-5}
    assert_module(conv, x, edges, **options)
    weight = torch.rand(40)
    assert_module(
        conv, x, edges, edge_weight=weight, test_sparse_layouts=[], **options
    )


@every_conv
def test_sparse_adjacency(name):
    conv = CONVS[name]()
    x, edges = graph()
    out = conv(x, edges)
    for index in (
        EdgeIndex(edges, sparse_size=(10, 10)),
        EdgeIndex(edges, sparse_size=(10, 10)).sort_by('col').values,
    ):
        torch.testing.assert_close(conv(x, index), out)
    adj = to_torch_csc_tensor(edges, size=(10, 10)).t()
    torch.testing.assert_close(conv(x, adj), out)
    assert (conv(x, adj.t()) - out).abs().max() > 1e-3
    with pytest.raises(ValueError, match='tells of the edges only'):
        conv(x, to_torch_csc_tensor(edges, torch.rand(40), (10, 10)).t())
    with pytest.raises(ValueError, match="neither 'edge_weight' nor"):
        conv(x, adj, torch.rand(40))
    with pytest.raises(ValueError, match="the flow 'target_to_source'"):
        CONVS[name](flow='target_to_source')(x, adj)


@every_conv
def test_bipartite(name):
    conv = CONVS[name]()
    x, edges = graph(10, 30, others=7)
    y = torch.randn(7, F)
    options = {'expected_size': (7, F), 'atol': 1e-5}
    assert_module(conv, (x, y), edges, **options)
    # A target without neighbours, and other features for other sources:
    out = conv((x, y), edges)
    few = edges[:, edges[1] != 3]
    rest = torch.arange(7) != 3
    torch.testing.assert_close(conv((x, y), few)[rest], out[rest])
    assert (conv((x + 1, y), edges) - out).abs().max() > 1e-3


@every_conv
def test_size_from_the_first_input(name):
    plain, lazy = CONVS[name](), CONVS[name](-1)
    x, edges = graph()
    sizes = {k: v.size() for k, v in plain.state_dict().items()}
    copies = [
        lazy,
        copy.deepcopy(lazy),
        pickle.loads(pickle.dumps(lazy)),
    ]
    assert lazy.state_dict().keys() == sizes.keys()
    for conv in copies:
        assert conv(x, edges).size() == (10, F)
        assert {k: v.size() for k, v in conv.state_dict().items()} == sizes
        # It is initialised once only:
        torch.testing.assert_close(conv(x, edges), conv(x, edges))
        again = copy.deepcopy(conv)
        torch.testing.assert_close(again(x, edges), conv(x, edges))
    loaded = CONVS[name](-1)
    loaded.load_state_dict(plain.state_dict())
    torch.testing.assert_close(loaded(x, edges), plain(x, edges))
    for first in (x.view(2, 5, F), (x, x[:3])):
        args = (first,) if torch.is_tensor(first) else (first, edges % 3)
        conv = CONVS[name](-1)
        conv(*args)
        assert {k: v.size() for k, v in conv.state_dict().items()} == sizes
    # Lazy parameters of a lazy module stay so:
    other = CONVS[name](-1)
    other.load_state_dict(CONVS[name](-1).state_dict())
    assert other(x, edges).size() == (10, F)


@pytest.mark.parametrize('out_channels', [3, -1])
def test_lazy_field_linear(out_channels):
    lin = FieldLinear(-1, out_channels, num_fields=2)
    assert lin(torch.randn(4, 2, 5)).size() == (
        4,
        2,
        max(out_channels, 5) if out_channels < 0 else 3,
    )
    assert (lin.bias == 0).all()
    assert lin.weight.abs().max() > 0
    with pytest.raises(RuntimeError):
        lin(torch.randn(4, 2, 6))


@every_conv
def test_flow(name):
    forth, back = CONVS[name](), CONVS[name](flow='target_to_source')
    back.load_state_dict(forth.state_dict())
    x, edges = graph()
    flipped = edges.flip(0)
    out = forth(x, edges)
    assert (forth(x, flipped) - out).abs().max() > 1e-3
    torch.testing.assert_close(back(x, flipped), out)
    weight = torch.rand(40)
    torch.testing.assert_close(
        back(x, flipped, weight), forth(x, edges, weight)
    )
    # What is reported are the edges as they were given:
    _, (index, alpha) = back(x, flipped, return_attention_weights=True)
    _, (other, beta) = forth(x, edges, return_attention_weights=True)
    torch.testing.assert_close(index.flip(0), other)
    torch.testing.assert_close(alpha, beta)
    # The pair is sources and targets of the edges' own direction, as PyG has
    # it:
    y = torch.randn(7, F)
    pair = graph(10, 30, others=7)[1]
    expected = forth((x, y), pair)
    torch.testing.assert_close(back((y, x), pair.flip(0)), expected)
    stock = GATv2Conv(F, F, add_self_loops=False)
    other = GATv2Conv(F, F, add_self_loops=False, flow='target_to_source')
    other.load_state_dict(stock.state_dict())
    torch.testing.assert_close(other(x, flipped), stock(x, edges))


@every_conv
def test_refuses_what_cannot_hold(name):
    for aggr in ('mean', 'max', None):
        with pytest.raises(ValueError, match="'aggr' must be 'sum'"):
            CONVS[name](aggr=aggr)
    with pytest.raises(ValueError, match="has no 'node_dim'"):
        CONVS[name](node_dim=1)
    assert CONVS[name](aggr='add').aggr == 'sum'
    conv = CONVS[name]()
    x, edges = graph()
    dense = x.view(2, 5, F)
    with pytest.raises(ValueError, match='need the edges'):
        conv(x)
    with pytest.raises(ValueError, match='no edges'):
        conv(dense, edges)
    with pytest.raises(ValueError, match=r"'mask' must have shape \[2, 5\]"):
        conv(dense, mask=torch.ones(5, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match='a mask'):
        conv(x, edges, mask=torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="The dense layout has no 'field'"):
        conv(dense, field=torch.arange(5))


@pytest.mark.parametrize('name', HYPER)
def test_hyperedges_have_one_direction(name):
    for wrong in (
        {'flow': 'target_to_source'},
        {'aggr': 'mean'},
        {'node_dim': 1},
    ):
        with pytest.raises(ValueError, match='from nodes to hyperedges'):
            HYPER[name](**wrong)
    conv, lazy = HYPER[name]().eval(), HYPER[name](-1).eval()
    x = torch.randn(8, F)
    index = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 1, 2, 2, 3, 3]])
    out = conv(x, index)
    perm = torch.randperm(8)
    torch.testing.assert_close(conv(x, index[:, perm]), out)
    assert lazy(x, index).size() == out.size()
    for other in (HYPER[name](-1), pickle.loads(pickle.dumps(HYPER[name](-1)))):
        other.load_state_dict(conv.state_dict())
        torch.testing.assert_close(other.eval()(x, index), out)
    assert conv(x, index, num_edges=6).size(0) == 3
    with pytest.raises(ValueError, match='must be a multiple of 2'):
        conv(x, index, num_edges=5)
    with pytest.raises(ValueError, match='need the edges'):
        conv(x)
    with pytest.raises(ValueError, match='no edges'):
        conv(x.view(2, 4, F), index)


@every_conv
def test_in_sequential_with_jumping_knowledge(name):
    first, second = CONVS[name](-1), CONVS[name](-1)
    model = Sequential(
        'x, edge_index',
        [
            (first, 'x, edge_index -> a'),
            (second, 'a, edge_index -> b'),
            (lambda a, b: [a, b], 'a, b -> outs'),
            (JumpingKnowledge('cat'), 'outs -> out'),
        ],
    )
    x, edges = graph()
    a = first(x, edges)
    expected = torch.cat([a, second(a, edges)], dim=-1)
    torch.testing.assert_close(model(x, edges), expected)


class TwoLayers(torch.nn.Module):
    def __init__(self, make):
        super().__init__()
        self.conv1, self.conv2 = make(-1), make(-1)

    def forward(self, x, edge_index):
        return self.conv2(self.conv1(x, edge_index).relu(), edge_index)


@every_conv
def test_in_heterogeneous_models(name):
    x, loops = graph()
    y, edges = torch.randn(7, F), graph(10, 30, others=7)[1]
    to, back, self = ('a', 'to', 'b'), ('b', 'back', 'a'), ('a', 'is', 'a')
    convs = {key: CONVS[name](-1) for key in (to, back, self)}
    index = {to: edges, back: edges.flip(0), self: loops}
    out = HeteroConv(convs, aggr='sum')({'a': x, 'b': y}, index)
    torch.testing.assert_close(out['b'], convs[to]((x, y), edges))
    expected = convs[back]((y, x), edges.flip(0)) + convs[self](x, loops)
    torch.testing.assert_close(out['a'], expected)

    model = to_hetero(TwoLayers(CONVS[name]), (['a', 'b'], [to, back]))
    out = model({'a': x, 'b': y}, {to: edges, back: edges.flip(0)})
    assert out['a'].size() == (10, F)
    assert out['b'].size() == (7, F)
    sum(v.square().sum() for v in out.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


@every_conv
@torch.no_grad()
def test_compiles_without_graph_breaks(name):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    conv = randomise(CONVS[name](), 0.7)
    options = {'fullgraph': True, 'backend': 'aot_eager', 'dynamic': True}
    compiled = torch.compile(conv, **options)
    x, edges = graph()
    x = x.double()
    weight = torch.rand(40, dtype=torch.double)
    calls = [
        ((x, edges), {}),
        ((x[:7], edges[:, :13] % 7), {}),
        (((x, x[:5]), edges % 5, weight), {}),
        ((x.view(2, 5, F),), {'mask': torch.rand(2, 5) < 0.6}),
    ]
    for args, kwargs in calls:
        out, got = conv(*args, **kwargs), compiled(*args, **kwargs)
        torch.testing.assert_close(got, out)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 3
    torch._dynamo.utils.counters.clear()


@every_conv
def test_exports(name):
    conv = CONVS[name]()
    x = torch.randn(4, 5, F)
    size = {0: torch.export.Dim('batch')}
    program = torch.export.export(conv, (x[:3],), dynamic_shapes=(size,))
    torch.testing.assert_close(program.module()(x), conv(x))


@pytest.mark.parametrize('name', HYPER)
@torch.no_grad()
def test_hyperedges_compile_without_graph_breaks(name):
    torch._dynamo.reset()
    conv = HYPER[name]().double()
    options = {'fullgraph': True, 'backend': 'aot_eager', 'dynamic': True}
    compiled = torch.compile(conv, **options)
    x = torch.randn(8, F, dtype=torch.double)
    index = torch.arange(8)
    index = torch.stack([index, index // 2])
    members = torch.rand(8, dtype=torch.double)
    mask = torch.rand(2, 4) < 0.6
    kind = 'hyperedge_weight' if name == 'InteractionConv' else 'edge_weight'
    one = members if kind == 'edge_weight' else members[:4]
    two = members.view(2, 4) if kind == 'edge_weight' else members[:2]
    for args, kwargs in (
        ((x, index), {'num_edges': 4, kind: one}),
        ((x.view(2, 4, F),), {'mask': mask, kind: two}),
    ):
        out = conv(*args, **kwargs)
        torch.testing.assert_close(compiled(*args, **kwargs), out)
    size = {0: torch.export.Dim('batch')}
    x = torch.randn(4, 4, F, dtype=torch.double)
    conv.eval()
    program = torch.export.export(conv, (x[:3],), dynamic_shapes=(size,))
    torch.testing.assert_close(program.module()(x), conv(x))

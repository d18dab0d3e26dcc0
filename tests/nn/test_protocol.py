"""Every operator with every kind of edges, in both layouts."""

import pytest
import torch
from loops import assert_same, randn, randomise
from protocol import (
    CONVS,
    EDGES,
    MASK,
    PAIRS,
    WITH_HEADS,
    B,
    D,
    H,
    N,
    make,
    make_edge,
    make_inputs,
)

from pyg_featgraph.nn import FieldEdge, InducedSetConv, InteractionConv
from pyg_featgraph.nn.layout import pairs_of


def weights_of(edges, weight, mask=MASK):
    """The weights of single edges, out of dense ones."""
    row, field = mask.nonzero().unbind(1)
    source, target = edges
    return weight[row[target], field[target], field[source]]


def random_weights(*size):
    """Weights of which some are zero."""
    weight = torch.rand(size, dtype=torch.double)
    weight = weight * (torch.rand(size) < 0.7)
    return weight.requires_grad_()


def leaves(conv, *others):
    return [*others, *conv.parameters()]


@pytest.mark.parametrize('self_loops', [True, False])
@pytest.mark.parametrize(('conv', 'edge'), PAIRS)
def test_layouts_agree(conv, edge, self_loops):
    conv = make(conv, edge, self_loops)
    x, field, edges = make_inputs()
    other = edges[:, edges[0] != edges[1]]
    dense = conv(x, mask=MASK)
    assert (dense[~MASK] == 0).all()
    # Self loops are added where they are missing; the order means nothing:
    forms = [other, other[:, torch.randperm(other.size(1))]]
    graphs = [conv(x[MASK], index, field=field) for index in forms]
    assert_same(dense[MASK], graphs, leaves(conv, x))
    # And without a mask, where all fields are there:
    full = torch.ones_like(MASK)
    x, field, edges = make_inputs(full)
    graph = conv(x.flatten(0, 1), edges[:, edges[0] != edges[1]], field=field)
    assert_same(conv(x), [conv(x, mask=full), graph], leaves(conv, x))


@pytest.mark.parametrize(('conv', 'edge'), PAIRS)
def test_masked_fields_mean_nothing(conv, edge):
    conv = make(conv, edge)
    x = make_inputs()[0].detach()
    other = x.masked_fill(~MASK.unsqueeze(-1), 1e3)
    torch.testing.assert_close(conv(other, mask=MASK), conv(x, mask=MASK))
    # A row does not feel what other rows lack:
    alone = conv(x[:1]), conv(x[1:2], mask=MASK[1:2])
    torch.testing.assert_close(torch.cat(alone), conv(x, mask=MASK)[:2])


@pytest.mark.parametrize(('conv', 'edge'), PAIRS)
def test_an_edge_module_is_the_weights_it_gives(conv, edge):
    conv = make(conv, edge)
    x, field, edges = make_inputs()
    weight = conv.edge(x, mask=MASK)
    assert_same(
        conv(x, mask=MASK),
        [conv(x, edge_weight=weight, mask=MASK)],
        leaves(conv, x),
    )
    nodes = x[MASK]
    weight = conv.edge(nodes, edges, field)
    assert_same(
        conv(nodes, edges, field=field),
        [conv(nodes, edges, weight, field)],
        leaves(conv, x),
    )


@pytest.mark.parametrize('edge', EDGES)
@pytest.mark.parametrize('self_loops', [True, False])
def test_edges_agree(edge, self_loops):
    edge = make_edge(edge, self_loops)
    x, field, edges = make_inputs()
    dense, graph = edge(x, mask=MASK), edge(x[MASK], edges, field)
    if dense.dim() == 2:
        dense = dense.expand(B, N, N)
    pairs = pairs_of(MASK, N, self_loops, x)
    alike = pairs.view(B, N, N, *[1] * (dense.dim() - 3))
    dense = dense * alike
    assert_same(weights_of(edges, dense), [graph], leaves(edge, x))
    if not self_loops:
        assert (graph[edges[0] == edges[1]] == 0).all()
    # Sources and targets of the same vectors, as different tensors:
    other = edge((x[MASK], x[MASK].clone()), edges, field)
    if self_loops:
        torch.testing.assert_close(other, graph)
    other = edge((x, x.clone()), mask=MASK)
    other = other.expand(B, N, N) if other.dim() == 2 else other
    torch.testing.assert_close(weights_of(edges, other * alike), graph)


# The form of GraphFM's released code keeps such edges.
@pytest.mark.parametrize('conv', sorted({*CONVS} - {'GraphFMConv reference'}))
def test_an_edge_of_weight_zero_is_none(conv):
    conv = make(conv, 'uniform')
    x, field, edges = make_inputs()
    dense = random_weights(B, N, N)
    weight = weights_of(edges, dense)
    is_edge = weight != 0
    few = conv(x[MASK], edges[:, is_edge], weight[is_edge], field)
    every = conv(x[MASK], edges, weight, field)
    rows = conv(x, edge_weight=dense, mask=MASK)[MASK]
    assert 0 < is_edge.sum() < edges.size(1)
    assert_same(few, [every, rows], leaves(conv, x))
    assert_same(every, [rows], [dense])


def test_every_edge_module_is_here():
    here = {type(make_edge(name)) for name in EDGES}
    for name, cls in FieldEdge.names.items():
        if cls.__module__.startswith('pyg_featgraph.'):
            assert cls in here, name


@pytest.mark.parametrize('conv', CONVS)
def test_weights_from_elsewhere(conv):
    has_heads = conv in WITH_HEADS
    conv = make(conv, 'uniform')
    x, field, edges = make_inputs()
    # Those that all rows share:
    shared = random_weights(N, N)
    alike = shared.expand(B, N, N)
    assert_same(
        conv(x, edge_weight=shared, mask=MASK)[MASK],
        [
            conv(x, edge_weight=alike, mask=MASK)[MASK],
            conv(x[MASK], edges, weights_of(edges, alike), field),
        ],
        leaves(conv, x, shared),
    )
    sizes = [(N, N + 1), (B + 1, N, N), (B, N), (B, N, N, H + 1)]
    for size in sizes:
        with pytest.raises(ValueError, match=r"'edge_weight' must have shape"):
            conv(x, edge_weight=x.new_ones(size))
    with pytest.raises(ValueError, match=r"'edge_weight' must have shape"):
        conv(x[MASK], edges, x.new_ones(3), field)
    heads = random_weights(B, N, N, H)
    if not has_heads:
        with pytest.raises(ValueError, match=r"'edge_weight' must have shape"):
            conv(x, edge_weight=heads)
        # Those of a module as well:
        conv.edge = make_edge('own heads')
        for args in ((x,), (x[MASK], edges, None, field)):
            with pytest.raises(ValueError, match=r"'edge_weight' must have"):
                conv(*args)
        return
    graph = conv(x[MASK], edges, weights_of(edges, heads), field)
    dense = conv(x, edge_weight=heads, mask=MASK)[MASK]
    assert_same(graph, [dense], leaves(conv, x, heads))
    # The same for all heads:
    one = conv(x, edge_weight=alike)
    for num in (1, H):
        out = conv(x, edge_weight=alike.unsqueeze(-1).expand(B, N, N, num))
        torch.testing.assert_close(out, one)


def from_alpha(name, conv, x, alpha):
    """The output that messages make which are multiplied with this."""
    alpha = alpha.expand(B, N, N, *alpha.size()[3:])
    if name.startswith('GraphFMConv'):
        v = x.unsqueeze(2) * x.unsqueeze(1)
        out = conv.lin(torch.einsum('bijh,bijd->bihd', alpha, v))
        out = out.flatten(2) if conv.concat else out.mean(2)
        if conv.res is not None:
            out = out + conv.res(x).relu()
        out = out.relu()
        if conv.norm_weight is not None:
            mean, var = out.mean(-1), out.var(-1, correction=0)
            out = (out - mean.unsqueeze(-1)) / (var.unsqueeze(-1) + 1e-8).sqrt()
            out = out * conv.norm_weight + conv.norm_bias
        return out
    if name == 'SelfAttentionConv':
        value = conv.lin_value(x).view(B, N, H, -1)
        out = torch.einsum('bijh,bjhd->bihd', alpha, value)
        return (out.flatten(2) + conv.lin_res(x)).relu()
    if name.startswith('FIVESConv'):
        return x * torch.einsum('bij,bjd->bid', alpha, conv.lin(x))
    h = x
    for lin_out, lin_in in zip(conv.lin_out, conv.lin_in, strict=True):
        out = lin_in(torch.einsum('bij,bjd->bid', alpha, lin_out(h)))
        out = (out + conv.bias).flatten(0, 1)
        out = torch.gru_cell(out, h.flatten(0, 1), *conv._gru)
        h = out.view_as(x) + x
    return h


@pytest.mark.parametrize(('conv', 'edge'), PAIRS)
def test_attention_weights(conv, edge):
    name, conv = conv, make(conv, edge)
    x, field, edges = make_inputs()
    full = torch.ones_like(MASK)
    for mask in (None, MASK):
        out, (index, alpha) = conv(x, return_attention_weights=True, mask=mask)
        assert index is None
        torch.testing.assert_close(out, conv(x, mask=mask))
        used = from_alpha(name, conv, x, alpha)
        there = full if mask is None else mask
        torch.testing.assert_close(used[there], out[there])
        assert alpha.isfinite().all()
    assert alpha.size()[-1 if alpha.dim() < 4 else -2] == N
    # The same of a graph, without self loops, which are added:
    out, (index, graph) = conv(
        x[MASK],
        edges[:, edges[0] != edges[1]],
        field=field,
        return_attention_weights=True,
    )
    torch.testing.assert_close(out, conv(x, mask=MASK)[MASK])
    assert index.size(1) == edges.size(1)
    alpha = alpha.expand(B, N, N, *alpha.size()[3:])
    torch.testing.assert_close(weights_of(index, alpha), graph)
    if name in WITH_HEADS:
        assert graph.size() == (edges.size(1), H)
    # Shares of attention, times weights of at most one:
    if edge == 'top binary' and name != 'FIVESConv sum':
        total = x.new_zeros(int(MASK.sum()), *graph.size()[1:])
        total = total.index_add(0, index[1], graph)
        if name != 'FiGNNConv':
            torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize('edge', sorted({*EDGES} - {'own heads'}))
@pytest.mark.parametrize('options', [{}, {'share_thresholds': False}])
def test_neighbourhoods_as_subsets(edge, options):
    edge = make_edge(edge)
    conv = randomise(InducedSetConv(D, N, N, 2, **options), 0.7)
    conv.threshold.weight.data.sub_(2)
    x, field, edges = make_inputs()
    row = MASK.nonzero()[:, 0]
    weight = edge(x, mask=MASK)
    dense = conv(x, edge_weight=weight, mask=MASK)
    subset = row * N + field
    index = torch.stack([edges[0], subset[edges[1]]])
    graph = conv(x[MASK], index, edge(x[MASK], edges, field), field, B * N)
    assert graph.size() == (B, N, 2, D)
    inputs = leaves(conv, x, *edge.parameters())
    assert_same(dense[MASK], [graph[MASK]], inputs)


@pytest.mark.parametrize('edge', sorted({*EDGES} - {'own heads'}))
@pytest.mark.parametrize('function', ['vector', 'outer'])
@pytest.mark.parametrize('norm', [True, False])
def test_pair_weights_of_interactions(edge, function, norm):
    edge = make_edge(edge)
    conv = InteractionConv(D, [(0, 1, 4), (2, 3, 4)], function, norm)
    conv = randomise(conv)
    x, field, _ = make_inputs()
    row = MASK.nonzero()[:, 0]
    weight = conv.pair_weight(edge(x, mask=MASK))
    dense = conv(x, hyperedge_weight=weight, mask=MASK)
    index = conv.hyperedges(field, row, B, N)
    graph = conv(x[MASK], index, weight.flatten(), field, B * 2)
    assert_same(dense, [graph], leaves(conv, x, *edge.parameters()))
    # By hand, for a row that has all fields:
    matrix = edge(x, mask=MASK).expand(B, N, N)[0]
    mean = (matrix + matrix.t()) / 2
    expected = mean[0, 1] * mean[0, 4] * mean[1, 4]
    got = weight.expand(B, 2)[0, 0]
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize('edge', ['uniform', 'top', 'adjacency', 'attention'])
@pytest.mark.parametrize('conv', CONVS)
def test_sources_and_targets_can_differ(conv, edge):
    name, conv = conv, make(conv, edge)
    x, field, edges = make_inputs()
    y = randn(B, N, D)
    dense = conv((x, y), mask=MASK)[MASK]
    graph = conv((x[MASK], y[MASK]), edges, field=field)
    assert_same(dense, [graph], leaves(conv, x, y))
    # Equal vectors are those of a single tensor, but for the steps of Fi-GNN,
    # in which sources stay as they are:
    if name != 'FiGNNConv':
        torch.testing.assert_close(
            conv((x, x.clone()), mask=MASK), conv(x, mask=MASK)
        )
    with pytest.raises(ValueError, match='both need node features'):
        conv((x[MASK], None), edges, field=field)

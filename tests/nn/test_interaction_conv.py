import copy
from itertools import combinations

import pytest
import torch
from interaction_loops import (
    CHANNELS,
    FUNCTIONS,
    SIZE,
    N,
    all_functions,
    all_orders,
    check,
    make,
    nodes_of,
)
from loops import assert_same, layout
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import set_masks
from torch_geometric.nn import MessagePassing

from pyg_featgraph.nn import InteractionConv


@all_functions
@all_orders
@pytest.mark.parametrize('training', [True, False])
def test_matches_the_equations_in_both_layouts(function, order, training):
    conv = make(function, order).train(training)
    assert (conv.norm.eps, conv.norm.momentum) == (1e-3, 0.1)
    check(conv, nodes_of(SIZE))


@all_functions
@all_orders
@pytest.mark.parametrize(('norm', 'gate'), [(False, 0.6), (True, None)])
def test_norm_and_gate_are_optional(function, order, norm, gate):
    conv = make(function, order, norm=norm, gate=gate)
    assert (conv.norm is None) == (not norm)
    assert (conv.gate is None) == (gate is None)
    if function == 'inner' and gate is None:
        assert not list(conv.parameters())
    check(conv, nodes_of(SIZE))


@all_functions
@all_orders
@pytest.mark.parametrize('norm', [False, True])
def test_interactions_with_absent_members_are_zero(function, order, norm):
    # Rows of five, four, three, one, no and five nodes:
    drop = {6, 10, 13, 15, 16, 17, 19, 20, 21, 22, 23, 24}
    conv = make(function, order, norm=norm, gate=None)
    x = torch.randn(18, CHANNELS, dtype=torch.double, requires_grad=True)
    expected = check(conv, x, drop)
    if not norm:
        for b in range(SIZE):
            for q, members in enumerate(conv.interactions):
                absent = any(N * b + i in drop for i in members)
                assert (expected[b, q] == 0) == absent
        row, field, _ = layout(SIZE, N, drop)
        edges = conv.hyperedges(field, row, SIZE, N)
        num = SIZE * conv.num_hyperedges
        out = conv(x, edges, None, field, num)
        assert torch.equal(out == 0, expected == 0)


def test_rows_without_edges():
    conv = make('vector', norm=False)
    x, field = nodes_of(1), torch.arange(N)
    edges = conv.hyperedges(field, torch.zeros(N, dtype=torch.long), 3, N)
    out = conv(x, edges, num_edges=21)
    assert out.size() == (3, 7)
    assert (out[1:] == 0).all()
    # The last rows are not known of:
    torch.testing.assert_close(conv(x, edges), out[:1])
    none = edges[:, :0]
    assert conv(x, none).size() == (0, 7)
    assert (conv(x, none, num_edges=14) == 0).all()


@all_functions
@all_orders
def test_gradients_where_factors_are_zero(function, order):
    conv = make(function, order, norm=False)
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    members = conv.interactions[0]
    # One, two and all factors, of one dimension and of all:
    x[0, members[0], 1] = 0
    x[1, members[:2], 1] = 0
    x[2, members, 1] = 0
    x[3, members[1]] = 0
    x[4, members[:2]] = 0
    x[5] = 0
    x = x.flatten(0, 1).requires_grad_()
    check(conv, x)
    row, field, _ = layout(SIZE, N)
    nodes = conv(x, conv.hyperedges(field, row, SIZE, N), field=field)
    for out in (nodes, conv(x.view(SIZE, N, -1))):
        (grad,) = torch.autograd.grad(out[3, 0], x, retain_graph=True)
        grad = grad.view(SIZE, N, CHANNELS)
        # Only what is zero could make a difference:
        assert (grad[3, members[1]] != 0).all()
        assert (grad[3, members[0]] == 0).all()
        (grad,) = torch.autograd.grad(out[4, 0], x)
        assert (grad == 0).all()


def test_aggregation_is_that_of_pyg():
    # Where a factor is zero, the gradient of `torch_scatter` is not right, so
    # that the operator multiplies by itself:
    conv = make('inner')
    inputs = torch.randn(8, CHANNELS, dtype=torch.double)
    index = torch.tensor([0, 3, 3, 1, 0, 3, 4, 4])
    torch.testing.assert_close(
        conv.aggregate(inputs, index, 6),
        conv.aggr_module(inputs, index, dim_size=6, dim=0),
    )


@all_functions
@pytest.mark.parametrize('training', [True, False])
def test_closed_gates_give_zeros(function, training):
    conv = make(function).train(training)
    conv.gate.data[[1, 4]] = 0
    out = check(conv, nodes_of(SIZE))
    assert (out[:, [1, 4]] == 0).all()
    assert (out[:, [0, 2, 3, 5, 6]] != 0).all()


def test_initial_parameters():
    pairs = list(combinations(range(40), 2))
    for function in FUNCTIONS:
        conv = InteractionConv(64, pairs, function)
        assert conv.gate.min() >= 0.5988
        assert conv.gate.max() <= 0.6012
        assert conv.gate.std() > 0
        if function == 'outer':
            assert conv.weight.size() == (2, 64)
            assert 0.1 < conv.weight.std() < 0.15
        elif function != 'inner':
            shape = (780, 64 if function == 'vector' else 1)
            assert conv.weight.size() == shape
            assert (conv.weight == 1).all()


def test_is_a_pyg_operator_up_to_its_arguments():
    conv = InteractionConv(8, [(0, 1), (2, 1)], 'vector')
    assert isinstance(conv, MessagePassing)
    assert str(conv) == (
        "InteractionConv(8, num_interactions=2, order=2, function='vector')"
    )
    assert set(conv.state_dict()) == {
        'weight',
        'gate',
        'norm.running_mean',
        'norm.running_var',
        'norm.num_batches_tracked',
    }
    row, field, _ = layout(2, 3)
    edges = conv.hyperedges(field, row, 2, 3)
    # Each interaction of each row has its members as sources:
    assert edges.tolist() == [
        [0, 1, 1, 2, 3, 4, 4, 5],
        [0, 0, 1, 1, 2, 2, 3, 3],
    ]
    x = torch.randn(6, 8)
    assert conv(x, edges).size() == (2, 2)
    for args in (
        {'x': x},
        {'x': x, 'field': field},
        {'x': x.view(2, 3, 8), 'hyperedge_index': edges},
    ):
        with pytest.raises(ValueError, match='need the edges'):
            conv(**args)
    with pytest.raises(ValueError, match="'num_edges' must be a multiple of 2"):
        conv(x, edges, num_edges=3)
    with pytest.raises(ValueError, match="'mask' must have shape"):
        conv(x.view(2, 3, 8), mask=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="'hyperedge_weight' must have shape"):
        conv(x, edges, torch.ones(3))
    outer = InteractionConv(8, [(0, 1), (2, 1)], 'outer')
    with pytest.raises(ValueError, match="'field' is required"):
        outer(x, edges)


@all_functions
@all_orders
def test_weights_of_interactions(function, order):
    conv = make(function, order)
    row, field, _ = layout(SIZE, N)
    edges = conv.hyperedges(field, row, SIZE, N)
    x = nodes_of(SIZE)
    rows = x.view(SIZE, N, CHANNELS)
    pairs = torch.randn(SIZE, N, N, dtype=torch.double, requires_grad=True)
    # The product over all pairs of members, of either direction the mean:
    columns = []
    for q in conv.interactions:
        column = torch.ones(SIZE, dtype=torch.double)
        for i, j in combinations(q, 2):
            column = column * (pairs[:, i, j] + pairs[:, j, i]) / 2
        columns.append(column)
    weight = torch.stack(columns, dim=1)
    # They come behind the normalisation, which does not see them:
    expected = weight * conv(rows)
    given = conv.pair_weight(pairs)
    others = [
        conv(rows, hyperedge_weight=given),
        conv(rows, hyperedge_weight=given.flatten()),
        conv(x, edges, given.flatten(), field),
    ]
    assert_same(expected, others, [x, pairs, *conv.parameters()])
    # The same for all rows:
    shared = conv.pair_weight(pairs[0])
    assert shared.size() == (conv.num_hyperedges,)
    expected = weight[0] * conv(rows)
    for out in (conv(rows, None, shared), conv(x, edges, shared, field)):
        torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ('interactions', 'function', 'match'),
    [
        ([(0, 1)], 'matrix', "'function' must be one of inner, outer"),
        ([(0, 1), (0, 1, 2)], 'inner', 'the same number of fields'),
        ([(0,), (1,)], 'inner', 'at least two'),
        ([], 'inner', 'at least two'),
        ([(0, 1), (2, 2)], 'inner', 'repeats a field'),
        ([(0, 1), (2, 3), (1, 0)], 'inner', r'has \(0, 1\) more than once'),
    ],
)
def test_rejects_what_is_no_interaction(interactions, function, match):
    with pytest.raises(ValueError, match=match):
        InteractionConv(8, interactions, function)


@all_functions
def test_masks_of_edges_scale_messages(function):
    conv = make(function, norm=False, gate=None)
    row, field, _ = layout(SIZE, N)
    edges = conv.hyperedges(field, row, SIZE, N)
    x, mask = nodes_of(SIZE), torch.rand(edges.size(1), dtype=torch.double)
    out = conv(x, edges, field=field)
    # By default, masks are those of edges between nodes:
    set_masks(conv, mask, edges, apply_sigmoid=False)
    assert torch.equal(conv(x, edges, field=field), out)
    conv.explain = None
    set_masks(conv, mask, edges, apply_sigmoid=False)
    masked = conv(x, edges, field=field)
    # The product of the masks of all members:
    scale = torch.ones(SIZE * 7, dtype=torch.double)
    for edge, target in enumerate(edges[1].tolist()):
        scale[target] *= mask[edge]
    torch.testing.assert_close(masked, out * scale.view(SIZE, 7))


class Pairs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        pairs = list(combinations(range(N), 2))
        self.conv = InteractionConv(CHANNELS, pairs, norm=False)
        self.conv.explain = None

    def forward(self, x, edge_index, num):
        return self.conv(x, edge_index, num_edges=num).sum(1)


def test_members_of_interactions_can_be_explained():
    model = Pairs().eval()
    explainer = Explainer(
        model,
        GNNExplainer(epochs=2),
        explanation_type='model',
        node_mask_type='object',
        edge_mask_type='object',
        model_config={'mode': 'regression', 'task_level': 'graph'},
    )
    row, field, _ = layout(2, N)
    edges = model.conv.hyperedges(field, row, 2, N)
    x = torch.randn(2 * N, CHANNELS)
    out = explainer(x, edges, num=20)
    assert out.edge_mask.size() == (2 * 10 * 2,)
    assert (out.edge_mask > 0).all()


@pytest.fixture
def compiled_graphs():
    """How many there are; other tests begin with none."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    yield lambda: counters['stats']['unique_graphs']
    counters.clear()


@all_functions
def test_compiles_without_graph_breaks(function, compiled_graphs):
    conv = make(function, order=3)
    compiled = torch.compile(
        copy.deepcopy(conv), backend='aot_eager', fullgraph=True
    )
    for size in (4, 7, 9):
        x = nodes_of(size)
        rows = x.view(size, N, CHANNELS)
        expected = conv(rows)
        grad = torch.randn_like(expected)
        want = torch.autograd.grad(expected, [x, *conv.parameters()], grad)
        out = compiled(rows)
        torch.testing.assert_close(out, expected)
        got = torch.autograd.grad(out, [x, *compiled.parameters()], grad)
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        compiled._orig_mod.state_dict(), conv.state_dict()
    )
    # One graph for the first size and one for all others:
    assert compiled_graphs() == 2


@all_functions
@all_orders
def test_mixed_precision(function, order):
    conv = make(function, order, norm=False).float()
    for dtype in (torch.float, torch.bfloat16):
        x = torch.randn(16, N, CHANNELS).to(dtype).requires_grad_()
        row, field, _ = layout(16, N)
        edges = conv.hyperedges(field, row, 16, N)
        expected = conv(x.float())
        inputs = [x, *conv.parameters()]
        grad = torch.randn_like(expected)
        want = torch.autograd.grad(expected, inputs, grad)
        with torch.autocast('cpu', torch.bfloat16):
            outs = conv(x), conv(x.flatten(0, 1), edges, field=field)
        for out in outs:
            got = torch.autograd.grad(out, inputs, grad.to(out.dtype))
            pairs = zip((out, *got), (expected, *want), strict=True)
            for one, two in pairs:
                assert one.isfinite().all()
                error = (one.float() - two.float()).norm() / two.float().norm()
                assert error < 0.03

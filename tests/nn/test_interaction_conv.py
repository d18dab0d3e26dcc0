import copy
import importlib
from itertools import combinations, pairwise
from math import comb

import pytest
import torch
from loops import assert_same, layout
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.explain.algorithm.utils import set_masks
from torch_geometric.nn import MessagePassing

from pyg_featgraph.nn import InteractionConv
from pyg_featgraph.nn.kernels import plan_tuples, tuple_product
from pyg_featgraph.nn.models.fm import second_order

# The function hides the module of the same name:
kernel = importlib.import_module('pyg_featgraph.nn.kernels.tuple_product')

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


def check(conv, x, drop=(), size=SIZE, n=N, rows=True):
    """Both layouts are the same as the loops, which are returned."""
    row, field, _ = layout(size, n, drop)
    # Reads the running statistics before any of the layouts changes them:
    expected = reference(conv, x, row, field, size)
    edges = conv.edges(field, row, size, n)
    mixed = edges[:, torch.randperm(edges.size(1))]
    perm = torch.randperm(len(row))
    moved = conv.edges(field[perm], row[perm], size, n)
    others = [
        conv(x, edges, field, size),
        conv(x, mixed, field, size),
        conv(x[perm], moved, field[perm], size),
    ]
    if int(edges[1].max()) // len(conv.interactions) == size - 1:
        others.append(conv(x, edges, field))
    if rows:
        full = x
        if drop:
            keep = [k for k in range(size * n) if k not in drop]
            full = x.new_zeros(size * n, CHANNELS)
            full = full.index_copy(0, torch.tensor(keep), x)
        others.append(conv(full.view(size, n, -1)))
    assert_same(expected, others, [x, *conv.parameters()])
    return expected


@all_functions
@all_orders
@pytest.mark.parametrize('training', [True, False])
def test_matches_the_equations_in_both_layouts(function, order, training):
    conv = make(function, order).train(training)
    assert conv.norm.eps == 1e-3
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
        out = conv(x, conv.edges(field, row, SIZE, N), field, SIZE)
        assert torch.equal(out == 0, expected == 0)


def test_rows_without_edges():
    conv = make('vector', norm=False)
    x, field = nodes_of(1), torch.arange(N)
    edges = conv.edges(field, torch.zeros(N, dtype=torch.long), 3, N)
    out = conv(x, edges, field, 3)
    assert out.size() == (3, 7)
    assert (out[1:] == 0).all()
    # The last rows are not known of:
    torch.testing.assert_close(conv(x, edges, field), out[:1])
    none = edges[:, :0]
    assert conv(x, none, field).size() == (0, 7)
    assert (conv(x, none, field, 2) == 0).all()


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
    nodes = conv(x, conv.edges(field, row, SIZE, N), field)
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


def test_inner_products_of_all_pairs_are_those_of_fm():
    pairs = list(combinations(range(N), 2))
    conv = InteractionConv(CHANNELS, pairs, norm=False, gate=1.0).double()
    torch.nn.init.ones_(conv.gate)
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    expected = 0.5 * (x.sum(1).square() - x.square().sum(1)).sum(1)
    torch.testing.assert_close(conv(x).sum(1), expected)
    torch.testing.assert_close(second_order(x, None), expected)


@all_orders
def test_functions_are_special_cases_of_each_other(order):
    vector = make('vector', order, norm=False, gate=None)
    scalar, inner = (
        InteractionConv(
            CHANNELS, vector.interactions, function, norm=False, gate=None
        ).double()
        for function in ('scalar', 'inner')
    )
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    torch.testing.assert_close(scalar(x), inner(x))
    torch.nn.init.normal_(scalar.weight)
    vector.weight.data.copy_(scalar.weight)
    torch.testing.assert_close(vector(x), scalar(x))
    torch.testing.assert_close(scalar(x), scalar.weight[:, 0] * inner(x))
    # Behind the normalisation only the sign is left:
    scalar, inner = (
        InteractionConv(
            CHANNELS, vector.interactions, function, gate=None, eps=1e-30
        ).double()
        for function in ('scalar', 'inner')
    )
    torch.nn.init.normal_(scalar.weight)
    torch.testing.assert_close(scalar(x), scalar.weight[:, 0].sign() * inner(x))


def test_outer_is_a_matrix_of_rank_one():
    conv = make('outer', norm=False, gate=None)
    w1, w2 = conv.weight
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    for q, (i, j) in enumerate(conv.interactions):
        for b in range(SIZE):
            matrix = torch.outer(x[b, i], x[b, j])
            torch.testing.assert_close(out[b, q], w1 @ matrix @ w2)


@all_functions
@all_orders
def test_members_have_no_order_but_positions_do(function, order):
    conv = make(function, order, norm=False)
    shuffled = [some(q, order) for q in conv.interactions]
    other = InteractionConv(CHANNELS, shuffled, function, norm=False).double()
    other.load_state_dict(conv.state_dict())
    assert other.interactions == conv.interactions
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    assert torch.equal(other(x), out)
    # Members of the first interaction take each other's place:
    members, moved = list(conv.interactions[0]), x.clone()
    moved[:, members] = x[:, members[1:] + members[:1]]
    same = torch.allclose(conv(moved)[:, 0], out[:, 0])
    assert same == (function != 'outer')


@all_functions
def test_normalisation_takes_scale_away(function):
    conv = make(function, eps=1e-30)
    x = torch.randn(SIZE, N, CHANNELS, dtype=torch.double)
    out = conv(x)
    torch.testing.assert_close(conv(1e-3 * x), out)
    torch.testing.assert_close(conv(7 * x), out)
    mean, var = out.mean(0), out.var(0, unbiased=False)
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(var, conv.gate.square())
    # A product that is much smaller than `eps` stays small:
    conv.norm.eps = 1e-3
    assert (conv(1e-3 * x).abs() < 1e-3).all()


@all_functions
def test_running_statistics_are_those_of_batch_norm(function):
    conv = make(function, momentum=0.3)
    plain = InteractionConv(
        CHANNELS, conv.interactions, function, norm=False, gate=None
    ).double()
    plain.load_state_dict(conv.state_dict(), strict=False)
    norm = torch.nn.BatchNorm1d(7, eps=1e-3, momentum=0.3, affine=False)
    norm.double().load_state_dict(conv.norm.state_dict())
    for size in (4, 9):
        x = torch.randn(size, N, CHANNELS, dtype=torch.double)
        torch.testing.assert_close(conv(x), conv.gate * norm(plain(x)))
    assert norm.num_batches_tracked == 2
    torch.testing.assert_close(conv.norm.state_dict(), norm.state_dict())
    conv.eval()
    norm.eval()
    torch.testing.assert_close(conv(x), conv.gate * norm(plain(x)))
    torch.testing.assert_close(conv.norm.state_dict(), norm.state_dict())
    conv.reset_parameters()
    assert (conv.norm.running_mean == 0).all()
    assert (conv.norm.running_var == 1).all()


@all_functions
def test_single_row_uses_running_statistics(function):
    conv = make(function)
    state = copy.deepcopy(conv.norm.state_dict())
    x = nodes_of(1)
    out = check(conv, x, size=1)
    torch.testing.assert_close(conv.norm.state_dict(), state)
    torch.testing.assert_close(conv.eval()(x.view(1, N, -1)), out)


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
    edges = conv.edges(field, row, 2, 3)
    # Each interaction of each row has its members as sources:
    assert edges.tolist() == [
        [0, 1, 1, 2, 3, 4, 4, 5],
        [0, 0, 1, 1, 2, 2, 3, 3],
    ]
    x = torch.randn(6, 8)
    assert conv(x, edges, field).size() == (2, 2)
    for missing in ({}, {'edge_index': edges}, {'field': field}):
        with pytest.raises(ValueError, match="need 'edge_index' and 'field'"):
            conv(x, **missing)
    with pytest.raises(ValueError, match='have none'):
        conv(x.view(2, 3, 8), edges, field)


@pytest.mark.parametrize(
    ('interactions', 'function', 'match'),
    [
        ([(0, 1)], 'matrix', "'function' must be one of inner, outer"),
        ([(0, 1), (0, 1, 2)], 'inner', 'the same number of fields'),
        ([(0,), (1,)], 'inner', 'at least two'),
        ([], 'inner', 'at least two'),
        ([(0, 1), (2, 2)], 'inner', 'repeats a field'),
    ],
)
def test_rejects_what_is_no_interaction(interactions, function, match):
    with pytest.raises(ValueError, match=match):
        InteractionConv(8, interactions, function)


@all_functions
def test_masks_of_edges_scale_messages(function):
    conv = make(function, norm=False, gate=None)
    row, field, _ = layout(SIZE, N)
    edges = conv.edges(field, row, SIZE, N)
    x, mask = nodes_of(SIZE), torch.rand(edges.size(1), dtype=torch.double)
    out = conv(x, edges, field)
    set_masks(conv, mask, edges, apply_sigmoid=False)
    masked = conv(x, edges, field)
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

    def forward(self, x, edge_index, field, size):
        return self.conv(x, edge_index, field, size).sum(1)


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
    edges = model.conv.edges(field, row, 2, N)
    x = torch.randn(2 * N, CHANNELS)
    out = explainer(x, edges, field=field, size=2)
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
        edges = conv.edges(field, row, 16, N)
        expected = conv(x.float())
        inputs = [x, *conv.parameters()]
        grad = torch.randn_like(expected)
        want = torch.autograd.grad(expected, inputs, grad)
        with torch.autocast('cpu', torch.bfloat16):
            outs = conv(x), conv(x.flatten(0, 1), edges, field)
        for out in outs:
            got = torch.autograd.grad(out, inputs, grad.to(out.dtype))
            pairs = zip((out, *got), (expected, *want), strict=True)
            for one, two in pairs:
                assert one.isfinite().all()
                error = (one.float() - two.float()).norm() / two.float().norm()
                assert error < 0.03


def gather_and_multiply(x, weight, tuples):
    product = x[:, torch.tensor(tuples)].prod(dim=2)
    return (product if weight is None else product * weight).sum(2)


@all_orders
@pytest.mark.parametrize('num', [1, 9, 20])
@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize('vectors', [None, 0, 1, 2])
def test_products_of_tuples(order, num, weighted, vectors, monkeypatch):
    if vectors is not None:
        # Room for so many vectors, and always for one:
        chunk = vectors * SIZE * CHANNELS * 8
        monkeypatch.setattr(kernel, '_CPU_CHUNK', chunk)
    tuples = some(combinations(range(7), order), num)
    tuples = [tuple(some(q, order)) for q in tuples]
    # Twice the same one is no problem either:
    tuples.append(tuples[0])
    x = torch.randn(SIZE, 7, CHANNELS, dtype=torch.double, requires_grad=True)
    weight, inputs = None, [x]
    if weighted:
        weight = torch.randn(len(tuples), CHANNELS, dtype=torch.double)
        inputs.append(weight.requires_grad_())
    out = tuple_product(x, weight, plan_tuples(tuples))
    assert_same(gather_and_multiply(x, weight, tuples), [out], inputs)


@all_orders
def test_gradients_of_products(order):
    tuples = some(combinations(range(5), order), 4)
    plan = plan_tuples(tuples)
    x = torch.randn(2, 5, 2, dtype=torch.double, requires_grad=True)
    x.data[0, 1] = 0
    weight = torch.randn(4, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple_product(x, None, plan), x)
    assert torch.autograd.gradcheck(
        lambda x, weight: tuple_product(x, weight, plan), (x, weight)
    )


@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize('size', [0, 4])
def test_products_are_proper_operators(weighted, size):
    plan = plan_tuples([(0, 1, 2), (1, 2, 4), (0, 3, 4), (0, 1, 4)])
    sets = plan.other, plan.shared, plan.ptr, plan.starts
    x, grad = torch.randn(size, 5, 3), torch.randn(4, size)
    weight = torch.randn(4, 3) if weighted else None
    torch.library.opcheck(
        kernel._tuple_product_backward, (grad, x, weight, *sets)
    )
    x.requires_grad_()
    if weighted:
        weight.requires_grad_()
    torch.library.opcheck(kernel._tuple_product, (x, weight, *sets))


@pytest.mark.parametrize('n', [2, 3, 8])
def test_all_pairs_are_grouped_by_their_first_node(n):
    plan = plan_tuples(some(combinations(range(n), 2), comb(n, 2)))
    assert plan.shared == list(range(n - 1))
    # The nodes behind it in one piece, so that nothing is gathered:
    assert plan.starts == list(range(1, n))
    assert plan.ptr[-1] == comb(n, 2)
    for group, begin, end in zip(
        plan.shared, plan.ptr[:-1], plan.ptr[1:], strict=True
    ):
        assert plan.other[begin:end].tolist() == list(range(group + 1, n))


@all_orders
def test_plan_has_every_tuple_once(order):
    tuples = some(combinations(range(8), order), 25)
    plan = plan_tuples(tuples)
    seen = []
    for group, (begin, end) in enumerate(pairwise(plan.ptr)):
        shared = plan.shared[group * (order - 1) : (group + 1) * (order - 1)]
        others = plan.other[begin:end].tolist()
        if plan.starts[group] >= 0:
            start = plan.starts[group]
            assert others == list(range(start, start + len(others)))
        seen += [tuple(sorted([*shared, other])) for other in others]
    assert [seen[i] for i in plan.inverse] == tuples
    assert [tuples[i] for i in plan.permutation] == seen


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor ever made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


@all_orders
@pytest.mark.parametrize('weighted', [True, False])
def test_memory_does_not_grow_with_tuples(order, weighted, monkeypatch):
    buffers = []
    plain = kernel._buffer

    def recorded(x):
        buffers.append(plain(x))
        return buffers[-1]

    monkeypatch.setattr(kernel, '_buffer', recorded)
    size, n, d = 16, 10, 8
    x = torch.randn(size, n, d)
    tuples = list(combinations(range(n), order))
    for num in (1, 20, len(tuples)):
        chosen = some(tuples, num)
        plan = plan_tuples(chosen)
        sets = plan.other, plan.shared, plan.ptr, plan.starts
        weight = torch.randn(num, d) if weighted else None
        grad = torch.randn(num, size)
        with Largest() as largest:
            kernel._tuple_product._init_fn(x, weight, *sets)
            kernel._tuple_product_backward._init_fn(grad, x, weight, *sets)
        assert largest.numel <= max(size * n * d, num * size, num * d)
        assert len(buffers) == 2
        assert {len(b) for b in buffers} == {n}
        buffers.clear()
    # And what fits no cache is held in pieces:
    monkeypatch.setattr(kernel, '_CPU_CHUNK', 3 * size * d * 4)
    tuple_product(x, weight, plan)
    assert [len(b) for b in buffers] == [3]

import pytest
import torch
from loops import assert_same, layout
from loops import randomise as randomise_by

from pyg_featgraph.nn import AttentionEdge, FiGNNConv

pytestmark = pytest.mark.usefixtures('kernels')


def randomise(module):
    return randomise_by(module, 0.7)


def blocks(matrix, size, n):
    """The weights within each row out of those of all pairs of nodes."""
    return torch.stack(
        [matrix[b * n : b * n + n, b * n : b * n + n] for b in range(size)]
    )


def attention_reference(edge, x, row):
    """Eq. 3 entry by entry, with the weights of all pairs of nodes."""
    out = []
    for i in range(len(x)):
        exp = {}
        for j in range(len(x)):
            if j != i and row[i] == row[j]:
                z = torch.cat([edge.att_target, edge.att_source]) @ torch.cat(
                    [x[i], x[j]]
                )
                exp[j] = (z if z > 0 else edge.negative_slope * z).exp()
        total = sum(exp.values())
        zero = x.new_zeros(())
        out.append(
            [exp[j] / total if j in exp else zero for j in range(len(x))]
        )
    return torch.stack([torch.stack(weights) for weights in out])


def gru(conv, a, h):
    """The equations of :class:`torch.nn.GRUCell`."""
    ir, iz, ic = (conv.weight_ih @ a + conv.bias_ih).chunk(3)
    hr, hz, hc = (conv.weight_hh @ h + conv.bias_hh).chunk(3)
    reset = 1 / (1 + (-ir - hr).exp())
    update = 1 / (1 + (-iz - hz).exp())
    candidate = (ic + reset * hc).tanh()
    return (1 - update) * candidate + update * h


def reference(conv, x, row, field, weight=None):
    """Eqs. 4 to 6 node by node, with the weights of all pairs of nodes."""
    h = list(x)
    for t in range(conv.num_layers):
        k = 0 if conv.share_weights else t
        new = []
        for i in range(len(x)):
            a = torch.zeros_like(x[i])
            for j in range(len(x)):
                if row[i] == row[j] and (weight is not None or j != i):
                    w_out = conv.lin_out[k].weight[field[j], 0]
                    w_in = conv.lin_in[k].weight[field[i], 0]
                    message = h[j] @ w_out @ w_in
                    a = a + (1 if weight is None else weight[i, j]) * message
            new.append(gru(conv, a + conv.bias, h[i]) + x[i])
        h = new
    return torch.stack(h)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'num_layers': 1},
        {'num_layers': 3, 'share_weights': True},
    ],
)
def test_matches_the_equations_in_both_layouts(options, weighted):
    conv = randomise(FiGNNConv(3, 4, **options))
    x = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    row, field, edges = layout(3, 4)
    # Every edge counts by its weight, be it negative or of a self loop:
    pairs = torch.randn(12, 12, dtype=torch.double, requires_grad=True)
    weight = pairs if weighted else None
    per_row = blocks(pairs, 3, 4) if weighted else None
    per_edge = pairs[edges[1], edges[0]] if weighted else None

    expected = reference(conv, x, row, field, weight)
    rows = conv(x.view(3, 4, 3), edge_weight=per_row)
    nodes = conv(x, edges, per_edge, field)
    inputs = [x, pairs, *conv.parameters()]
    assert_same(expected, [rows, nodes], inputs)
    count = 1 if conv.share_weights else conv.num_layers
    assert len(conv.lin_out) == len(conv.lin_in) == count


@pytest.mark.parametrize('weighted', [False, True])
def test_matches_the_equations_where_fields_are_absent(weighted):
    conv = randomise(FiGNNConv(3, 4))
    # Rows of three, one, no and four nodes:
    row, field, edges = layout(4, 4, drop={1, 4, 5, 7, 8, 9, 10, 11})
    n = len(row)
    assert torch.bincount(row).tolist() == [3, 1, 0, 4]
    perm = torch.randperm(n)
    row, field = row[perm], field[perm]
    edges = perm.argsort()[edges]
    x = torch.randn(n, 3, dtype=torch.double, requires_grad=True)
    pairs = torch.randn(n, n, dtype=torch.double, requires_grad=True)
    weight = pairs if weighted else None
    per_edge = pairs[edges[1], edges[0]] if weighted else None
    expected = reference(conv, x, row, field, weight)
    nodes = conv(x, edges, per_edge, field)
    assert_same(expected, [nodes], [x, pairs, *conv.parameters()])


@pytest.mark.parametrize('slope', [0.01, 0.3])
def test_attention_matches_the_equation(slope):
    edge = randomise(AttentionEdge(3, slope))
    x = torch.randn(12, 3, dtype=torch.double, requires_grad=True)
    inputs = [x, *edge.parameters()]
    row, _, edges = layout(3, 4)
    expected = attention_reference(edge, x, row)
    rows = torch.block_diag(*edge(x.view(3, 4, 3)))
    nodes = torch.zeros_like(expected)
    nodes = nodes.index_put((edges[1], edges[0]), edge(x, edges))
    assert_same(expected, [rows, nodes], inputs)

    # Rows of three and five nodes, and edges in any order:
    row, _, edges = layout(2, 6, drop={1, 2, 5, 9})
    edges = edges[:, torch.randperm(edges.size(1))]
    x = torch.randn(8, 3, dtype=torch.double, requires_grad=True)
    expected = attention_reference(edge, x, row)
    nodes = torch.zeros_like(expected)
    nodes = nodes.index_put((edges[1], edges[0]), edge(x, edges))
    assert_same(expected, [nodes], [x, *edge.parameters()])


def test_attention_is_a_distribution_over_the_others():
    edge = randomise(AttentionEdge(5))
    for scale in (1, 1e3):
        x = scale * torch.randn(6, 7, 5, dtype=torch.double)
        weight = edge(x)
        assert (weight >= 0).all()
        torch.testing.assert_close(
            weight.sum(2), torch.ones(6, 7, dtype=torch.double)
        )
        assert (weight.diagonal(dim1=1, dim2=2) == 0).all()
    perm = torch.randperm(7)
    torch.testing.assert_close(edge(x[:, perm]), edge(x)[:, perm][:, :, perm])
    torch.testing.assert_close(edge(x[2:3]), edge(x)[2:3])
    assert str(edge) == 'AttentionEdge(5)'


def test_a_single_node_receives_nothing():
    edge, conv = randomise(AttentionEdge(3)), randomise(FiGNNConv(3, 1))
    x = torch.randn(4, 3, dtype=torch.double, requires_grad=True)
    row, field, loops = layout(4, 1)
    inputs = [x, *edge.parameters()]
    for weight in (edge(x.view(4, 1, 3)), edge(x, loops)):
        assert (weight == 0).all()
        for grad in torch.autograd.grad(weight.sum(), inputs):
            assert (grad == 0).all()
    assert edge(x, loops[:, :0]).size() == (0,)
    # The bias is all that goes into the GRU:
    assert_same(
        reference(conv, x, row, field),
        [
            conv(x.view(4, 1, 3), edge_weight=edge(x.view(4, 1, 3))),
            conv(x.view(4, 1, 3)),
            conv(x, loops, edge(x, loops), field),
            conv(x, loops[:, :0], field=field),
        ],
        [x, *conv.parameters()],
    )


@pytest.mark.parametrize('share_weights', [False, True])
def test_no_steps(share_weights):
    conv = FiGNNConv(3, 4, num_layers=0, share_weights=share_weights)
    x = torch.randn(2, 4, 3)
    _, field, edges = layout(2, 4)
    assert torch.equal(conv(x), x)
    assert torch.equal(conv(x.view(8, 3), edges, field=field), x.view(8, 3))
    assert len(conv.lin_in) == len(conv.lin_out) == 0


@pytest.mark.parametrize('steps', [1, 2, 5])
def test_closed_update_gate_adds_the_first_state(steps):
    conv = randomise(FiGNNConv(3, 4, steps))
    # One, so that the GRU keeps its state:
    conv.bias_ih.data[3:6] = 1e4
    x = torch.randn(2, 4, 3, dtype=torch.double)
    torch.testing.assert_close(conv(x), steps * x + x)


def test_uniform_edges_with_identities_sum_up_the_others():
    conv = randomise(FiGNNConv(3, 4, 1))
    for lin in (*conv.lin_out, *conv.lin_in):
        lin.weight.data.copy_(torch.eye(3))
    x = torch.randn(2, 4, 3, dtype=torch.double)
    _, field, edges = layout(2, 4)
    others = torch.ones(4, 4, dtype=torch.double) - torch.eye(4)
    a = x.sum(1, keepdim=True) - x + conv.bias
    expected = torch.gru_cell(a.view(8, 3), x.view(8, 3), *conv._gru)
    for out in (
        conv(x),
        conv(x.view(8, 3), edges, field=field),
        conv(x, edge_weight=others.expand(2, 4, 4)),
        conv(x, edge_weight=others),
    ):
        torch.testing.assert_close(out.reshape(8, 3), expected + x.view(8, 3))


def test_equivariance_if_the_weights_move_along():
    conv = randomise(FiGNNConv(3, 5))
    edge = randomise(AttentionEdge(3))
    x = torch.randn(4, 5, 3, dtype=torch.double)
    out, plain = conv(x, edge_weight=edge(x)), conv(x)
    torch.testing.assert_close(conv(x[1:3]), plain[1:3])
    perm = torch.tensor([2, 0, 3, 4, 1])
    moved = x[:, perm]
    assert (conv(moved) - plain[:, perm]).abs().max() > 0.01
    for lin in (*conv.lin_out, *conv.lin_in):
        lin.weight.data = lin.weight.data[perm]
    torch.testing.assert_close(conv(moved), plain[:, perm])
    torch.testing.assert_close(
        conv(moved, edge_weight=edge(moved)), out[:, perm]
    )


def test_fields_with_transformations_of_their_own():
    conv = FiGNNConv(8, 5, num_layers=3)
    assert str(conv) == 'FiGNNConv(8, num_fields=5, num_layers=3)'
    assert (conv.bias == 0).all()
    _, _, edges = layout(2, 5)
    with pytest.raises(ValueError, match="'field' is required"):
        conv(torch.randn(10, 8), edges)
    with pytest.raises(ValueError, match="'field' is required"):
        conv(torch.randn(2, 4, 8))

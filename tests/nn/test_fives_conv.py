import pytest
import torch
import torch.nn.functional as F
from loops import assert_same, layout
from loops import randomise as randomise_by

from pyg_featgraph.nn import FIVES, AdjacencyTensor, FIVESConv

pytestmark = pytest.mark.usefixtures('kernels')


def randomise(module, std=0.7):
    return randomise_by(module, std)


def reference(conv, e, x, adj, edges, field):
    """Eq. 2 node by node."""
    out = []
    for i in range(len(x)):
        sources = edges[0][edges[1] == i].tolist()
        weight = {j: adj[field[i], field[j]] for j in sources}
        p = torch.zeros_like(x[i])
        z = sum(weight.values()) if conv.normalize else 1
        if any(w > 0 for w in weight.values()):
            for j in sources:
                message = e[j] @ conv.lin.weight[field[j], 0]
                p = p + weight[j] / z * message
        out.append(p * x[i])
    return torch.stack(out)


def random_adjacency(n, zeros=0.0):
    adj = torch.rand(n, n, dtype=torch.double)
    adj[torch.rand(n, n) < zeros] = 0
    adj.fill_diagonal_(0.3)
    return adj.requires_grad_()


@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('n', [1, 4])
@pytest.mark.parametrize('zeros', [0.0, 0.4])
def test_matches_the_equations_in_both_layouts(normalize, n, zeros):
    conv = randomise(FIVESConv(3, n, normalize=normalize))
    e, x = torch.randn(2, 3 * n, 3, dtype=torch.double)
    e.requires_grad_()
    x.requires_grad_()
    adj = random_adjacency(n, zeros)
    _, field, edges = layout(3, n)
    expected = reference(conv, e, x, adj, edges, field)
    rows = conv((e.view(3, n, 3), x.view(3, n, 3)), edge_weight=adj)
    perm = torch.randperm(3 * n)
    index = perm.argsort()[edges]
    weight = adj[field[edges[1]], field[edges[0]]]
    nodes = conv((e[perm], x[perm]), index, weight, field[perm])
    others = [rows, nodes[perm.argsort()]]
    assert_same(expected, others, [e, x, adj, *conv.parameters()])


@pytest.mark.parametrize('normalize', [True, False])
def test_matches_the_equations_where_fields_are_absent(normalize):
    conv = randomise(FIVESConv(3, 4, normalize=normalize))
    # Rows of three, one, no and four nodes; then some of the edges only:
    row, field, edges = layout(4, 4, drop={1, 4, 5, 7, 8, 9, 10, 11})
    assert torch.bincount(row).tolist() == [3, 1, 0, 4]
    e, x = torch.randn(2, len(row), 3, dtype=torch.double)
    e.requires_grad_()
    x.requires_grad_()
    adj = random_adjacency(4)
    few = edges[:, (edges[0] != edges[1]) & (edges[1] != 5)]
    for edge_index in (edges, few):
        expected = reference(conv, e, x, adj, edge_index, field)
        weight = adj[field[edge_index[1]], field[edge_index[0]]]
        nodes = conv((e, x), edge_index, weight, field)
        assert_same(expected, [nodes], [e, x, adj, *conv.parameters()])
    # Alone in its row, and without edges in a row of four:
    assert (nodes[[3, 5]] == 0).all()
    assert (nodes[[0, 1, 2, 4, 6, 7]] != 0).all()


@pytest.mark.parametrize('normalize', [True, False])
def test_fields_without_edges_become_zero(normalize):
    conv = randomise(FIVESConv(3, 4, normalize=normalize))
    x = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True)
    adj = torch.ones(4, 4, dtype=torch.double)
    adj[2] = 0
    adj.requires_grad_()
    _, field, edges = layout(2, 4)
    flat = x.flatten(0, 1)
    weight = adj[field[edges[1]], field[edges[0]]]
    for out in (
        conv((x, x), edge_weight=adj),
        conv((flat, flat), edges, weight, field).view_as(x),
    ):
        assert (out[:, 2] == 0).all()
        assert (out[:, [0, 1, 3]] != 0).all()
        inputs = [x, adj, *conv.parameters()]
        for grad in torch.autograd.grad(out.square().sum(), inputs):
            assert grad.isfinite().all()


def test_all_edges_with_identities_multiply_by_the_mean():
    e, x = torch.randn(2, 5, 4, 3, dtype=torch.double)
    _, field, edges = layout(5, 4)
    ones = torch.ones(4, 4, dtype=torch.double)
    for normalize, share in ((True, 1 / 4), (False, 1)):
        conv = FIVESConv(3, 4, normalize=normalize).double()
        conv.lin.weight.data.copy_(torch.eye(3))
        expected = x * e.sum(1, keepdim=True) * share
        torch.testing.assert_close(conv((e, x), edge_weight=ones), expected)
        torch.testing.assert_close(conv((e, x)), expected)
        nodes = conv((e.flatten(0, 1), x.flatten(0, 1)), edges, field=field)
        torch.testing.assert_close(nodes, expected.flatten(0, 1))


def test_invariants():
    e, x = torch.randn(2, 5, 4, 3, dtype=torch.double)
    adj, perm = random_adjacency(4), torch.tensor([2, 3, 1, 0])
    for normalize in (True, False):
        conv = randomise(FIVESConv(3, 4, normalize=normalize))
        out = conv((e, x), edge_weight=adj)
        torch.testing.assert_close(
            conv((e[1:3], x[1:3]), edge_weight=adj), out[1:3]
        )
        torch.testing.assert_close(
            conv((2 * e, 3 * x), edge_weight=adj), 6 * out
        )
        # Dividing by the sum takes the size of a row away:
        factor = 1 if normalize else 0.1
        torch.testing.assert_close(
            conv((e, x), edge_weight=0.1 * adj), factor * out
        )
        moved = (e[:, perm], x[:, perm]), None, adj[perm][:, perm]
        assert (conv(*moved) - out[:, perm]).abs().max() > 0.01
        conv.lin.weight.data = conv.lin.weight.data[perm]
        torch.testing.assert_close(conv(*moved), out[:, perm])


def test_needs_fields_for_transformations_of_their_own():
    conv = FIVESConv(8, 5)
    assert str(conv) == 'FIVESConv(8, num_fields=5)'
    _, field, edges = layout(2, 5)
    x = (torch.randn(10, 8), torch.randn(10, 8))
    assert conv(x, edges, field=field).size() == (10, 8)
    with pytest.raises(ValueError, match="'field' is required"):
        conv(x, edges)
    edge = AdjacencyTensor(5)
    with pytest.raises(ValueError, match="'field' is required"):
        FIVESConv(8, None, edge)(x, edges)
    with pytest.raises(ValueError, match='edges for 5 fields'):
        FIVESConv(8, None, edge)(torch.randn(2, 4, 8))


def test_sources_that_are_transformed_already():
    conv, plain = FIVESConv(3, 4), FIVESConv(3, 4, transform=False)
    assert list(plain.parameters()) == []
    assert plain.channels == 3
    x, weight = torch.randn(2, 4, 3), torch.rand(4, 4)
    out = plain((conv.lin(x), x), edge_weight=weight)
    torch.testing.assert_close(out, conv(x, edge_weight=weight))
    assert (out - plain(x, edge_weight=weight)).abs().max() > 0.01


def test_gradients_stay_finite_where_a_row_vanishes():
    adjacency, conv = AdjacencyTensor(3), FIVESConv(4, 3)
    adjacency.tau.fill_(0.02)
    x = torch.randn(64, 3, 4)
    # On the way from plain weights to weights that are zero:
    for logit in (-1.6, -1.65, -1.7, -1.75, -1.77, -1.8, -2):
        adjacency.weight.data.fill_(logit)
        out = conv((x, x), edge_weight=adjacency(x))
        assert out.isfinite().all()
        (grad,) = torch.autograd.grad(out.square().sum(), adjacency.weight)
        assert grad.isfinite().all(), logit


@pytest.mark.parametrize('recursive', [True, False])
@pytest.mark.parametrize('mode', ['soft', 'straight_through'])
@pytest.mark.parametrize('normalize', [True, False])
def test_heads_reach_the_edges_of_their_layers(
    recursive, mode, normalize, table
):
    model = FIVES(
        table.info, 4, 4, recursive=recursive, mode=mode, normalize=normalize
    )
    weight = randomise(model).adjacency.weight
    weight.data.mul_(0.5)
    batch = table[:32]
    batch.slot_value = batch.slot_value.double()
    logits = model.order_logits(batch)
    assert logits.size() == (4, 32)
    for k in range(4):
        loss = F.binary_cross_entropy_with_logits(logits[k], batch.y.double())
        (grad,) = torch.autograd.grad(
            loss, weight, retain_graph=True, materialize_grads=True
        )
        # Order k + 1 is made along the edges of the first k layers:
        for layer in range(3):
            assert (grad[layer] != 0).any() == (layer < k)


def test_hard_edges_take_no_gradient(table):
    model = FIVES(table.info, 4, mode='hard')
    model.loss(table[:32]).backward()
    assert model.adjacency.weight.grad is None
    assert all(p.grad is not None for p in model.message.parameters())


def test_loss_and_prediction_are_means_over_the_heads(table):
    model = randomise(FIVES(table.info, 4)).float()
    batch = table[:8]
    logits, y = model.order_logits(batch), batch.y
    assert logits.size() == (3, 8)
    p = logits.sigmoid()
    total = 0.0
    for b in range(8):
        for k in range(3):
            total -= (p[k, b] if y[b] == 1 else 1 - p[k, b]).log() / 24
    torch.testing.assert_close(model.loss(batch), total)
    torch.testing.assert_close(model(batch).sigmoid(), p.mean(0))

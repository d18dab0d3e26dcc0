import pytest
import torch
from loops import assert_same, randomise

from pyg_featgraph.nn import SelfAttentionConv

pytestmark = pytest.mark.usefixtures('kernels')


def complete(row):
    """All edges within the rows, including self loops."""
    nodes = range(len(row))
    edges = [(j, i) for i in nodes for j in nodes if row[i] == row[j]]
    return torch.tensor(edges).t()


def reference(conv, x, edges):
    """Eqs. 5 to 8 node by node and head by head."""
    size = conv.out_channels
    sources = [[] for _ in x]
    for j, i in edges.t().tolist():
        sources[i].append(j)
    nodes = []
    for i in range(len(x)):
        heads = []
        for h in range(conv.heads):
            query, key, value = (
                lin.weight[h * size : (h + 1) * size]
                for lin in (conv.lin_query, conv.lin_key, conv.lin_value)
            )
            exp = [
                ((query @ x[i]) @ (key @ x[j]) / size**0.5).exp()
                for j in sources[i]
            ]
            out = x.new_zeros(size)
            for j, e in zip(sources[i], exp, strict=True):
                out = out + e / sum(exp) * (value @ x[j])
            heads.append(out)
        nodes.append((torch.cat(heads) + conv.lin_res.weight @ x[i]).relu())
    return torch.stack(nodes)


@pytest.mark.parametrize('n', [1, 4])
@pytest.mark.parametrize('heads', [1, 2])
def test_matches_the_equations_in_both_layouts(n, heads):
    conv = randomise(SelfAttentionConv(3, 2, heads))
    x = torch.randn(3 * n, 3, dtype=torch.double, requires_grad=True)
    edges = complete(torch.arange(3).repeat_interleave(n))
    expected = reference(conv, x, edges)
    rows, nodes = conv(x.view(3, n, 3)), conv(x, edges)
    assert rows.size() == (3, n, 2 * heads)
    inputs = [x, *conv.parameters()]
    assert_same(expected, [rows, nodes], inputs)


def test_matches_the_equations_in_ragged_and_sparse_graphs():
    conv = randomise(SelfAttentionConv(3, 2, 2))
    x = torch.randn(9, 3, dtype=torch.double, requires_grad=True)
    # Rows of one, three and five nodes, which are not next to each other:
    row = torch.tensor([2, 1, 2, 0, 2, 1, 1, 2, 2])
    edges = complete(row)
    few = edges[:, torch.rand(edges.size(1)) < 0.5]
    few = few[:, few[1] != 4]  # A node without any neighbour.
    for edge_index in (edges, few):
        expected = reference(conv, x, edge_index)
        # Weights from elsewhere, so that no self loops are added:
        nodes = conv(x, edge_index, x.new_ones(edge_index.size(1)))
        assert_same(expected, [nodes], [x, *conv.parameters()])
    torch.testing.assert_close(nodes[4], conv.lin_res(x[4]).relu())


def test_reset_draws_new_weights():
    conv = SelfAttentionConv(8, 4, heads=2)
    assert str(conv) == 'SelfAttentionConv(8, 4, heads=2)'
    before = [p.clone() for p in conv.parameters()]
    assert len(before) == 4
    conv.reset_parameters()
    for one, two in zip(before, conv.parameters(), strict=True):
        assert (one != two).all()


def test_invariants():
    conv = randomise(SelfAttentionConv(6, 4, 2))
    x = torch.randn(5, 7, 6, dtype=torch.double)
    out = conv(x)
    perm = torch.randperm(7)
    torch.testing.assert_close(conv(x[:, perm]), out[:, perm])
    torch.testing.assert_close(conv(x[1:3]), out[1:3])
    assert (out >= 0).all()
    assert out.max() > 0

    # Equal nodes share their attention equally, whatever their size:
    same = 1e3 * x[:, :1].expand(5, 7, 6)
    expected = (conv.lin_value(same) + conv.lin_res(same)).relu()
    torch.testing.assert_close(conv(same), expected)

    # Without keys all nodes count the same:
    conv.lin_key.weight.data.zero_()
    mean = conv.lin_value(x).mean(1, keepdim=True)
    torch.testing.assert_close(conv(x), (mean + conv.lin_res(x)).relu())


def test_extreme_logits_stay_finite():
    conv = randomise(SelfAttentionConv(3, 2, 2)).float()
    x = 1e4 * torch.randn(2, 4, 3)
    x.requires_grad_()
    edges = complete(torch.arange(2).repeat_interleave(4))
    rows, nodes = conv(x), conv(x.flatten(0, 1), edges)
    torch.testing.assert_close(nodes.view_as(rows), rows)
    for out in (rows, nodes):
        grads = torch.autograd.grad(out.sum(), [x, *conv.parameters()])
        assert out.isfinite().all()
        assert all(grad.isfinite().all() for grad in grads)

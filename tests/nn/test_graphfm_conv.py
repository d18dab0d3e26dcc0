import pytest
import torch
from torch_geometric.testing import assert_module
from torch_geometric.utils import softmax, to_torch_csc_tensor

from pyg_featgraph.nn import FieldLinear, GraphFMConv, HadamardScore, TopM


def complete(num_rows, n, self_loops=True):
    edges = [
        (b * n + j, b * n + i)
        for b in range(num_rows)
        for i in range(n)
        for j in range(n)
        if self_loops or i != j
    ]
    return torch.tensor(edges).t()


def randomise(module):
    module.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def leaky(z, slope):
    return z if z > 0 else slope * z


def reference(conv, x, mask=None):
    """The equations, entry by entry, on rows [B, n, d]."""
    size, n, _ = x.shape
    rows = []
    for b in range(size):
        nodes = []
        for i in range(n):
            candidates = [
                j for j in range(n) if mask is None or bool(mask[i, j])
            ]
            v = {j: x[b, i] * x[b, j] for j in candidates}
            p = {}
            for j in candidates:
                hidden = (conv.score.weight @ v[j] + conv.score.bias).relu()
                z = hidden @ conv.score.att + conv.score.att_bias[0]
                p[j] = 1 / (1 + (-z).exp())
            ranked = sorted(candidates, key=lambda j: (-p[j].item(), j))
            kept = ranked[: conv.m]
            heads = []
            for h in range(conv.heads):
                if conv.variant == 'paper':
                    exp = {
                        j: leaky(conv.att[h] @ v[j], 0.2).exp() for j in kept
                    }
                    total = sum(exp.values()) if exp else 1
                    weight = {
                        j: exp[j] / total * (p[j] if conv.use_score else 1)
                        for j in kept
                    }
                else:
                    exp = {}
                    for j in candidates:
                        c = (conv.att[h] @ v[j] + conv.att_bias[h]).relu()
                        s = p[j] if conv.use_score else 1.0
                        exp[j] = (c * s * (j in kept)).exp()
                    total = sum(exp.values()) if exp else 1
                    weight = {j: exp[j] / total for j in candidates}
                summed = sum(
                    (weight[j] * v[j] for j in weight),
                    torch.zeros_like(x[0, 0]),
                )
                f = 0 if conv.num_fields is None else i
                heads.append(summed @ conv.lin.weight[f, h])
            out = torch.cat(heads) if conv.concat else sum(heads) / conv.heads
            if conv.res is not None:
                f = 0 if conv.num_fields is None else i
                res = x[b, i] @ conv.res.weight[f, 0] + conv.res.bias[f, 0]
                out = out + res.relu()
            out = out.relu()
            if conv.norm_weight is not None:
                mean = out.mean()
                var = ((out - mean) ** 2).mean()
                out = (out - mean) / (var + 1e-8).sqrt()
                f = ... if conv.num_fields is None else i
                out = out * conv.norm_weight[f] + conv.norm_bias[f]
            nodes.append(out)
        rows.append(torch.stack(nodes))
    return torch.stack(rows)


@pytest.mark.parametrize('variant', ['paper', 'reference'])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'heads': 2},
        {'heads': 2, 'concat': False, 'use_score': False},
        {'heads': 2, 'residual': True, 'norm': True},
        {'heads': 2, 'num_fields': 4, 'residual': True, 'norm': True},
        {'add_self_loops': False, 'heads': 2},
    ],
)
@pytest.mark.parametrize('m', [1, 2, 9])
def test_matches_the_equations_in_both_layouts(variant, options, m):
    conv = randomise(GraphFMConv(3, 2, m, variant=variant, **options))
    x = torch.randn(3, 4, 3, dtype=torch.double, requires_grad=True)
    mask = None if conv.add_self_loops else ~torch.eye(4, dtype=torch.bool)
    edges = complete(3, 4, self_loops=conv.add_self_loops)
    field = torch.arange(4).repeat(3)

    expected = reference(conv, x, mask)
    rows = conv(x)
    nodes = conv(x.flatten(0, 1), edges, field)
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(nodes, expected.flatten(0, 1))

    grad = torch.randn_like(expected)
    inputs = [x, *conv.parameters()]
    grads = [
        torch.autograd.grad(out, inputs, grad.view_as(out), allow_unused=True)
        for out in (expected, rows, nodes)
    ]
    for want, *got in zip(*grads, strict=True):
        for g in got:
            if want is None or g is None:
                # Unused here, so at most a zero elsewhere:
                other = g if want is None else want
                assert other is None or other.abs().max() == 0
            else:
                torch.testing.assert_close(g, want)


@pytest.mark.parametrize('variant', ['paper', 'reference'])
def test_shared_mask(variant):
    conv = randomise(GraphFMConv(3, 2, 2, variant=variant))
    conv.add_self_loops = False
    x = torch.randn(2, 4, 3, dtype=torch.double)
    mask = torch.rand(4, 4) < 0.6
    mask[2] = False  # A node without any neighbour.
    edges = torch.tensor(
        [
            (4 * b + j, 4 * b + i)
            for b in range(2)
            for i in range(4)
            for j in range(4)
            if mask[i, j]
        ]
    ).t()
    expected = reference(conv, x, mask)
    torch.testing.assert_close(conv(x, mask), expected)
    torch.testing.assert_close(
        conv(x.flatten(0, 1), edges), expected.flatten(0, 1)
    )
    assert (conv(x, mask)[:, 2] == 0).all()
    with pytest.raises(ValueError, match=r'boolean mask of shape \[4, 4\]'):
        conv(x, edges)


@pytest.mark.parametrize('variant', ['paper', 'reference'])
def test_is_a_pyg_operator(variant):
    conv = GraphFMConv(8, 4, 3, heads=2, variant=variant)
    assert str(conv) == (
        f"GraphFMConv(8, 4, m=3, heads=2, variant='{variant}')"
    )
    x, edges = torch.randn(10, 8), complete(2, 5, self_loops=False)
    out = assert_module(conv, x, edges, expected_size=(10, 8), atol=1e-5)
    adj = to_torch_csc_tensor(edges, size=(10, 10))
    torch.testing.assert_close(conv(x, adj.t()), out)
    with pytest.raises(ValueError, match="'edge_index' is required"):
        conv(x)
    with pytest.raises(ValueError, match="'variant' must be"):
        GraphFMConv(8, 4, 3, variant='other')


def test_attention_weights():
    x = torch.randn(2, 5, 8)
    conv = GraphFMConv(8, 4, 2, heads=3, use_score=False)
    out, (edges, alpha) = conv(x, return_attention_weights=True)
    assert edges is None
    assert alpha.size() == (2, 5, 5, 3)
    torch.testing.assert_close(out, conv(x))
    torch.testing.assert_close(alpha.sum(2), torch.ones(2, 5, 3))
    assert ((alpha > 0).sum(2) == 2).all()

    assert isinstance(conv(x, return_attention_weights=False), torch.Tensor)
    out, (edges, alpha2) = conv(
        x.flatten(0, 1), complete(2, 5), return_attention_weights=True
    )
    assert alpha2.size() == (edges.size(1), 3)
    dense = torch.zeros(10, 5, 3)
    dense[edges[1], edges[0] % 5] = alpha2
    torch.testing.assert_close(dense.view(2, 5, 5, 3), alpha)


def test_invariants():
    conv = randomise(GraphFMConv(6, 4, 3, heads=2))
    x = torch.randn(4, 7, 6, dtype=torch.double)
    p = conv.score(x)
    torch.testing.assert_close(p, p.mT)
    assert ((p > 0) & (p < 1)).all()
    assert (conv.edge_weight(x) > 0).sum(2).eq(3).all()

    perm = torch.randperm(7)
    torch.testing.assert_close(conv(x[:, perm]), conv(x)[:, perm])
    torch.testing.assert_close(conv(x)[:2], conv(x[:2]))
    x[:, 3] = 0
    assert (conv(x)[:, 3] == 0).all()

    every = randomise(GraphFMConv(6, 4, 7))
    beyond = GraphFMConv(6, 4, 99).double()
    beyond.load_state_dict(every.state_dict())
    torch.testing.assert_close(every(x), beyond(x))

    # Frozen weights make the layer homogeneous of degree two; with a single
    # neighbour the attention is constant and only the score can change:
    single = randomise(GraphFMConv(6, 4, 1, use_score=False))
    for parameter in single.score.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(single(2 * x), 4 * single(x))


def test_gradient_reaches_the_selector():
    for variant in ('paper', 'reference'):
        conv = GraphFMConv(6, 4, 3, variant=variant)
        conv(torch.randn(8, 7, 6)).square().sum().backward()
        assert conv.score.weight.grad.abs().max() > 0


def test_dropout_is_the_same_op_in_training():
    conv = randomise(GraphFMConv(6, 4, 3, heads=2, dropout=0.5))
    x = torch.randn(3, 7, 6, dtype=torch.double, requires_grad=True)
    torch.manual_seed(3)
    out, (_, alpha) = conv(x, return_attention_weights=True)
    # The weights that are reported are those that were used:
    v = x.unsqueeze(2) * x.unsqueeze(1)
    summed = torch.einsum('bijh,bijd->bihd', alpha, v)
    torch.testing.assert_close(out, conv.lin(summed).flatten(-2).relu())
    grad = torch.autograd.grad(out.sum(), x)[0]
    torch.manual_seed(3)
    x2 = x.detach().clone().requires_grad_()
    _, (_, alpha2) = conv(x2, return_attention_weights=True)
    summed = torch.einsum(
        'bijh,bijd->bihd', alpha2, x2.unsqueeze(2) * x2.unsqueeze(1)
    )
    plain = conv.lin(summed).flatten(-2).relu()
    torch.testing.assert_close(torch.autograd.grad(plain.sum(), x2)[0], grad)
    conv.eval()
    torch.testing.assert_close(conv(x), conv(x))


def test_top_m_ties_go_to_the_lowest_index():
    score = torch.tensor([[[0.5, 0.9, 0.5, 0.5]]]).expand(1, 4, 4)
    keep = TopM(2)(score)
    assert keep[0, 0].tolist() == [True, True, False, False]
    assert TopM(2, ties='all')(score)[0, 0].all()
    edges = complete(1, 4)
    perm = torch.randperm(16)
    flat = score.flatten()
    for ties in ('lowest', 'all'):
        select = TopM(2, ties)
        torch.testing.assert_close(select(flat, edges), select(score).flatten())
        torch.testing.assert_close(
            select(flat[perm], edges[:, perm]), select(score).flatten()[perm]
        )
    for wrong in ({'m': 0}, {'m': 1, 'ties': 'none'}):
        with pytest.raises(ValueError, match='must be'):
            TopM(**wrong)


def test_top_m_on_random_scores_with_many_ties():
    score = torch.randint(0, 4, (50, 6, 6)).float()
    for m in range(1, 8):
        keep = TopM(m)(score)
        order = score.sort(dim=-1, descending=True, stable=True).indices
        expected = torch.zeros_like(keep).scatter_(-1, order[..., :m], True)
        assert torch.equal(keep, expected)


def test_hadamard_score_layouts():
    score = randomise(HadamardScore(5))
    for n in (1, 2, 5, 6):
        x = torch.randn(3, n, 5, dtype=torch.double)
        flat = score(x.flatten(0, 1), complete(3, n))
        torch.testing.assert_close(score(x).flatten(), flat)
    assert str(score) == 'HadamardScore(5, 16)'


def test_field_linear():
    lin = randomise(FieldLinear(3, 2, num_fields=4))
    x = torch.randn(2, 4, 3, dtype=torch.double)
    field = torch.arange(4).repeat(2)
    perm = torch.randperm(8)
    out = lin(x).flatten(0, 1)
    got = lin(x.flatten(0, 1)[perm], field[perm])
    torch.testing.assert_close(got, out[perm])
    with pytest.raises(ValueError, match="'field' is required"):
        lin(x.flatten(0, 1))


def test_weights_sum_to_one_in_a_large_graph_of_ragged_rows():
    conv = GraphFMConv(4, 4, 2, use_score=False)
    edges = torch.cat([complete(1, 3), complete(1, 5) + 3], dim=1)
    _, (edges, alpha) = conv(
        torch.randn(8, 4), edges, return_attention_weights=True
    )
    total = torch.zeros(8, 1).index_add(0, edges[1], alpha)
    torch.testing.assert_close(total, torch.ones(8, 1))
    uniform = softmax(torch.zeros_like(alpha), edges[1])
    assert (alpha - uniform).abs().max() > 0.1

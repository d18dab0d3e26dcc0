import pytest
import torch
from loops import assert_same, layout, randn, randomise
from torch_geometric.utils import softmax

from pyg_featgraph.nn import GraphFMConv, HadamardScore, TopM

pytestmark = pytest.mark.usefixtures('kernels')


def leaky(z, slope):
    return z if z > 0 else slope * z


def make_edge(m, channels=3, use_score=True, **options):
    return TopM(HadamardScore(channels, **options), m, binary=not use_score)


def scores_by_loops(score, x, candidates):
    """Eqs. 6 and 7 for one row: the scores of the pairs (i, j)."""
    out = {}
    for i, j in candidates:
        hidden = (score.weight @ (x[i] * x[j]) + score.bias).relu()
        z = hidden @ score.att + score.att_bias[0]
        out[i, j] = 1 / (1 + (-z).exp())
    return out


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
            p = scores_by_loops(
                conv.edge.edge, x[b], [(i, j) for j in candidates]
            )
            p = {j: p[i, j] for j in candidates}
            ranked = sorted(candidates, key=lambda j: (-p[j].item(), j))
            kept = ranked[: conv.edge.m]
            if conv.edge.binary:
                p = dict.fromkeys(candidates, 1.0)
            heads = []
            for h in range(conv.heads):
                if conv.variant == 'paper':
                    exp = {
                        j: leaky(conv.att[h] @ v[j], 0.2).exp() for j in kept
                    }
                    total = sum(exp.values()) if exp else 1
                    weight = {j: exp[j] / total * p[j] for j in kept}
                else:
                    exp = {}
                    for j in candidates:
                        c = (conv.att[h] @ v[j] + conv.att_bias[h]).relu()
                        exp[j] = (c * p[j] * (j in kept)).exp()
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
        {'self_loops': False, 'heads': 2},
    ],
)
@pytest.mark.parametrize('m', [1, 2, 9])
def test_matches_the_equations_in_both_layouts(variant, options, m):
    names = {'use_score', 'self_loops'} & options.keys()
    edge = make_edge(m, **{k: options[k] for k in names})
    options = {k: v for k, v in options.items() if k not in names}
    conv = randomise(GraphFMConv(3, 2, edge, variant=variant, **options))
    x = randn(3, 4, 3)
    mask = None if edge.self_loops else ~torch.eye(4, dtype=torch.bool)
    _, field, edges = layout(3, 4)
    edges = edges[:, edges[0] != edges[1]]

    expected = reference(conv, x, mask)
    rows = conv(x)
    nodes = conv(x.flatten(0, 1), edges, field=field)
    inputs = [x, *conv.parameters()]
    assert_same(expected, [rows, nodes], inputs)


def test_some_edges_of_a_graph():
    # Which of them are there tells who can be selected, in either form:
    x = randn(2, 4, 3)
    mask = torch.rand(4, 4) < 0.6
    mask[2] = False  # A node without any neighbour.
    _, _, edges = layout(2, 4)
    mask.fill_diagonal_(False)
    few = edges[:, mask[edges[1] % 4, edges[0] % 4]]
    for variant in ('paper', 'reference'):
        conv = randomise(
            GraphFMConv(3, 2, make_edge(2, self_loops=False), variant=variant)
        )
        expected = reference(conv, x, mask).flatten(0, 1)
        out = conv(x.flatten(0, 1), few)
        assert_same(expected, [out], [x, *conv.parameters()])
        assert (out.view(2, 4, 2)[:, 2] == 0).all()


def test_arguments():
    for variant in ('paper', 'reference'):
        conv = GraphFMConv(8, 4, make_edge(3, 8), heads=2, variant=variant)
        assert str(conv) == f"GraphFMConv(8, 4, heads=2, variant='{variant}')"
    with pytest.raises(ValueError, match="'variant' must be"):
        GraphFMConv(8, 4, variant='other')


def test_attention_weights():
    x = torch.randn(2, 5, 8)
    conv = GraphFMConv(8, 4, make_edge(2, 8, use_score=False), heads=3)
    out, (edges, alpha) = conv(x, return_attention_weights=True)
    assert edges is None
    assert alpha.size() == (2, 5, 5, 3)
    torch.testing.assert_close(out, conv(x))
    torch.testing.assert_close(alpha.sum(2), torch.ones(2, 5, 3))
    assert ((alpha > 0).sum(2) == 2).all()

    assert isinstance(conv(x, return_attention_weights=False), torch.Tensor)
    out, (edges, alpha2) = conv(
        x.flatten(0, 1), layout(2, 5)[2], return_attention_weights=True
    )
    assert alpha2.size() == (edges.size(1), 3)
    dense = torch.zeros(10, 5, 3)
    dense[edges[1], edges[0] % 5] = alpha2
    torch.testing.assert_close(dense.view(2, 5, 5, 3), alpha)


def test_invariants():
    conv = randomise(GraphFMConv(6, 4, make_edge(3, 6), heads=2))
    x = torch.randn(4, 7, 6, dtype=torch.double)
    p = conv.edge.edge(x)
    torch.testing.assert_close(p, p.mT)
    assert ((p > 0) & (p < 1)).all()
    assert (conv.edge(x) > 0).sum(2).eq(3).all()

    perm = torch.randperm(7)
    torch.testing.assert_close(conv(x[:, perm]), conv(x)[:, perm])
    torch.testing.assert_close(conv(x)[:2], conv(x[:2]))
    x[:, 3] = 0
    assert (conv(x)[:, 3] == 0).all()

    every = randomise(GraphFMConv(6, 4, make_edge(7, 6)))
    beyond = GraphFMConv(6, 4, make_edge(99, 6)).double()
    beyond.load_state_dict(every.state_dict())
    torch.testing.assert_close(every(x), beyond(x))

    # Frozen weights make the layer homogeneous of degree two; with a single
    # neighbour the attention is constant and only the score can change:
    single = randomise(GraphFMConv(6, 4, make_edge(1, 6, use_score=False)))
    for parameter in single.edge.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(single(2 * x), 4 * single(x))


def test_gradient_reaches_the_selector():
    for variant in ('paper', 'reference'):
        conv = GraphFMConv(6, 4, make_edge(3, 6), variant=variant)
        conv(torch.randn(8, 7, 6)).square().sum().backward()
        assert conv.edge.edge.weight.grad.abs().max() > 0


def test_dropout_is_the_same_op_in_training():
    conv = randomise(GraphFMConv(6, 4, make_edge(3, 6), heads=2, dropout=0.5))
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


def test_weights_sum_to_one_in_a_large_graph_of_ragged_rows():
    conv = GraphFMConv(4, 4, make_edge(2, 4, use_score=False))
    edges = torch.cat([layout(1, 3)[2], layout(1, 5)[2] + 3], dim=1)
    _, (edges, alpha) = conv(
        torch.randn(8, 4), edges, return_attention_weights=True
    )
    total = torch.zeros(8, 1).index_add(0, edges[1], alpha)
    torch.testing.assert_close(total, torch.ones(8, 1))
    uniform = softmax(torch.zeros_like(alpha), edges[1])
    assert (alpha - uniform).abs().max() > 0.1

import pytest
import torch
from featnet_loops import (
    DROP,
    SHARES,
    B,
    D,
    E,
    N,
    S,
    attention,
    make_conv,
    random_nodes,
    random_weights,
    randomise,
    to_rows,
)
from loops import assert_same, layout
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_featgraph.nn import InducedSetConv, SubsetEdge
from pyg_featgraph.nn.kernels import induced_set as kernel


def check_conv(conv, drop, size=B):
    row, field, _ = layout(size, N, drop)
    x, weight = random_nodes(len(row)), random_weights(len(row))
    expected, scores = attention(conv, x, weight, row, field, size)
    values = torch.stack(list(scores.values()))
    assert 0 < (values == 0).sum() < len(values)
    perm = torch.randperm(len(row))
    edges, value = conv.hyperedges(weight[perm], row[perm])
    # What is pruned makes no edge, and so no message:
    assert edges.size(1) == (weight != 0).sum()
    other = torch.randperm(edges.size(1))

    def rows():
        out = [to_rows(v, row, field, size) for v in (x, weight)]
        return out[0], None, out[1].mT

    def nodes(order):
        return x[perm], edges[:, order], value[order], field[perm]

    others = [
        conv(*rows()),
        conv(*nodes(slice(None)), size * S),
        conv(*nodes(other), size * S),
    ]
    assert_same(expected, others, [x, weight, *conv.parameters()])
    # The scores are those in the sums:
    out = conv.scores(*rows())
    for (b, s, e, i), score in scores.items():
        torch.testing.assert_close(out[b, i, s, e], score)
    target = edges[1].div(S, rounding_mode='floor'), field[perm][edges[0]]
    torch.testing.assert_close(
        conv.scores(*nodes(slice(None))), out[*target, edges[1] % S]
    )


@pytest.mark.parametrize('options', SHARES, ids=str)
@pytest.mark.parametrize('drop', [set(), DROP], ids=['full', 'absent'])
def test_attention_is_equations_5_to_13(options, drop):
    check_conv(make_conv(**options), drop)


@pytest.mark.parametrize('num', [1, 2, 3, 100])
def test_chunks_change_nothing(num, monkeypatch):
    chunk = num * N * S * E * 8
    monkeypatch.setattr(kernel, '_CPU_CHUNK', chunk)
    x = torch.randn(B, N, D, dtype=torch.double)
    sizes = [r.stop - r.start for r in kernel._chunks(x, S * E)]
    assert sum(sizes) == B
    assert max(sizes) == min(num, B)
    check_conv(make_conv(), set())
    # Not even a row fits:
    monkeypatch.setattr(kernel, '_CPU_CHUNK', 1)
    assert len(list(kernel._chunks(x, S * E))) == B


def test_rows_without_edges():
    conv = make_conv()
    x, weight = random_nodes(N), random_weights(N)
    weight.data.fill_(0.5)
    field, batch = torch.arange(N), torch.zeros(N, dtype=torch.long)
    edges = conv.hyperedges(weight, batch)
    out = conv(x, *edges, field, 3 * S)
    assert out.size() == (3, S, E, D)
    assert (out[1:] == 0).all()
    torch.testing.assert_close(conv(x, *edges, field), out[:1])
    # The row is there without its last subset, too:
    weight.data[:, -1] = 0
    first = conv(x, *conv.hyperedges(weight, batch), field)
    torch.testing.assert_close(first[:, :-1], out[:1, :-1])
    none = conv.hyperedges(0 * weight, batch)
    assert none[0].size() == (2, 0)
    assert conv(x, *none, field).size() == (0, S, E, D)
    assert (conv(x, *none, field, 2 * S) == 0).all()


def test_fields_that_are_left_out():
    conv = make_conv()
    x, weight = torch.randn(2, B, N, D).double(), torch.rand(S, N).double()
    mask = torch.rand(B, N) < 0.6
    zero = weight * mask.unsqueeze(1)
    torch.testing.assert_close(
        conv(x[0], edge_weight=weight, mask=mask),
        conv(x[0], edge_weight=zero),
    )
    torch.testing.assert_close(
        conv(x[0], mask=mask), conv(x[0], edge_weight=mask[:, None] * weight**0)
    )
    for size in ((B, N, S), (N, S), (S, N + 1), (B, N)):
        with pytest.raises(ValueError, match=r"'edge_weight' must have shape"):
            conv(x[0], edge_weight=torch.rand(size).double())


@pytest.mark.parametrize('options', SHARES, ids=str)
def test_invariants_of_the_attention(options):
    conv = make_conv(**options)
    x = torch.randn(B, N, D, dtype=torch.double)
    weight = random_weights(B * N).detach().view(B, N, S)
    out, score = conv(x, None, weight.mT), conv.scores(x, None, weight.mT)
    assert out.size() == (B, S, E, D)
    assert (score >= 0).all()
    # A pruned field has no score:
    assert (score[weight == 0] == 0).all()
    # Rows are independent:
    torch.testing.assert_close(conv(x[1:3], None, weight.mT[1:3]), out[1:3])
    # The order of the fields means nothing, if thresholds move along:
    perm = torch.tensor([2, 0, 3, 1])
    tau = conv.threshold.weight
    moved = x[:, perm], None, weight[:, perm].mT
    assert (conv(*moved) - out).abs().max() > 0.01
    tau.data = tau.data[perm]
    torch.testing.assert_close(conv(*moved), out)
    tau.data = tau.data[perm.argsort()]
    # Linear in the members for fixed scores, and zero for none:
    member = weight.unsqueeze(3) * x.unsqueeze(2)
    summed = torch.einsum('bnse,bnsd->bsed', score, member)
    torch.testing.assert_close(summed, out)
    assert (conv(0 * x, None, weight.mT) == 0).all()
    # Thresholds are plain ReLU at one end:
    torch.nn.init.constant_(tau, -60)
    plain = conv.scores(x, None, weight.mT)
    assert (plain >= score).all()
    torch.nn.init.constant_(tau, 60)
    torch.testing.assert_close(
        conv.scores(x, None, weight.mT), (plain - 1).relu()
    )
    # And without them doubled members have fourfold sums:
    torch.nn.init.constant_(tau, -60)
    out = conv(x, None, weight.mT)
    torch.testing.assert_close(conv(2 * x, None, weight.mT), 4 * out)
    torch.testing.assert_close(conv(x, None, 2 * weight.mT), 4 * out)


def test_pruned_edges_have_no_gradient():
    edge, conv = randomise(SubsetEdge(D, N, S, 2)), make_conv()
    torch.nn.init.constant_(edge.threshold.weight, -2)
    edge.threshold.weight.data[1, 0] = 60
    edge.mix.data.abs_()
    x = torch.randn(B, N, D, dtype=torch.double, requires_grad=True)
    weight = edge.members(x)
    weight.retain_grad()
    assert (weight[:, 1, 0] == 0).all()
    conv(x, None, weight.mT).square().sum().backward()
    assert (weight.grad[:, 1, 0] == 0).all()
    assert (edge.threshold.weight.grad[1, 0] == 0).all()
    assert (edge.threshold.weight.grad != 0).sum() == N * S - 1


def test_parameters():
    conv = InducedSetConv(8, 5, 3, 2)
    assert str(conv) == (
        'InducedSetConv(8, num_fields=5, num_subsets=3, num_queries=2)'
    )
    sizes = {k: list(v.shape) for k, v in conv.state_dict().items()}
    assert sizes == {
        'query': [3, 2, 8],
        'key': [1, 8, 8],
        'threshold.weight': [5, 1, 2],
    }
    row, _, _ = layout(2, 5)
    edges, weight = conv.hyperedges(torch.ones(10, 3), row)
    assert edges[:, :4].tolist() == [[0, 0, 0, 1], [0, 1, 2, 0]]
    assert edges[:, -1].tolist() == [9, 5]
    assert (weight == 1).all()
    x = torch.randn(10, 8)
    with pytest.raises(ValueError, match="'field' is required"):
        conv(x, edges)
    with pytest.raises(ValueError, match=r'must have shape \[30\]'):
        conv(x, edges, weight[1:])


def kernel_inputs(size=3, dtype=torch.double, grad=True):
    shapes = (size, N, D), (size, N, S), (S, E, D), (N, S, E)
    x, weight, query, threshold = (torch.randn(s, dtype=dtype) for s in shapes)
    inputs = x, weight.relu(), query, 0.1 * threshold.sigmoid()
    return [value.requires_grad_(grad) for value in inputs]


def test_gradients_of_the_operator():
    torch.autograd.gradcheck(kernel.induced_set_attention, kernel_inputs())


@pytest.mark.parametrize('size', [0, 3])
def test_is_a_proper_operator(size):
    inputs = kernel_inputs(size, torch.float)
    torch.library.opcheck(kernel._attention, inputs)
    grad = torch.randn(size, S, E, D)
    inputs = kernel_inputs(size, torch.float, grad=False)
    torch.library.opcheck(kernel._attention_backward, (grad, *inputs))
    # Whatever lies in memory in another order:
    inputs = [value.mT.contiguous().mT for value in inputs]
    torch.library.opcheck(
        kernel._attention_backward, (grad.mT.contiguous().mT, *inputs)
    )


class Largest(TorchDispatchMode):
    """The size of the largest tensor that is made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple) else (out,):
            if isinstance(x, torch.Tensor):
                self.numel = max(self.numel, x.numel())
        return out


@pytest.mark.parametrize('n', [20, 400])
def test_memory_is_linear_in_fields(n, monkeypatch):
    size, d, subsets, queries = 32, 16, 10, 16
    inputs = [
        torch.rand(shape)
        for shape in (
            (size, n, d),
            (size, n, subsets),
            (subsets, queries, d),
            (n, subsets, queries),
        )
    ]
    monkeypatch.setattr(kernel, '_CPU_CHUNK', 4 * n * subsets * queries)
    with Largest() as largest:
        out = kernel._attention._init_fn(*inputs)
        kernel._attention_backward._init_fn(out, *inputs)
    # The nodes or the output or the scores of a single row:
    assert largest.numel == max(
        size * n * d, size * subsets * queries * d, n * subsets * queries
    )

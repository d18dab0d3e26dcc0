"""The kernels against plain loops, in several chunks."""

from importlib import import_module

import pytest
import torch
from kernel_loops import attention_by_loops, scores_by_loops, values_by_loops
from loops import assert_same, randn
from operator_checks import assert_proper, assert_single_precision
from torch._subclasses import FakeTensorMode
from torch.nn.functional import leaky_relu

pytestmark = pytest.mark.usefixtures('kernels')

# The modules, whose functions have the same names:
linear, attention, score, products, small, selected = (
    import_module(f'pyg_featgraph.nn.kernels.{name}')
    for name in (
        'field_linear',
        'hadamard_attention',
        'pair_score',
        'field_product',
        'small_attention',
        'selected_attention',
    )
)

B, D, H = 5, 3, 2


def chunk(monkeypatch, kernel, rows, bytes_of_row):
    """Lets chunks have so many rows; of five, the last one has fewer."""
    monkeypatch.setattr(kernel, '_CPU_CHUNK', rows * bytes_of_row)


@pytest.mark.parametrize('rows', [1, 2, 5, 100])
@pytest.mark.parametrize('n', [1, 2, 5, 6])
def test_pair_score(rows, n, monkeypatch):
    chunk(monkeypatch, score, rows, (n // 2 + 1) * n * D * 8)
    inputs = [randn(B, n, D), randn(4, D), randn(4), randn(4), randn(1)]
    sizes = [v.size(0) for *_, v in score._products(inputs[0].detach())]
    assert sizes[0] == min(rows, B)
    assert sum(sizes) == B
    check_pair_score(inputs)


@pytest.mark.parametrize('shifts', [1, 2, 3])
@pytest.mark.parametrize('n', [2, 5, 6, 9])
def test_pair_score_takes_a_row_of_many_nodes_in_parts(shifts, n, monkeypatch):
    chunk(monkeypatch, score, shifts, n * D * 8)
    inputs = [randn(B, n, D), randn(4, D), randn(4), randn(4), randn(1)]
    sizes = [v.size() for *_, v in score._products(inputs[0].detach())]
    shifts = min(shifts, n // 2 + 1)
    assert len(sizes) == B * -(-(n // 2 + 1) // shifts)
    assert all(size[1] <= shifts for size in sizes)
    check_pair_score(inputs)


def check_pair_score(inputs):
    n = inputs[0].size(1)
    expected = scores_by_loops(*inputs)
    assert_same(expected, [score.pair_score(*inputs)], inputs)
    # Behind a selection, most pairs have no gradient:
    few = torch.rand(B, n, n) < 0.2
    out = score.pair_score(*inputs)
    assert_same(expected * few, [out * few], inputs)
    for one in torch.autograd.grad((0 * out).sum(), inputs):
        assert (one == 0).all()


@pytest.mark.parametrize('share', [0.1, 0.4, 1.0])
@pytest.mark.parametrize(('given', 'size'), [(False, 1), (True, 1), (True, 25)])
def test_hadamard_attention_between_some(share, given, size):
    # A scale of zero is no edge, unless it scales the logits, which may be so
    # large that their exponentials need care:
    n = 9
    chosen = torch.rand(B, 1, n, n) < share
    inputs = [randn(B, n, D), randn(H, D), randn(H), randn(B, 1, n, n)]
    inputs[1] = (size * inputs[1].detach()).requires_grad_()
    scale = inputs[3] * chosen
    drop = (torch.rand(B, H, n, n) < 0.5).double() * 2 if given else None
    keep = torch.rand(B, 1, n, n) < 0.8 if given else None
    known = chosen if keep is None else chosen & keep
    for scale_logits, used in ((False, known), (True, keep)):
        args = (*inputs[:3], scale)
        options = (0.2, scale_logits)
        expected = attention_by_loops(*args, used, drop, *options)
        out = attention.hadamard_attention(*args, keep, *options, drop)
        assert_same(expected, [out], inputs)


@pytest.mark.parametrize('size', [-60.0, 60.0])
def test_large_logits_of_single_precision(size):
    # All logits are twice the size, whose exponential is no number:
    x, att = torch.ones(2, 5, 2), torch.full((1, 2), size)
    scale = torch.ones(1, 1, 5, 5).expand(2, 1, 5, 5)
    for scale_logits in (False, True):
        out = attention.hadamard_attention(
            x, att, torch.zeros(1), scale, None, 1.0, scale_logits
        )
        torch.testing.assert_close(out, torch.ones(2, 5, 1, 2))


@pytest.mark.parametrize('scale_logits', [False, True])
@pytest.mark.parametrize('m', [1, 2, 4, 8, 9, 20])
def test_selected_attention(m, scale_logits, monkeypatch):
    n = 9
    chunk(monkeypatch, selected, 1 + m % 3, n * n * 8)
    inputs = [randn(B, n, D), randn(4, D), randn(4), randn(4), randn(1)]
    inputs += [randn(H, D), randn(H)]
    x, att, att_bias = inputs[0], inputs[5], inputs[6]
    scores = scores_by_loops(*inputs[:5])
    best = torch.zeros_like(scores, dtype=torch.bool)
    # Pairs whose hidden values are all negative have the same score:
    order = scores.sort(dim=-1, descending=True, stable=True).indices
    best.scatter_(-1, order[..., :m], True)
    drop = (torch.rand(B, H, n, n) < 0.5).double() * 2
    scale, options = (scores * best).unsqueeze(1), (0.2, scale_logits)
    used = None if scale_logits else best.unsqueeze(1)
    for mask in (None, drop):
        expected = attention_by_loops(
            x, att, att_bias, scale, used, mask, *options
        )
        out = selected.selected_attention(*inputs, m, False, *options, mask)
        assert_same(expected, [out], inputs)


def test_selected_attention_between_equals(kernels):
    # All pairs have the same score, of which the lowest nodes win or all:
    x, att, score_att = torch.ones(2, 6, D), torch.randn(H, D), torch.zeros(4)
    given = [torch.randn(4, D), torch.randn(4), score_att, torch.randn(1)]
    for ties, kept in ((False, 2), (True, 6)):
        out, best = selected._selected_attention(
            x, *given, att, torch.zeros(H), None, 2, ties, 0.2, False, True
        )
        assert ((best != 0).sum(-1) == kept).all()
        assert (best[..., :2] != 0).all()
        score = given[-1].sigmoid()
        options = (2, ties, 0.2, False)
        args = (x, *given, att, torch.zeros(H))
        assert torch.equal(selected.selected_attention(*args, *options), out)
        torch.testing.assert_close(out, score.expand_as(out))


def masks(n):
    yield None
    for size in ((1, 1), (B, 1), (1, H), (B, H)):
        keep = torch.rand(*size, n, n) < 0.6
        keep[:, :, 0] = False  # A node without any neighbour.
        yield keep


@pytest.mark.parametrize('scale_logits', [False, True])
@pytest.mark.parametrize('heads', [1, H])
@pytest.mark.parametrize('targets', [1, 3, 4, 8, 400])
def test_hadamard_attention(scale_logits, heads, targets, monkeypatch):
    n = 4
    chunk(monkeypatch, attention, targets, H * n * 8)
    inputs = [randn(B, n, D), randn(H, D), randn(H), randn(B, heads, n, n)]
    tiles = [*attention._chunks(inputs[0], H)]
    assert len(tiles) == {1: 20, 3: 10, 4: 5, 8: 3, 400: 1}[targets]
    covered = torch.zeros(B, n)
    for tile in tiles:
        covered[tile] += 1
    assert (covered == 1).all()
    drop = (torch.rand(B, H, n, n) < 0.5).double() * 2
    options = (0.2, scale_logits)
    for k, keep in enumerate(masks(n)):
        used = drop if k % 2 else None
        expected = attention_by_loops(*inputs, keep, used, *options)
        out = attention.hadamard_attention(*inputs, keep, *options, used)
        assert_same(expected, [out], inputs)
    # A scale that all rows share, as a view of a matrix:
    matrix = randn(n, n)
    inputs[3] = matrix.expand(B, 1, n, n)
    expected = attention_by_loops(*inputs, None, None, *options)
    out = attention.hadamard_attention(*inputs, None, *options)
    assert_same(expected, [out], [*inputs[:3], matrix])


def test_attention_weights_of_different_sources():
    x, y, att, bias = randn(B, 4, D), randn(B, 4, D), randn(H, D), randn(H)
    scale = randn(B, 1, 4, 4)
    alpha = attention.attention_weights(
        (x, y), att, bias, scale, None, 0.2, False
    )
    for b in range(B):
        for i in range(4):
            logit = leaky_relu(
                torch.stack(
                    [att @ (y[b, i] * x[b, j]) + bias for j in range(4)], dim=1
                ),
                0.2,
            )
            expected = logit.softmax(1) * scale[b, 0, i]
            torch.testing.assert_close(alpha[b, :, i], expected)


def test_field_linear():
    # Fields with no, one and several nodes, in any order:
    field = torch.tensor([3, 0, 3, 1, 3, 0, 3])
    x, weight = randn(7, H, D), randn(5, H, D, 4)
    expected = torch.stack(
        [
            torch.stack([x[k, h] @ weight[field[k], h] for h in range(H)])
            for k in range(7)
        ]
    )
    out = linear.field_linear(x, weight, field)
    assert_same(expected, [out], [x, weight])
    none = linear.field_linear(x[:0], weight, field[:0])
    assert none.size() == (0, H, 4)
    (grad,) = torch.autograd.grad(none.sum(), weight)
    assert (grad == 0).all()


@pytest.mark.parametrize('size', [1, 70])
@pytest.mark.parametrize(('n', 'fields'), [(4, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize(('inner', 'outer'), [(3, 5), (16, 8), (8, 16)])
def test_field_product(size, n, fields, inner, outer):
    x, weight = randn(size, n, H, inner), randn(fields, H, inner, outer)
    matrices = weight.expand(n, H, inner, outer)
    expected = torch.stack(
        [
            torch.stack([x[:, i, h] @ matrices[i, h] for h in range(H)], dim=1)
            for i in range(n)
        ],
        dim=1,
    )
    assert_same(expected, [products.field_product(x, weight)], [x, weight])


@pytest.mark.parametrize(('n', 'channels'), [(1, 8), (2, 1), (9, 3), (17, 20)])
def test_small_attention(n, channels):
    inputs = [randn(B, n, H, channels) for _ in range(3)]
    expected = values_by_loops(*inputs)
    outs = [small.small_attention(*inputs), small._torch_attention(*inputs)]
    assert_same(expected, outs, inputs)


@pytest.mark.parametrize(
    ('form', 'compiling', 'of_torch'),
    [(None, False, True), (small, False, False), (None, True, False)],
)
def test_small_attention_on_a_gpu(form, compiling, of_torch, monkeypatch):
    """That of torch where there is no kernel; a graph holds the operator."""
    calls = []
    monkeypatch.setattr(small, '_small_attention', lambda *v: calls.append(v))
    monkeypatch.setattr(small, 'native_form', lambda name, x: form)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: compiling)
    with FakeTensorMode():
        given = torch.empty(B, 5, H, 4, device='cuda')
        out = small.small_attention(given, given, given)
    assert len(calls) == 1 - of_torch
    if of_torch:
        assert out.is_cuda
        assert out.size() == given.size()


def operators():
    """Each operator and its backward, the inputs of it and, after a gradient
    of a given size, those of its backward.
    """
    n = 4
    x, att = torch.randn(3, n, D), torch.randn(H, D)
    keep = torch.rand(1, 1, n, n) < 0.6
    drop = (torch.rand(3, H, n, n) < 0.5).float()
    scale = torch.rand(3, 1, n, n)
    pair = (x, torch.randn(4, D), torch.randn(4), torch.randn(4))
    ops, size = (score._pair_score, score._pair_score_backward), (3, n, n)
    yield *ops, (*pair, torch.randn(1)), size, (torch.rand(size), *pair)
    perm, count = torch.tensor([1, 0, 2]), torch.tensor([2, 0, 1])
    lin = (torch.randn(3, H, D), torch.randn(3, H, D, 2), perm, count)
    ops = linear._field_linear, linear._field_linear_backward
    yield *ops, lin, (3, H, 2), lin
    many = (x, att, torch.randn(H), scale, keep, drop, 0.2, False)
    ops = attention._attention, attention._attention_backward
    yield *ops, many, (3, n, H, D), many
    given = (*pair, torch.randn(1), att, torch.randn(H), drop, 2, False)
    back = (torch.rand(3, n, n), *pair, att, torch.randn(H), drop, 0.2, False)
    ops = selected._selected_attention, selected._selected_attention_backward
    yield *ops, (*given, 0.2, False, True), (3, n, H, D), back
    given = torch.randn(3, n, H, D), torch.randn(n, H, D, 5)
    ops = products._field_product, products._field_product_backward
    yield *ops, given, (3, n, H, 5), given
    given = tuple(torch.randn(3, 3, n, H, D))
    ops = small._small_attention, small._small_attention_backward
    yield *ops, given, (3, n, H, D), given


@pytest.mark.parametrize('number', range(6))
def test_are_proper_operators(number):
    assert_proper(*list(operators())[number])


@pytest.mark.parametrize('number', range(5))
def test_stay_in_single_precision_under_autocast(number):
    assert_single_precision(*list(operators())[number])

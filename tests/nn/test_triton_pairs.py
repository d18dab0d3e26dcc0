"""The kernels of pairs for GPUs against plain loops."""

import pytest
import torch
from kernel_loops import attention_by_loops, scores_by_loops
from loops import randn
from triton_checks import (
    DEVICE,
    DTYPES,
    assert_close,
    check,
    check_no_rows,
    given,
    kernels,
    round_to,
)

from pyg_featgraph.nn.kernels import top_m


def check_scores(inputs, dtype=torch.double, other_order=False):
    """As for the others, but backward gets the output in place of the last
    bias.
    """
    round_to(dtype, inputs)
    expected = scores_by_loops(*inputs)
    tensors = list(given(inputs, dtype, other_order))
    out = kernels.pair_score.forward(*tensors)
    assert out.dtype == dtype
    assert_close([out], [expected.detach()], dtype)
    grad = torch.randn(expected.size()).to(dtype).double()
    (given_grad,) = given([grad], dtype, other_order)
    got = kernels.pair_score.backward(given_grad, out, *tensors[:-1])
    # The slope of the sigmoid is that of the output as it was rounded:
    with torch.no_grad():
        slopes = [v * (1 - v) for v in (out.cpu().double(), expected)]
        grad = grad * slopes[0] / slopes[1]
    assert_close(got, torch.autograd.grad(expected, inputs, grad), dtype)


def pair_inputs(size, n, d, h):
    att = (0.3 * randn(h)).detach().requires_grad_()
    return [randn(size, n, d), randn(h, d), randn(h), att, randn(1)]


@pytest.mark.parametrize(
    ('size', 'n', 'd', 'h'),
    [(3, 1, 3, 5), (2, 2, 1, 1), (3, 5, 4, 3), (1, 39, 3, 6), (2, 9, 20, 70)],
)
def test_pair_score(size, n, d, h):
    inputs = pair_inputs(size, n, d, h)
    check_scores(inputs, other_order=n == 5)
    out = kernels.pair_score.forward(*given(inputs, torch.double, False))
    assert torch.equal(out, out.mT)


def test_score_behind_a_selection():
    inputs = pair_inputs(2, 9, 3, 4)
    tensors = list(given(inputs, torch.double, False))
    selected = kernels.pair_score.forward(*tensors)
    selected *= torch.rand_like(selected) < 0.3
    grad = torch.randn_like(selected)
    got = kernels.pair_score.backward(grad, selected, *tensors[:-1])
    # Either entry of a pair may be selected, and the other one not:
    grad = grad.cpu() * (selected.cpu() != 0)
    want = torch.autograd.grad(scores_by_loops(*inputs), inputs, grad)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one.cpu(), two)


@pytest.mark.parametrize('dtype', DTYPES)
def test_precision_of_scores(dtype):
    check_scores(pair_inputs(2, 3, 3, 4), dtype)


def test_scores_of_no_rows():
    tensors = list(given(pair_inputs(0, 4, 3, 2), torch.double, False))
    out = kernels.pair_score.forward(*tensors)
    assert out.size() == (0, 4, 4)
    grads = kernels.pair_score.backward(out, out, *tensors[:-1])
    assert all((v == 0).all() for v in grads)
    assert grads[0].size() == tensors[0].size()


def test_rows_share_the_sums_of_a_program(monkeypatch):
    # Five rows in two groups, each of which leaves one sum:
    common = kernels.common.groups
    monkeypatch.setattr(
        kernels.pair_score, 'groups', lambda rows, others: common(rows, 1, 2)
    )
    check_scores(pair_inputs(5, 2, 3, 4))
    assert common(5, 3) == 5
    assert common(5, 2000) == 1


def attention_inputs(size, n, d, heads, scale_heads, keep_size, dropout):
    keep = drop = None
    if keep_size is not None:
        keep = torch.rand(*keep_size, n, n) < 0.6
        keep[:, :, 0] = False  # A node without any neighbour.
    if dropout:
        drop = (torch.rand(size, heads, n, n) < 0.5).double() * 2
    scale = randn(size, scale_heads, n, n)
    with torch.no_grad():
        scale *= torch.rand_like(scale) < 0.8
    nodes = [randn(size, n, d), randn(heads, d), randn(heads)]
    return [*nodes, scale, keep, drop]


def edges_by_loops(x, att, bias, scale, keep, drop, slope, scale_logits):
    if not scale_logits:
        # A scale of zero is no edge:
        keep = scale != 0 if keep is None else keep & (scale != 0)
    args = x, att, bias, scale, keep, drop
    return attention_by_loops(*args, slope, scale_logits)


@pytest.mark.parametrize('scale_logits', [False, True])
@pytest.mark.parametrize(
    ('size', 'n', 'd', 'heads', 'scale_heads', 'keep_size', 'dropout'),
    [
        (2, 1, 3, 2, 1, None, False),
        (3, 2, 1, 1, 1, (3, 1), True),
        (2, 5, 3, 3, 3, (1, 3), True),
        (2, 5, 20, 2, 1, (1, 1), False),
        (1, 17, 4, 2, 2, (1, 2), False),
        (1, 39, 3, 1, 1, None, True),
    ],
)
def test_hadamard_attention(
    size, n, d, heads, scale_heads, keep_size, dropout, scale_logits
):
    inputs = attention_inputs(
        size, n, d, heads, scale_heads, keep_size, dropout
    )
    check(
        kernels.hadamard_attention,
        edges_by_loops,
        inputs,
        (0.2, scale_logits),
        other_order=n == 5,
    )


def test_scale_that_all_rows_share():
    inputs = attention_inputs(3, 4, 3, 2, 1, None, False)
    matrix = torch.randn(4, 4, dtype=torch.double, device=DEVICE)
    tensors = list(given(inputs, torch.double, False))
    results = []
    for scale in (matrix.expand(3, 1, 4, 4), matrix.repeat(3, 1, 1, 1)):
        tensors[3] = scale
        out = kernels.hadamard_attention.forward(*tensors, 0.2, False)
        grads = kernels.hadamard_attention.backward(out, *tensors, 0.2, False)
        results.append([out, *grads])
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_large_logits():
    """The exponent of none of them is finite."""
    inputs = attention_inputs(1, 17, 3, 1, 1, (1, 1), False)
    tensors = list(given(inputs, torch.double, False))
    tensors[1] *= 1000
    out = kernels.hadamard_attention.forward(*tensors, 0.2, False)
    grads = kernels.hadamard_attention.backward(out, *tensors, 0.2, False)
    assert all(v.isfinite().all() for v in (out, *grads))
    assert (out[:, 1:] != 0).any()


@pytest.mark.parametrize('dtype', DTYPES)
def test_precision_of_attention(dtype):
    """Sums are in single precision: what differs is the rounding of results."""
    inputs = attention_inputs(2, 3, 3, 2, 1, (1, 1), True)
    options = 0.25, False
    check(kernels.hadamard_attention, edges_by_loops, inputs, options, dtype)


def test_attention_of_no_rows():
    inputs = attention_inputs(0, 4, 3, 2, 1, None, False)
    check_no_rows(kernels.hadamard_attention, inputs, (0.2, True))


@pytest.mark.parametrize('dtype', [torch.float, torch.double, torch.bfloat16])
@pytest.mark.parametrize('keep_ties', [False, True])
@pytest.mark.parametrize('n', [1, 2, 5, 17, 39])
def test_top_m(n, keep_ties, dtype):
    # Small numbers of which the slack, too, has few digits: the interpreter
    # does not round to half precision, but cuts off.
    weight = torch.randint(-1, 3, (4, 5, n)).to(dtype)
    if dtype != torch.bfloat16:
        weight[2:] = torch.randn(2, 5, n)
        # Equal up to the order of a sum:
        weight[3] = weight[3, :, :1] * (
            1 + torch.finfo(dtype).eps * torch.randint(-20, 20, (5, n))
        )
    for m in {1, 4, n // 2 + 1, n, n + 3}:
        out = kernels.top_m.forward(weight.to(DEVICE), m, keep_ties)
        assert torch.equal(out.cpu(), top_m(weight, m, keep_ties))
    assert kernels.top_m.forward(torch.zeros(0, 3), 2, False).size() == (0, 3)


def test_gradient_of_the_selection():
    weight = torch.randn(4, 5, 9, device=DEVICE)
    out = kernels.top_m.forward(weight, 3, False)
    grad = torch.randn_like(weight)
    got = kernels.top_m.backward(grad, out)
    assert torch.equal(got, grad * (out != 0))
    assert (got != 0).sum() == 4 * 5 * 3

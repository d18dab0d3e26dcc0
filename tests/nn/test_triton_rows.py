"""The kernels of nodes and edges of a row for GPUs against plain loops."""

import pytest
import torch
from kernel_loops import gru_by_loops, softmax_by_loops, values_by_loops
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


@pytest.mark.parametrize(
    ('size', 'n', 'heads', 'channels'),
    [(2, 1, 2, 3), (2, 5, 3, 1), (1, 17, 1, 20), (1, 33, 1, 2)],
)
def test_small_attention(size, n, heads, channels):
    inputs = [randn(size, n, heads, channels) for _ in range(3)]
    check(kernels.small_attention, values_by_loops, inputs, other_order=n == 5)


def test_small_attention_in_several_tiles(monkeypatch):
    monkeypatch.setattr(kernels.small_attention, '_NODES', 16)
    for size, n, heads in ((2, 17, 2), (1, 33, 1)):
        inputs = [randn(size, n, heads, 3) for _ in range(3)]
        check(kernels.small_attention, values_by_loops, inputs)


@pytest.mark.parametrize('nodes', [16, 64])
def test_small_attention_with_large_logits(nodes, monkeypatch):
    """The exponent of none of them is finite."""
    monkeypatch.setattr(kernels.small_attention, '_NODES', nodes)
    query, key, value = (
        torch.randn(1, 20, 1, 3, device=DEVICE).double() for _ in range(3)
    )
    query *= 1e4
    out = kernels.small_attention.forward(query, key, value)
    best = (query[0, :, 0] @ key[0, :, 0].T).argmax(dim=1)
    torch.testing.assert_close(out[0, :, 0], value[0, best, 0])
    for v in kernels.small_attention.backward(out, query, key, value):
        assert v.isfinite().all()


@pytest.mark.parametrize('nodes', [16, 64])
@pytest.mark.parametrize('dtype', DTYPES)
def test_precision_of_small_attention(dtype, nodes, monkeypatch):
    """Sums are in single precision: what differs is the rounding of results."""
    monkeypatch.setattr(kernels.small_attention, '_NODES', nodes)
    inputs = [randn(1, 17, 1, 4) for _ in range(3)]
    check(kernels.small_attention, values_by_loops, inputs, (), dtype)


def gru_inputs(size, d):
    weights = randn(3 * d, d), randn(3 * d, d), randn(3 * d), randn(3 * d)
    return [randn(size, d) for _ in range(3)] + list(weights)


def check_gru(inputs, dtype=torch.double, other_order=False):
    """As for the others, but backward does not get the residual."""
    round_to(dtype, inputs)
    expected = gru_by_loops(*inputs)
    tensors = list(given(inputs, dtype, other_order))
    out = kernels.gru_step.forward(*tensors)
    assert out.dtype == dtype
    assert_close([out], [expected.detach()], dtype)
    grad = torch.randn(expected.size()).to(dtype).double()
    (given_grad,) = given([grad], dtype, other_order)
    del inputs[2], tensors[2]
    got = kernels.gru_step.backward(given_grad, *tensors)
    assert_close(got, torch.autograd.grad(expected, inputs, grad), dtype)


@pytest.mark.parametrize(
    ('size', 'd'), [(1, 1), (3, 8), (17, 3), (40, 2), (2, 20), (17, 33)]
)
def test_gru_step(size, d):
    check_gru(gru_inputs(size, d), other_order=size == 3)


@pytest.mark.parametrize('narrow', [0, 32])
def test_gru_step_in_each_form(narrow, monkeypatch):
    monkeypatch.setattr(kernels.gru_step, '_NARROW', narrow)
    # There are more tiles than programs:
    monkeypatch.setattr(kernels.gru_step.narrow_gru, '_PROGRAMS', 2)
    monkeypatch.setattr(kernels.gru_step, '_SIZE', 16)
    check_gru(gru_inputs(50, 3))
    for dtype in DTYPES:
        check_gru(gru_inputs(3, 4), dtype)
    nodes, _, _, *weights = given(gru_inputs(0, 3), torch.double, False)
    given_all = nodes, nodes, *weights
    assert kernels.gru_step.forward(nodes, *given_all).size() == (0, 3)
    grads = kernels.gru_step.backward(nodes, *given_all)
    for v, grad in zip(given_all, grads, strict=True):
        assert torch.equal(grad, torch.zeros_like(v))


@pytest.mark.filterwarnings('ignore:overflow')
@pytest.mark.parametrize('narrow', [0, 32])
def test_gru_step_with_gates_that_are_shut(narrow, monkeypatch):
    """As far as numbers go, without NaN; and a NaN is seen."""
    monkeypatch.setattr(kernels.gru_step, '_NARROW', narrow)
    tensors = list(given(gru_inputs(20, 5), torch.float, False))
    for scale in (1e4, -1e4):
        tensors[5].fill_(scale)
        out = kernels.gru_step.forward(*tensors)
        # The state is kept, or is the candidate at its end:
        kept = tensors[1] if scale > 0 else torch.full_like(out, -1)
        torch.testing.assert_close(out, kept + tensors[2])
        rest = tensors[:2] + tensors[3:]
        for grad in kernels.gru_step.backward(out, *rest):
            assert grad.isfinite().all()
    tensors[0][3, 2] = torch.nan
    tensors[5].zero_()
    missing = kernels.gru_step.forward(*tensors).isnan()
    assert missing[3].all()
    assert missing.sum() == 5


def softmax_inputs(size, n, m):
    keep = torch.rand(size, n, m) < 0.6
    keep[:, : n - 1 : 2] = False  # Targets without sources.
    return randn(size, n), randn(size, m), keep


@pytest.mark.parametrize(
    ('size', 'n', 'm'), [(1, 1, 1), (3, 2, 5), (1, 17, 17), (2, 9, 2)]
)
@pytest.mark.parametrize('slope', [0.2, 0.0])
def test_sum_softmax(size, n, m, slope, monkeypatch):
    # Some targets a tile:
    monkeypatch.setattr(kernels.sum_softmax, '_PAIRS', 64)
    *inputs, some = softmax_inputs(size, n, m)
    for keep in (None, some, some[:1]):
        shared = None if keep is None else keep.expand(size, n, m)
        expected = softmax_by_loops(*inputs, shared, slope)
        tensors = list(given([*inputs, keep], torch.double, True))
        out = kernels.sum_softmax.forward(*tensors, slope)
        assert_close([out], [expected.detach()])
        grad = torch.randn_like(expected)
        (given_grad,) = given([grad], torch.double, True)
        got = kernels.sum_softmax.backward(given_grad, out, *tensors[:2], slope)
        assert_close(got, torch.autograd.grad(expected, inputs, grad))


@pytest.mark.parametrize('dtype', DTYPES)
def test_precision_of_sum_softmax(dtype):
    target, source, keep = softmax_inputs(2, 3, 4)
    round_to(dtype, [target, source])
    expected = softmax_by_loops(target, source, keep, 0.25)
    tensors = list(given([target, source, keep], dtype, False))
    out = kernels.sum_softmax.forward(*tensors, 0.25)
    assert out.dtype == dtype
    assert_close([out], [expected.detach()], dtype)
    # Backward has the weights as they were rounded:
    grad, alpha = torch.randn(2, 3, 4).to(dtype), out.cpu().double()
    got = kernels.sum_softmax.backward(grad.to(DEVICE), out, *tensors[:2], 0.25)
    slope = torch.where(target.unsqueeze(2) + source.unsqueeze(1) > 0, 1, 0.25)
    mean = (alpha * grad).sum(dim=2, keepdim=True)
    want = (alpha * (grad - mean) * slope).detach()
    assert_close(got, [want.sum(dim=2), want.sum(dim=1)], dtype)


def test_sum_softmax_far_from_zero():
    source = torch.tensor([[0.0, 50.0, 100.0]], device=DEVICE)
    for shift in (-1e4, 0.0, 1e4):
        target = torch.full((1, 2), shift, device=DEVICE)
        out = kernels.sum_softmax.forward(target, source, None, 1.0)
        expected = (target[0, 0] + source).double().softmax(1).float()
        torch.testing.assert_close(out, expected.expand(1, 2, 3))
    source[0, 1] = torch.nan
    assert kernels.sum_softmax.forward(target, source, None, 1.0).isnan().all()


def test_no_rows():
    inputs = [randn(0, 4, 2, 3) for _ in range(3)]
    check_no_rows(kernels.small_attention, inputs)
    scores = torch.zeros(0, 4), torch.zeros(0, 5)
    out = kernels.sum_softmax.forward(*scores, None, 0.2)
    assert out.size() == (0, 4, 5)
    # And none of the sources:
    scores = torch.ones(2, 4), torch.ones(2, 0)
    out = kernels.sum_softmax.forward(*scores, None, 0.2)
    grads = kernels.sum_softmax.backward(out, out, *scores, 0.2)
    assert torch.equal(grads[0], torch.zeros(2, 4))
    assert grads[1].size() == (2, 0)

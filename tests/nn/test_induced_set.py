import pytest
import torch
from kernel_loops import sets_by_loops
from loops import assert_same, randn

from pyg_featgraph.nn.kernels import induced_set as kernel
from pyg_featgraph.nn.kernels import induced_set_attention

pytestmark = pytest.mark.usefixtures('kernels')

B, N, D, S, E = 5, 4, 3, 2, 3


def inputs_of(dtype=torch.double):
    x, weight, query, threshold = (
        torch.randn(size, dtype=dtype)
        for size in ((B, N, D), (B, N, S), (S, E, D), (N, S, E))
    )
    # Some fields are no members:
    return x, weight.relu(), query, 0.1 * threshold.sigmoid()


@pytest.mark.parametrize(
    ('rows', 'sizes'),
    [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (3, [3, 2]), (9, [5])],
)
def test_chunks(rows, sizes, monkeypatch):
    monkeypatch.setattr(kernel, '_CPU_CHUNK', rows * N * S * E * 8)
    inputs = [x.requires_grad_() for x in inputs_of()]
    chunks = list(kernel._chunks(inputs[0], S * E))
    assert [r.stop - r.start for r in chunks] == sizes
    expected = sets_by_loops(*inputs)
    out = induced_set_attention(*inputs)
    assert_same(expected, [out], inputs)
    # Parameters hear of every row, also of the last one alone:
    for b in range(B):
        want = torch.autograd.grad(expected[b].sum(), inputs, retain_graph=True)
        got = torch.autograd.grad(out[b].sum(), inputs, retain_graph=True)
        for one, two in zip(got, want, strict=True):
            torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ('size', 'n', 'd', 'sets', 'queries'),
    [(70, 2, 1, 3, 8), (2, 17, 17, 1, 9), (1, 1, 8, 2, 1), (3, 9, 5, 2, 20)],
)
def test_sizes(size, n, d, sets, queries):
    """Several blocks of rows, and what fills no vector or more than one."""
    x, weight = randn(size, n, d), torch.randn(size, n, sets).double().relu()
    query, threshold = randn(sets, queries, d), torch.rand(n, sets, queries)
    inputs = [x, weight, query, threshold.double() * 0.1]
    inputs[1:] = [v.detach().requires_grad_() for v in inputs[1:]]
    x, weight, query, threshold = inputs
    member = weight.unsqueeze(3) * x.unsqueeze(2)
    score = torch.einsum('bjsd,sed->bjse', member, query) - threshold
    expected = torch.einsum('bjse,bjsd->bsed', score.relu(), member)
    assert_same(expected, [induced_set_attention(*inputs)], inputs)


def test_stays_in_single_precision_under_autocast():
    x, *rest = inputs_of(torch.float)
    x = x.bfloat16()
    grad = torch.randn(B, S, E, D).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        out = kernel._attention(x, *rest)
        grads = kernel._attention_backward(grad, x, *rest)
    assert torch.equal(out, kernel._attention(x.float(), *rest))
    want = kernel._attention_backward(grad.float(), x.float(), *rest)
    for one, two in zip(grads, want, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)
    leaves = [x.requires_grad_(), *(v.requires_grad_() for v in rest)]
    with torch.autocast('cpu', torch.bfloat16):
        induced_set_attention(*leaves).square().sum().backward()
    for leaf in leaves:
        assert leaf.grad.dtype == leaf.dtype
        assert leaf.grad.isfinite().all()


def test_gradients_that_lie_set_by_set():
    given = randn(5, 4, 3), randn(5, 4, 2), randn(2, 6, 3), randn(4, 2, 6)
    out = induced_set_attention(*given)
    grad = torch.randn(2, 5, 6, 3, dtype=torch.double).transpose(0, 1)
    assert not grad.is_contiguous()
    expected = torch.autograd.grad(out, given, grad.contiguous(), True)
    for one, two in zip(
        torch.autograd.grad(out, given, grad), expected, strict=True
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=0)

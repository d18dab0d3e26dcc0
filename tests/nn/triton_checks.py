"""What the tests of the kernels for GPUs share: they run on a GPU if there is
one, and else in the interpreter of Triton (see conftest.py).
"""

from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from pyg_featgraph.nn.kernels import triton

pytest.importorskip('triton', reason='Triton is not installed')

NAMES = (*triton.LARGEST, 'common')
kernels = SimpleNamespace(
    **{name: import_module(f'{triton.__name__}.{name}') for name in NAMES}
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
DTYPES = [torch.float, torch.bfloat16, torch.half]


def given(inputs, dtype, other_order):
    """What a kernel gets, in another order in memory if asked for."""
    for v in inputs:
        if torch.is_tensor(v):
            v = v.detach().to(DEVICE)
            v = v.to(dtype) if v.is_floating_point() else v
            v = v.mT.contiguous().mT if other_order and v.dim() > 1 else v
        yield v


def round_to(dtype, inputs):
    """Makes them numbers that this type has, too."""
    with torch.no_grad():
        for v in inputs:
            if torch.is_tensor(v) and v.is_floating_point():
                v.copy_(v.to(dtype))


def assert_close(got, want, dtype=torch.double):
    """The same numbers up to the rounding of a type."""
    for one, two in zip(got, want, strict=True):
        assert one.is_contiguous()
        torch.testing.assert_close(one.cpu(), two.to(dtype))


def check(
    kernel, by_loops, inputs, options=(), dtype=torch.double, other_order=False
):
    """The same numbers and gradients as from loops in double precision."""
    round_to(dtype, inputs)
    leaves = [v for v in inputs if torch.is_tensor(v) and v.requires_grad]
    expected = by_loops(*inputs, *options)
    tensors = list(given(inputs, dtype, other_order))
    out = kernel.forward(*tensors, *options)
    assert out.dtype == dtype
    assert_close([out], [expected.detach()], dtype)
    grad = torch.randn(expected.size()).to(dtype).double()
    (given_grad,) = given([grad], dtype, other_order)
    want = torch.autograd.grad(expected, leaves, grad, materialize_grads=True)
    got = kernel.backward(given_grad, *tensors, *options)
    assert_close(got, want, dtype)


def check_no_rows(kernel, inputs, options=()):
    """Gradients of no rows are zero, and have the sizes of what they are of."""
    tensors = list(given([*inputs, *options], torch.double, False))
    out = kernel.forward(*tensors)
    assert out.numel() == 0
    grads = kernel.backward(out, *tensors)
    assert all((v == 0).all() for v in grads)
    assert grads[0].size() == inputs[0].size()

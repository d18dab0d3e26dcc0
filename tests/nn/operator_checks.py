"""What every custom operator has to pass."""

import torch


def differentiable(inputs, dtype=None):
    """The same inputs as leaves; the mask of a dropout is none."""
    return [
        v.detach()
        .to(dtype or v.dtype)
        .requires_grad_(not ((v == 0) | (v == 1)).all())
        if torch.is_tensor(v) and v.is_floating_point()
        else v
        for v in inputs
    ]


def first(out):
    """The output, without what is kept for the backward pass."""
    return out if torch.is_tensor(out) else out[0]


def assert_proper(forward, backward, inputs, size, given):
    """Shapes, strides and gradients of an operator, whose gradients come from
    another one, of a gradient of a size and of what is given.
    """
    given = (torch.randn(size), *given)
    torch.library.opcheck(backward, given)
    # Whatever lies in memory in another order:
    other = [
        v.mT.contiguous().mT if torch.is_tensor(v) and v.dim() > 1 else v
        for v in given
    ]
    torch.library.opcheck(backward, tuple(other))
    torch.library.opcheck(forward, tuple(differentiable(inputs)))
    double = differentiable(inputs, torch.double)
    torch.autograd.gradcheck(lambda *v: first(forward(*v)), tuple(double))


def assert_single_precision(forward, backward, inputs, size, given):
    """Under autocast half precision is brought to single."""
    half = [inputs[0].bfloat16(), *inputs[1:]]
    grad = [torch.randn(size).bfloat16(), given[0].bfloat16(), *given[1:]]
    with torch.autocast('cpu', torch.bfloat16):
        out, grads = first(forward(*half)), backward(*grad)
    exact = first(forward(half[0].float(), *inputs[1:]))
    assert torch.equal(out, exact)
    exact = backward(grad[0].float(), grad[1].float(), *grad[2:])
    for one, two in zip(grads, exact, strict=True):
        assert torch.equal(one, two)
    leaves = differentiable(half)
    with torch.autocast('cpu', torch.bfloat16):
        first(forward(*leaves)).square().sum().backward()
    for v in leaves:
        if torch.is_tensor(v) and v.requires_grad:
            assert v.grad.dtype == v.dtype
            assert v.grad.isfinite().all()

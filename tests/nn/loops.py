"""What the tests against plain loops share."""

import torch
from torch_geometric.data import Batch


def randomise(module, std=1.0):
    """The module in double precision, with random parameters."""
    module.double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return module


def randn(*size):
    return torch.randn(size, dtype=torch.double, requires_grad=True)


def layout(size, n, drop=()):
    """Row and field of each node, and all edges within the rows."""
    keep = [k for k in range(size * n) if k not in drop]
    row = torch.tensor([k // n for k in keep])
    field = torch.tensor([k % n for k in keep])
    edges = [
        (j, i)
        for i in range(len(keep))
        for j in range(len(keep))
        if row[i] == row[j]
    ]
    return row, field, torch.tensor(edges).t()


def assert_same(expected, others, inputs, retain_graph=True):
    """The same values, and the same gradients for a random one."""
    if not expected.requires_grad:
        for out in others:
            assert not out.requires_grad
            torch.testing.assert_close(out.reshape(expected.shape), expected)
        return
    grad = torch.randn_like(expected)
    want = torch.autograd.grad(
        expected, inputs, grad, retain_graph=True, materialize_grads=True
    )
    for out in others:
        out = out.reshape(expected.shape)
        torch.testing.assert_close(out, expected)
        got = torch.autograd.grad(
            out,
            inputs,
            grad,
            retain_graph=retain_graph,
            materialize_grads=True,
        )
        for one, two in zip(got, want, strict=True):
            torch.testing.assert_close(one, two)


def as_nodes(batch):
    """The same graphs as any batch of PyG, of which no more is known."""
    return Batch.from_data_list(batch.to_data_list())

import importlib
from itertools import combinations, pairwise
from math import comb

import pytest
import torch
from kernel_loops import gather_and_multiply
from loops import assert_same
from torch.utils._python_dispatch import TorchDispatchMode

from pyg_featgraph.nn.kernels import plan_tuples, tuple_product
from pyg_featgraph.nn.kernels.backend import VARIABLE

pytestmark = pytest.mark.usefixtures('kernels')

# The function hides the module of the same name:
kernel = importlib.import_module('pyg_featgraph.nn.kernels.tuple_product')

N, SIZE, CHANNELS = 5, 6, 3
FUNCTIONS = ['inner', 'outer', 'vector', 'scalar']
all_functions = pytest.mark.parametrize('function', FUNCTIONS)
all_orders = pytest.mark.parametrize('order', [2, 3, 4])


def some(tuples, num):
    """A few of them in random order."""
    tuples = list(tuples)
    return [tuples[i] for i in torch.randperm(len(tuples))[:num]]


def sets_of(plan):
    """A plan as the operators take it."""
    order = plan.other, plan.permutation, plan.inverse
    return *order, plan.shared, plan.ptr, plan.starts


@all_orders
@pytest.mark.parametrize('num', [1, 9, 20])
@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize('vectors', [None, 0, 1, 2])
def test_products_of_tuples(order, num, weighted, vectors, monkeypatch):
    if vectors is not None:
        # Room for so many vectors, and always for one:
        chunk = vectors * SIZE * CHANNELS * 8
        monkeypatch.setattr(kernel, '_CPU_CHUNK', chunk)
    tuples = some(combinations(range(7), order), num)
    tuples = [tuple(some(q, order)) for q in tuples]
    # Twice the same one is no problem either:
    tuples.append(tuples[0])
    x = torch.randn(SIZE, 7, CHANNELS, dtype=torch.double, requires_grad=True)
    weight, inputs = None, [x]
    if weighted:
        weight = torch.randn(len(tuples), CHANNELS, dtype=torch.double)
        inputs.append(weight.requires_grad_())
    out = tuple_product(x, weight, plan_tuples(tuples))
    assert_same(gather_and_multiply(x, weight, tuples), [out], inputs)


@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize(
    ('size', 'n', 'order', 'channels'),
    [(70, 3, 2, 1), (33, 5, 3, 17), (1, 2, 2, 8), (3, 90, 2, 2), (40, 6, 4, 5)],
)
def test_products_of_all_tuples(size, n, order, channels, weighted):
    """Several blocks of rows, dimensions that fill no vector, and a group of
    more sets than are taken at a time; in any order or as they are.
    """
    tuples = list(combinations(range(n), order))
    x = torch.randn(size, n, channels, dtype=torch.double, requires_grad=True)
    for chosen in (tuples, some(tuples, len(tuples))):
        weight, inputs = None, [x]
        if weighted:
            weight = torch.randn(len(chosen), channels, dtype=torch.double)
            inputs.append(weight.requires_grad_())
        out = tuple_product(x, weight, plan_tuples(chosen))
        assert_same(gather_and_multiply(x, weight, chosen), [out], inputs)


@all_orders
def test_gradients_of_products(order):
    tuples = some(combinations(range(5), order), 4)
    plan = plan_tuples(tuples)
    x = torch.randn(2, 5, 2, dtype=torch.double, requires_grad=True)
    x.data[0, 1] = 0
    weight = torch.randn(4, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: tuple_product(x, None, plan), x)
    assert torch.autograd.gradcheck(
        lambda x, weight: tuple_product(x, weight, plan), (x, weight)
    )


@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize('size', [0, 4])
def test_products_are_proper_operators(weighted, size):
    plan = plan_tuples([(0, 1, 2), (1, 2, 4), (0, 3, 4), (0, 1, 4)])
    sets = sets_of(plan)
    x, grad = torch.randn(size, 5, 3), torch.randn(size, 4)
    weight = torch.randn(4, 3) if weighted else None
    torch.library.opcheck(
        kernel._tuple_product_backward, (grad, x, weight, *sets)
    )
    x.requires_grad_()
    if weighted:
        weight.requires_grad_()
    torch.library.opcheck(kernel._tuple_product, (x, weight, *sets))


@pytest.mark.parametrize('n', [2, 3, 8])
def test_all_pairs_are_grouped_by_their_first_node(n):
    plan = plan_tuples(some(combinations(range(n), 2), comb(n, 2)))
    assert plan.shared == list(range(n - 1))
    # The nodes behind it in one piece, so that nothing is gathered:
    assert plan.starts == list(range(1, n))
    assert plan.ptr[-1] == comb(n, 2)
    for group, begin, end in zip(
        plan.shared, plan.ptr[:-1], plan.ptr[1:], strict=True
    ):
        assert plan.other[begin:end].tolist() == list(range(group + 1, n))


@all_orders
def test_plan_has_every_tuple_once(order):
    tuples = some(combinations(range(8), order), 25)
    plan = plan_tuples(tuples)
    seen = []
    for group, (begin, end) in enumerate(pairwise(plan.ptr)):
        shared = plan.shared[group * (order - 1) : (group + 1) * (order - 1)]
        others = plan.other[begin:end].tolist()
        if plan.starts[group] >= 0:
            start = plan.starts[group]
            assert others == list(range(start, start + len(others)))
        seen += [tuple(sorted([*shared, other])) for other in others]
    assert [seen[i] for i in plan.inverse] == tuples
    assert [tuples[i] for i in plan.permutation] == seen


@all_orders
@pytest.mark.parametrize('weighted', [True, False])
@pytest.mark.parametrize('consecutive', [True, False])
def test_the_last_chunk_of_a_group(order, weighted, consecutive, monkeypatch):
    """Five sets that share all members but one, two at a time: 2 + 2 + 1."""
    others = range(order, order + 5) if consecutive else (4, 6, 7, 9, 10)
    tuples = [(*range(order - 1), other) for other in others]
    plan = plan_tuples(tuples)
    assert plan.ptr == [0, 5]
    assert (plan.starts[0] >= 0) == consecutive
    x = torch.randn(SIZE, 11, CHANNELS, dtype=torch.double)
    monkeypatch.setattr(kernel, '_CPU_CHUNK', 2 * SIZE * CHANNELS * 8)
    pieces = [
        part
        for _, part, _ in kernel._pieces(
            x.permute(1, 2, 0), plan.shared, plan.ptr, plan.starts
        )
    ]
    assert pieces == [slice(0, 2), slice(2, 4), slice(4, 5)]
    inputs, weight = [x.requires_grad_()], None
    if weighted:
        weight = torch.randn(5, CHANNELS, dtype=torch.double)
        inputs.append(weight.requires_grad_())
    out = tuple_product(x, weight, plan)
    assert_same(gather_and_multiply(x, weight, tuples), [out], inputs)
    # Each set reaches its own member and weight, and no other:
    for q, other in enumerate(others):
        grads = torch.autograd.grad(out[0, q], inputs, retain_graph=True)
        reached = (grads[0][0] != 0).all(dim=1).nonzero().flatten().tolist()
        assert reached == [*range(order - 1), other]
        if weighted:
            assert (grads[1] != 0).any(dim=1).nonzero().tolist() == [[q]]


@all_orders
@pytest.mark.parametrize('weighted', [True, False])
def test_stays_in_single_precision_under_autocast(order, weighted):
    plan = plan_tuples(list(combinations(range(6), order)))
    sets = sets_of(plan)
    num = comb(6, order)
    x = torch.randn(SIZE, 6, CHANNELS).bfloat16()
    weight = torch.randn(num, CHANNELS) if weighted else None
    grad = torch.randn(SIZE, num).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        out = kernel._tuple_product(x, weight, *sets)
        grads = kernel._tuple_product_backward(grad, x, weight, *sets)
    assert torch.equal(out, kernel._tuple_product(x.float(), weight, *sets))
    want = kernel._tuple_product_backward(
        grad.float(), x.float(), weight, *sets
    )
    for one, two in zip(grads, want, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, two)
    x.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        tuple_product(x, weight, plan).square().sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert x.grad.isfinite().all()


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor ever made."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numel = max(self.numel, out.numel())
        return out


@all_orders
@pytest.mark.parametrize('weighted', [True, False])
def test_memory_does_not_grow_with_tuples(order, weighted, monkeypatch):
    monkeypatch.setenv(VARIABLE, 'portable')
    buffers = []
    plain = kernel._buffer

    def recorded(x):
        buffers.append(plain(x))
        return buffers[-1]

    monkeypatch.setattr(kernel, '_buffer', recorded)
    size, n, d = 16, 10, 8
    x = torch.randn(size, n, d)
    tuples = list(combinations(range(n), order))
    for num in (1, 20, len(tuples)):
        chosen = some(tuples, num)
        plan = plan_tuples(chosen)
        sets = sets_of(plan)
        weight = torch.randn(num, d) if weighted else None
        grad = torch.randn(size, num)
        with Largest() as largest:
            kernel._tuple_product._init_fn(x, weight, *sets)
            kernel._tuple_product_backward._init_fn(grad, x, weight, *sets)
        assert largest.numel <= max(size * n * d, num * size, num * d)
        assert len(buffers) == 2
        assert {len(b) for b in buffers} == {n}
        buffers.clear()
    # And what fits no cache is held in pieces:
    monkeypatch.setattr(kernel, '_CPU_CHUNK', 3 * size * d * 4)
    tuple_product(x, weight, plan)
    assert [len(b) for b in buffers] == [3]

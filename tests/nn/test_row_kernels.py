"""The kernels of recurrent steps and of edges against plain loops."""

from importlib import import_module

import pytest
import torch
from kernel_loops import gru_by_loops, softmax_by_loops
from loops import assert_same, randn
from operator_checks import assert_proper, assert_single_precision

pytestmark = pytest.mark.usefixtures('kernels')

# The modules, whose functions have the same names:
gru, rows, edges, vectors = (
    import_module(f'pyg_featgraph.nn.kernels.{name}')
    for name in ('gru_step', 'row_product', 'sum_softmax', 'lookup')
)


@pytest.mark.parametrize(('size', 'd'), [(1, 1), (2, 8), (3, 17), (70, 3)])
def test_gru_step(size, d):
    inputs = [randn(size, d) for _ in range(3)]
    inputs += [randn(3 * d, d), randn(3 * d, d), randn(3 * d), randn(3 * d)]
    expected = gru_by_loops(*inputs)
    assert_same(expected, [gru.gru_step(*inputs)], inputs)


def test_gru_step_with_gates_that_are_shut():
    """As far as numbers go, without NaN; and a NaN is seen."""
    inputs = [torch.randn(40, 5) for _ in range(3)]
    inputs += [torch.randn(15, 5), torch.randn(15, 5)]
    inputs += [torch.randn(15), torch.randn(15)]
    for scale in (1e4, -1e4):
        inputs[5] = torch.full((15,), scale)
        leaves = [v.clone().requires_grad_() for v in inputs]
        out = gru.gru_step(*leaves)
        # The state is kept, or is the candidate at its end:
        kept = inputs[1] if scale > 0 else torch.full((40, 5), -1.0)
        torch.testing.assert_close(out, kept + inputs[2])
        out.sum().backward()
        for v in leaves:
            assert v.grad.isfinite().all()
    inputs[0][3, 2] = torch.nan
    inputs[5] = torch.zeros(15)
    missing = gru.gru_step(*inputs).isnan()
    assert missing[3].all()
    assert missing.sum() == 5


@pytest.mark.parametrize(
    ('size', 'n', 'm', 'd'),
    [(1, 1, 1, 1), (70, 2, 3, 8), (2, 17, 9, 17), (3, 2, 17, 3), (1, 3, 2, 8)],
)
def test_row_product(size, n, m, d):
    x = randn(size, m, d)
    for weight in (randn(size, n, m), randn(n, m)):
        each = weight.expand(size, n, m)
        expected = torch.stack(
            [
                torch.stack(
                    [
                        sum(each[b, i, j] * x[b, j] for j in range(m))
                        for i in range(n)
                    ]
                )
                for b in range(size)
            ]
        )
        assert_same(expected, [rows.row_product(weight, x)], [weight, x])
        gate = randn(size, n, d)
        inputs = [weight, x, gate]
        assert_same(gate * expected, [rows.row_product(*inputs)], inputs)


@pytest.mark.parametrize('index_type', [torch.int32, torch.int64])
@pytest.mark.parametrize(
    ('num_rows', 'size', 'd'),
    [(1, (2,), 1), (9, (40,), 8), (50, (7, 3), 17), (4, (3, 0), 2)],
)
def test_lookup(num_rows, size, d, index_type):
    """Some rows are looked up often, others never."""
    weight, value = randn(num_rows, d), randn(*size)
    index = torch.randint(num_rows, size).square() % num_rows
    out = [
        v * weight[t]
        for v, t in zip(value.flatten(), index.flatten().tolist(), strict=True)
    ]
    expected = torch.stack([*out, weight.sum(0) * 0])[:-1].view(*size, d)
    found = vectors.lookup(weight, index.to(index_type), value)
    assert_same(expected, [found], [weight, value])
    sparse = vectors.lookup(weight, index.to(index_type), value, sparse=True)
    torch.testing.assert_close(sparse, expected)
    sparse.sum().backward()
    assert weight.grad.is_sparse


def test_lookup_is_a_proper_operator():
    weight, value = randn(5, 3), randn(2, 4)
    index = torch.randint(5, (2, 4))
    torch.library.opcheck(vectors._lookup, (weight, index, value))
    grad = torch.randn(2, 4, 3).double()
    given = grad, index, value.detach(), 5
    torch.library.opcheck(vectors._lookup_backward, given)


def test_lookup_of_what_is_not_there():
    weight, value = torch.rand(4, 3), torch.ones(2)
    for number in (-1, 4):
        with pytest.raises(IndexError):
            vectors.lookup(weight, torch.tensor([0, number]), value)
    with pytest.raises(RuntimeError, match=r'[Ss]ize'):
        vectors.lookup(weight, torch.tensor([0, 1]), torch.ones(3))


@pytest.mark.parametrize(
    ('size', 'n', 'm'), [(1, 1, 1), (3, 2, 5), (1, 17, 17), (3, 9, 2)]
)
def test_sum_softmax(size, n, m):
    inputs = [randn(size, n), randn(size, m)]
    some = torch.rand(size, n, m) < 0.6
    some[:, -1] = True
    some[:, : n - 1 : 2] = False  # Targets without sources.
    for keep in (None, some, some[:1]):
        for slope in (0.2, 0.0):
            shared = None if keep is None else keep.expand(size, n, m)
            expected = softmax_by_loops(*inputs, shared, slope)
            out = edges.sum_softmax(*inputs, keep, slope)
            assert_same(expected, [out], inputs)


def test_sum_softmax_far_from_zero():
    source = torch.tensor([[0.0, 50.0, 100.0]])
    for shift in (-1e4, 0.0, 1e4):
        out = edges.sum_softmax(torch.full((1, 2), shift), source, None, 1.0)
        expected = (shift + source).double().softmax(1).float()
        torch.testing.assert_close(out, expected.expand(1, 2, 3))
    source[0, 1] = torch.nan
    assert edges.sum_softmax(torch.zeros(1, 2), source, None, 1.0).isnan().all()


def operators():
    """Each operator and its backward, the inputs of it and, after a gradient
    of a given size, those of its backward.
    """
    d = 3
    nodes = tuple(torch.randn(3, 7, d))
    weights = torch.randn(9, d), torch.randn(9, d)
    weights += torch.randn(9), torch.randn(9)
    ops = gru._gru_step, gru._gru_step_backward
    yield *ops, (*nodes, *weights), (7, d), (*nodes[:2], *weights)
    ops = rows._row_product, rows._row_product_backward
    for size in ((3, 5, 4), (5, 4)):
        for gate in (None, torch.randn(3, 5, d)):
            given = torch.rand(size), torch.randn(3, 4, d), gate
            yield *ops, given, (3, 5, d), given
    ops = edges._sum_softmax, edges._sum_softmax_backward
    scores, keep = (torch.randn(3, 5), torch.randn(3, 4)), torch.rand(1, 5, 4)
    for mask in (None, keep < 0.6):
        given = *scores, mask, 0.2
        yield *ops, given, (3, 5, 4), (ops[0](*given), *scores, 0.2)


@pytest.mark.parametrize('threads', [2, 3, 99])
def test_threads_share_the_nodes(threads):
    """Gradients of parameters are sums over those of all threads."""
    used = torch.get_num_threads()
    nodes = [torch.randn(200, 5, dtype=torch.double) for _ in range(4)]
    weights = [torch.randn(15, 5).double(), torch.randn(15, 5).double()]
    weights += [torch.randn(15).double(), torch.randn(15).double()]
    given = nodes[:2] + weights
    matrix, many = torch.randn(3, 4).double(), torch.randn(200, 4, 5).double()
    up, gate = torch.randn(2, 200, 3, 5).double()
    index, value = torch.randint(30, (200,)), torch.randn(200).double()
    outs = []
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            outs.append(
                [
                    gru._gru_step(*nodes[:3], *weights),
                    *gru._gru_step_backward(nodes[3], *given),
                    rows._row_product(matrix, many, gate),
                    *rows._row_product_backward(up, matrix, many, gate),
                    vectors._lookup(matrix.new_ones(30, 2), index, value),
                    vectors._lookup_backward(up[:, 0], index, value, 30),
                ]
            )
    finally:
        torch.set_num_threads(used)
    for one, two in zip(*outs, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize('number', range(7))
def test_are_proper_operators(number):
    assert_proper(*list(operators())[number])


@pytest.mark.parametrize('number', range(7))
def test_stay_in_single_precision_under_autocast(number):
    assert_single_precision(*list(operators())[number])

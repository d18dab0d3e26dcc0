"""The kernels for GPUs against plain loops, on a GPU if there is one and else
by the interpreter of Triton (see conftest.py).
"""

import logging
import subprocess
from functools import partial
from importlib import import_module
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from kernel_loops import (
    attention_by_loops,
    gather_and_multiply,
    scores_by_loops,
    sets_by_loops,
)
from loops import randn
from model_zoo import MODELS

from pyg_featgraph.nn.kernels import backend, plan_tuples, top_m, triton

pytest.importorskip('triton', reason='Triton is not installed')

NAMES = (*triton.LARGEST, 'common')
kernels = SimpleNamespace(
    **{name: import_module(f'{triton.__name__}.{name}') for name in NAMES}
)
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'


def given(inputs, dtype, other_order):
    """What a kernel gets, in another order in memory if asked for."""
    for v in inputs:
        if torch.is_tensor(v):
            v = v.detach().to(DEVICE)
            v = v.to(dtype) if v.is_floating_point() else v
            v = v.mT.contiguous().mT if other_order and v.dim() > 1 else v
        yield v


def check(
    kernel, by_loops, inputs, options=(), dtype=torch.double, other_order=False
):
    """The same numbers and gradients as from loops in double precision."""
    with torch.no_grad():
        for v in inputs:
            if torch.is_tensor(v) and v.is_floating_point():
                # Numbers that both can have:
                v.copy_(v.to(dtype))
    leaves = [v for v in inputs if torch.is_tensor(v) and v.requires_grad]
    expected = by_loops(*inputs, *options)
    tensors = list(given(inputs, dtype, other_order))
    out = kernel.forward(*tensors, *options)
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu(), expected.detach().to(dtype))
    grad = torch.randn(expected.size()).to(dtype).double()
    (given_grad,) = given([grad], dtype, other_order)
    if kernel is kernels.pair_score:
        got = kernel.backward(given_grad, out, *tensors[:-1])
        # The slope of the sigmoid is that of the output as it was rounded:
        with torch.no_grad():
            slopes = [v * (1 - v) for v in (out.cpu().double(), expected)]
            grad = grad * slopes[0] / slopes[1]
    else:
        got = kernel.backward(given_grad, *tensors, *options)
    want = torch.autograd.grad(
        expected, leaves, grad, materialize_grads=True, retain_graph=True
    )
    for one, two in zip(got, want, strict=True):
        assert one.is_contiguous()
        torch.testing.assert_close(one.cpu(), two.to(dtype))


def pair_inputs(size, n, d, h):
    att = (0.3 * randn(h)).detach().requires_grad_()
    return [randn(size, n, d), randn(h, d), randn(h), att, randn(1)]


@pytest.mark.parametrize(
    ('size', 'n', 'd', 'h'),
    [(3, 1, 3, 5), (2, 2, 1, 1), (3, 5, 4, 3), (1, 39, 3, 6), (2, 9, 20, 70)],
)
def test_pair_score(size, n, d, h):
    inputs = pair_inputs(size, n, d, h)
    check(kernels.pair_score, scores_by_loops, inputs, other_order=n == 5)
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


def test_rows_share_the_sums_of_a_program(monkeypatch):
    # Five rows in two groups, each of which leaves one sum:
    common = kernels.pair_score.groups
    seen = []

    def two(rows, others):
        seen.append(common(rows, others, most=2 * others))
        return seen[-1]

    for module in (kernels.pair_score, kernels.induced_set):
        monkeypatch.setattr(module, 'groups', two)
    check(kernels.pair_score, scores_by_loops, pair_inputs(5, 2, 3, 4))
    check(kernels.induced_set, sets_by_loops, set_inputs(5, 3, 2, 2, 2))
    assert seen == [2, 2]
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


def set_inputs(size, n, d, sets, queries):
    inputs = [
        randn(size, n, d),
        randn(size, n, sets),
        randn(sets, queries, d),
        randn(n, sets, queries),
    ]
    with torch.no_grad():
        # Some fields are no members:
        inputs[1].relu_()
        inputs[3].sigmoid_().mul_(0.1)
    return inputs


@pytest.mark.parametrize(
    ('size', 'n', 'd', 'sets', 'queries'),
    [
        (3, 1, 3, 1, 1),
        (2, 2, 1, 2, 3),
        (2, 5, 20, 3, 2),
        (1, 17, 3, 2, 3),
        (1, 3, 3, 2, 65),
    ],
)
def test_induced_sets(size, n, d, sets, queries):
    inputs = set_inputs(size, n, d, sets, queries)
    check(kernels.induced_set, sets_by_loops, inputs, other_order=n == 5)


def tuple_inputs(order, size, d, weighted):
    tuples = list(combinations(range(6), order))
    # Some of them, and one twice:
    some = [tuples[i] for i in torch.randperm(len(tuples))[:9]]
    some.append(some[0])
    plan = plan_tuples(some)
    weight = randn(len(some), d) if weighted else None

    def by_gathering(x, weight, *sets):
        return gather_and_multiply(x, weight, some)

    order = (plan.other, plan.permutation, plan.inverse)
    sets = *(v.to(DEVICE) for v in order), plan.shared, plan.ptr
    return by_gathering, [randn(size, 6, d), weight], sets


@pytest.mark.parametrize('order', [2, 3, 4])
@pytest.mark.parametrize(
    ('size', 'd', 'weighted'), [(3, 1, True), (18, 20, True), (2, 5, False)]
)
def test_tuple_product(order, size, d, weighted):
    by_gathering, inputs, sets = tuple_inputs(order, size, d, weighted)
    tensors = list(given(inputs, torch.double, d == 5))
    expected = by_gathering(*inputs)
    out = kernels.tuple_product.forward(*tensors, *sets)
    torch.testing.assert_close(out.cpu(), expected)
    grad = torch.randn_like(expected)
    leaves = [v for v in inputs if v is not None]
    want = torch.autograd.grad(expected, leaves, grad)
    got = kernels.tuple_product.backward(grad.to(DEVICE), *tensors, *sets)
    assert weighted or got[1].numel() == 0
    for one, two in zip(got, want, strict=False):
        torch.testing.assert_close(one.cpu(), two)


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


@pytest.mark.parametrize('dtype', [torch.float, torch.bfloat16, torch.half])
def test_other_precisions(dtype):
    """Sums are in single precision: what differs is the rounding of results."""
    check(
        kernels.pair_score, scores_by_loops, pair_inputs(2, 3, 3, 4), (), dtype
    )
    check(
        kernels.hadamard_attention,
        edges_by_loops,
        attention_inputs(2, 3, 3, 2, 1, (1, 1), True),
        (0.25, False),
        dtype,
    )
    check(
        kernels.induced_set,
        sets_by_loops,
        set_inputs(2, 3, 3, 2, 3),
        (),
        dtype,
    )
    by_gathering, inputs, sets = tuple_inputs(3, 3, 5, True)
    check(kernels.tuple_product, by_gathering, inputs, sets, dtype)


def test_precision_of_products():
    single, half = torch.zeros(1), torch.zeros(1, dtype=torch.half)
    arithmetic = kernels.common.arithmetic
    assert arithmetic(single)['PRECISION'] == 'ieee'
    assert arithmetic(half)['PRECISION'] == 'tf32'
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision('high')
        assert arithmetic(single)['PRECISION'] == 'tf32'
        assert arithmetic(single.double())['PRECISION'] == 'ieee'
    finally:
        torch.set_float32_matmul_precision(before)


def test_no_rows():
    checks = [
        (kernels.pair_score, pair_inputs(0, 4, 3, 2), ()),
        (
            kernels.hadamard_attention,
            attention_inputs(0, 4, 3, 2, 1, None, False),
            (0.2, True),
        ),
        (kernels.induced_set, set_inputs(0, 4, 3, 2, 2), ()),
        (kernels.tuple_product, *tuple_inputs(2, 0, 3, True)[1:]),
    ]
    for kernel, inputs, options in checks:
        tensors = list(given([*inputs, *options], torch.double, False))
        out = kernel.forward(*tensors)
        first = [out] if kernel is kernels.pair_score else []
        rest = tensors[:-1] if first else tensors
        grads = kernel.backward(out, *first, *rest)
        assert out.numel() == 0
        assert all((v == 0).all() for v in grads)
        assert grads[0].size() == inputs[0].size()
    assert kernels.top_m.forward(torch.zeros(0, 3), 2, False).size() == (0, 3)


def test_gradient_of_the_selection():
    weight = torch.randn(4, 5, 9, device=DEVICE)
    out = kernels.top_m.forward(weight, 3, False)
    grad = torch.randn_like(weight)
    got = kernels.top_m.backward(grad, out)
    assert torch.equal(got, grad * (out != 0))
    assert (got != 0).sum() == 4 * 5 * 3


@pytest.mark.parametrize(
    ('name', 'used'),
    [
        ('GraphFM', {'pair_score', 'top_m', 'hadamard_attention'}),
        ('GraphFM paper', {'pair_score', 'top_m', 'hadamard_attention'}),
        ('FeatNet', {'induced_set'}),
        ('AIM shared', {'tuple_product'}),
    ],
)
def test_models_use_them(name, used, table, monkeypatch):
    model = MODELS[name](table.info).to(DEVICE)
    batch = table[:2].to(DEVICE)
    calls, results = set(), []

    def record(kernel, forward, *args):
        calls.add(kernel)
        return forward(*args)

    for kernel in triton.LARGEST:
        module = getattr(kernels, kernel)
        forward = partial(record, kernel, module.forward)
        monkeypatch.setattr(module, 'forward', forward)
    for form in ('portable', 'triton'):
        monkeypatch.setenv(backend.VARIABLE, form)
        assert not calls
        model.zero_grad()
        out = model(batch)
        out.square().sum().backward()
        parameters = model.named_parameters()
        grads = {key: p.grad for key, p in parameters if p.grad is not None}
        results.append({'out': out.detach(), **grads})
    assert calls == used
    torch.testing.assert_close(*results)


class OnAGPU(SimpleNamespace):
    """What there is to know of a tensor there."""

    is_cuda, device = True, torch.device('cuda:0')

    def size(self, dim):
        return self.shape[dim]


def test_choice(monkeypatch, caplog):
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: (9, 0)
    )
    monkeypatch.setattr(triton, '_obstacle', lambda capability: '')
    x = OnAGPU(dtype=torch.float32, shape=(2, 3, 128))
    for name in triton.LARGEST:
        form = backend.native_form(name, x)
        assert form.__name__.endswith(f'kernels.triton.{name}')
    assert backend.native_form('field_product', x) is None
    x.shape = (2, 3, 129)
    assert backend.native_form('pair_score', x) is None
    assert backend.native_form('top_m', x) is not None
    x.dtype = torch.float64
    assert backend.native_form('top_m', x) is None
    x.dtype = torch.bfloat16
    assert backend.native_form('top_m', x) is not None
    monkeypatch.setenv(backend.VARIABLE, 'portable')
    assert backend.native_form('top_m', x) is None
    # In the interpreter there is room for anything:
    monkeypatch.setenv(backend.VARIABLE, 'triton')
    x = torch.rand(2, 300, dtype=torch.double)
    assert backend.native_form('top_m', x) is kernels.top_m
    assert backend.native_form('field_product', x) is None


@pytest.mark.parametrize(
    ('capability', 'driver', 'reason'),
    [
        ((7, 5), None, 'Triton needs compute capability 8.0'),
        ((9, 0), ImportError('no Triton\nat all'), 'no Triton'),
        ((9, 0), RuntimeError('no C compiler'), 'no C compiler'),
        (
            (9, 0),
            subprocess.CalledProcessError(1, 'cc'),
            "Command 'cc' returned non-zero exit status 1.",
        ),
    ],
)
def test_where_there_are_none(monkeypatch, caplog, capability, driver, reason):
    def target():
        if driver is not None:
            raise driver

    active = SimpleNamespace(get_current_target=target)
    runtime = SimpleNamespace(driver=SimpleNamespace(active=active))
    monkeypatch.setattr(triton.importlib, 'import_module', lambda name: runtime)
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda device: capability
    )
    triton._obstacle.cache_clear()
    with caplog.at_level(logging.WARNING, 'pyg_featgraph'):
        for _ in range(3):
            assert not triton.usable(torch.device('cuda:0'))
    (record,) = caplog.records
    assert record.getMessage() == f'The portable kernels are used: {reason}'
    with pytest.raises(RuntimeError, match=reason):
        triton.usable(torch.device('cuda:0'), required=True)
    triton._obstacle.cache_clear()

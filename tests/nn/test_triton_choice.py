"""Where the kernels for GPUs are used."""

import logging
import subprocess
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from model_zoo import MODELS
from triton_checks import DEVICE, kernels

from pyg_featgraph.nn.kernels import backend, triton


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


@pytest.mark.parametrize(
    ('name', 'used'),
    [
        ('GraphFM', {'pair_score', 'top_m', 'hadamard_attention'}),
        ('GraphFM paper', {'pair_score', 'top_m', 'hadamard_attention'}),
        ('AutoInt', {'small_attention'}),
        ('FiGNN', {'gru_step', 'small_attention', 'sum_softmax'}),
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

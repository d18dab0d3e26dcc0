"""Which form of the kernels runs, and how the native one comes to be."""

import importlib
import logging
import shutil
from pathlib import Path

import pytest
import torch

from pyg_featgraph.nn import kernels
from pyg_featgraph.nn.kernels import top_m
from pyg_featgraph.nn.kernels.backend import VARIABLE, native_form

native = importlib.import_module('pyg_featgraph.nn.kernels.native.library')

pytestmark = pytest.mark.skipif(
    native.library() is None, reason='there are no native kernels here'
)

BUILT = Path(native.library()._name) if native.library() else None


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No kernels built so far."""
    monkeypatch.delenv(VARIABLE, raising=False)
    cache = tmp_path / 'cache'
    cache.mkdir()
    monkeypatch.setenv('XDG_CACHE_HOME', str(cache))
    # Compiled in a third of the time:
    compiler = tmp_path / 'c++'
    compiler.write_text('#!/bin/sh\nexec c++ "$@" -O0\n')
    compiler.chmod(0o755)
    monkeypatch.setenv('CXX', str(compiler))
    native._library.cache_clear()
    yield cache / 'pyg_featgraph'
    native._library.cache_clear()


def test_choice(monkeypatch):
    x = torch.rand(3, 4)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert native_form('top_m', x).__name__.endswith('native.top_m')
    assert native_form('top_m', x.bfloat16()) is None
    assert native_form('top_m', x.to('meta')) is None
    monkeypatch.setenv(VARIABLE, 'portable')
    assert native_form('top_m', x) is None
    monkeypatch.setenv(VARIABLE, 'fast')
    with pytest.raises(ValueError, match='must be one of portable'):
        native_form('top_m', x)


def test_calls_are_of_one_type():
    with pytest.raises(TypeError, match='tensors of one type'):
        native.call('top_m', torch.rand(2), torch.rand(2).double(), 1, 2, 1, 0)


def test_sizes_that_do_not_match(monkeypatch):
    # Nothing may be read from behind a tensor, whichever it is:
    monkeypatch.setenv(VARIABLE, 'native')
    x, h = torch.randn(2, 4, 3), torch.randn(5)
    score = torch.randn(5, 3), h, h, torch.randn(1)
    att = torch.randn(2, 3), torch.randn(2)
    scale, gru = torch.randn(2, 1, 4, 4), [torch.randn(9, 3)] * 2
    pairs = kernels.plan_tuples([(0, 1), (2, 3)])
    calls = [
        (kernels.pair_score, (x, *score)),
        (kernels.hadamard_attention, (x, *att, scale, scale > 0, 0.2, False)),
        (kernels.selected_attention, (x, *score, *att, 2, False, 0.2, False)),
        (kernels.field_product, (x.unsqueeze(2), torch.randn(4, 1, 3, 2))),
        (kernels.small_attention, (x.unsqueeze(2),) * 3),
        (kernels.row_product, (torch.randn(2, 4, 4), x, x)),
        (kernels.sum_softmax, (x[..., 0], x[..., 0], scale[:, 0] > 0, 0.2)),
        (kernels.gru_step, (x[0], x[0], x[0], *gru, *[torch.randn(9)] * 2)),
        (
            kernels.gated_steps,
            (
                x,
                torch.randn(2, 4, 4),
                *[torch.randn(1, 4, 3, 3)] * 2,
                *gru,
                *[torch.randn(9)] * 2,
                1,
            ),
        ),
        (kernels.tuple_product, (x, torch.randn(2, 3), pairs)),
        (
            kernels.induced_set_attention,
            (
                x,
                torch.randn(2, 4, 5),
                torch.randn(5, 6, 3),
                torch.rand(4, 5, 6),
            ),
        ),
    ]
    for kernel, given in calls:
        kernel(*given)
        for k, v in enumerate(given):
            # Its last size is that of the output, whatever it is.
            is_free = kernel is kernels.field_product
            if not torch.is_tensor(v) or v.numel() == 1 or (is_free and k):
                continue
            less = (*given[:k], v.flip(-1)[..., 1:], *given[k + 1 :])
            with pytest.raises((RuntimeError, ValueError), match=r'[Ss]ize'):
                kernel(*less)


def test_is_built_once(fresh, monkeypatch):
    weight = torch.rand(5, 7)
    out = top_m(weight, 2)
    (built,) = fresh.iterdir()
    assert built.suffix == '.so'
    native._library.cache_clear()
    monkeypatch.setattr(native, '_compile', None)
    assert torch.equal(top_m(weight, 2), out)


@pytest.mark.parametrize('compiler', [None, 'false'])
def test_without_a_compiler(fresh, monkeypatch, caplog, compiler):
    if compiler is None:
        monkeypatch.delenv('CXX', raising=False)
        monkeypatch.setenv('PATH', str(fresh))
        reason = 'no C\\+\\+ compiler is found'
    else:
        monkeypatch.setenv('CXX', compiler)
        reason = 'false --version failed'
    weight = torch.rand(5, 7)
    with caplog.at_level(logging.WARNING, 'pyg_featgraph'):
        for _ in range(3):
            out = top_m(weight, 2)
    assert torch.equal(out != 0, weight >= weight.topk(2).values[:, 1:])
    (record,) = caplog.records
    assert record.getMessage().startswith('The portable kernels are used: ')
    monkeypatch.setenv(VARIABLE, 'native')
    with pytest.raises(RuntimeError, match=reason):
        top_m(weight, 2)


def test_a_cache_that_cannot_be_written_to(fresh, monkeypatch):
    fresh.parent.rmdir()
    fresh.parent.write_text('a file')
    monkeypatch.setattr(native, '_compile', lambda *a: shutil.copy(BUILT, a[2]))
    assert native.library(required=True) is not None


def test_threads_share_the_rows():
    # Any number of threads, more than there are rows as well:
    weight = torch.rand(5, 40)
    used = torch.get_num_threads()
    try:
        outs = []
        for threads in (1, 2, 3, 9):
            torch.set_num_threads(threads)
            outs.append(top_m(weight, 3))
    finally:
        torch.set_num_threads(used)
    assert all(torch.equal(out, outs[0]) for out in outs)

"""Many interactions are taken some at a time, and give the same numbers."""

import pytest
import torch
from aim_loops import SLOTS, make_batch

from pyg_featgraph.nn import AIM, InteractionConv, MulticlassHead
from pyg_featgraph.nn.conv import interaction_conv as module

MODELS = {
    'all functions': {},
    'edges': {'edge': 'hadamard'},
    'classes of members': {'head': MulticlassHead(3), 'members': 2},
    'without normalisation': {'norm': False},
    'perceptron': {'hidden_channels': (5,)},
}


def twins(options, monkeypatch):
    """The same model, whole and in parts of four pairs."""
    torch.manual_seed(0)
    whole = AIM(SLOTS, 4, **options).double()
    monkeypatch.setattr(module, '_PART', 4)
    parts = AIM(SLOTS, 4, **options).double()
    parts.load_state_dict(whole.state_dict())
    for one, many in ((whole, 1), (parts, 3)):
        for _, conv in one.layer.items():
            assert len(conv.parts) >= many
    return whole, parts


@pytest.mark.parametrize('options', MODELS.values(), ids=MODELS)
@pytest.mark.parametrize('drop', [0.0, 0.2])
def test_model_in_parts(options, drop, monkeypatch):
    batch = make_batch(drop=drop)
    models = twins(options, monkeypatch)
    for training in (True, False):
        outs = [model.train(training)(batch) for model in models]
        torch.testing.assert_close(*outs)
        grad = torch.randn_like(outs[0])
        grads = [
            torch.autograd.grad(out, [*model.parameters()], grad)
            for model, out in zip(models, outs, strict=True)
        ]
        torch.testing.assert_close(*grads)
    # The statistics of the batch, once for a step:
    states = [model.state_dict() for model in models]
    torch.testing.assert_close(*states)


def test_a_single_row_has_no_variance(monkeypatch):
    batch = make_batch(size=1)
    whole, parts = twins({}, monkeypatch)
    torch.testing.assert_close(whole(batch), parts(batch))


@pytest.mark.parametrize('function', module.FUNCTIONS)
def test_operator_in_parts(function, monkeypatch):
    triples = [(0, 1, 2), (1, 2, 4), (0, 3, 4), (0, 1, 4), (2, 3, 4)]
    whole = InteractionConv(3, triples, function).double()
    monkeypatch.setattr(module, '_PART', 2)
    parts = InteractionConv(3, triples, function).double()
    parts.load_state_dict(whole.state_dict())
    assert parts.parts == [slice(0, 2), slice(2, 4), slice(4, 5)]
    x = torch.randn(6, 5, 3, dtype=torch.double)
    torch.testing.assert_close(whole(x), parts(x))


def test_values_are_computed_again(monkeypatch):
    """Twice in a step, and once where nothing learns."""
    _, model = twins({'functions': ['inner']}, monkeypatch)
    seen = []
    values = InteractionConv.values

    def counted(self, x, k, weight):
        seen.append(k)
        return values(self, x, k, weight)

    monkeypatch.setattr(InteractionConv, 'values', counted)
    out = model(make_batch())
    assert sorted(set(seen)) == list(range(len(seen)))
    num = len(seen)
    out.sum().backward()
    assert len(seen) == 2 * num
    with torch.no_grad():
        model(make_batch())
    assert len(seen) == 3 * num

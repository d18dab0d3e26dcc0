import pytest
import torch
from aim_loops import (
    DIM,
    INFO,
    SLOTS,
    all_gates,
    assert_compact,
    close,
    close_all,
    gates_of,
    make_batch,
    num_parameters,
    randomise,
)

from pyg_featgraph.nn import (
    AIM,
    LR,
    FieldModel,
)
from pyg_featgraph.nn.gates import gated

WISE = pytest.mark.parametrize(
    'wise',
    [
        {},
        {'function_wise': False},
        {'order_wise': False},
        {'function_wise': False, 'order_wise': False},
    ],
    ids=str,
)


@WISE
@pytest.mark.parametrize('orders', [[3], [2, 3, 4]])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.97])
def test_compact(share, orders, wise):
    model = AIM(SLOTS, DIM, all_gates(*orders), **wise)
    small = assert_compact(close(randomise(model), share))
    assert num_parameters(small) <= num_parameters(model)
    if share > 0:
        assert num_parameters(small) < num_parameters(model)
    assert gates_of(small) == gates_of(model)
    assert_compact(small)


@WISE
@pytest.mark.parametrize('norm', [True, False])
@pytest.mark.parametrize('share', [0.0, 0.3, 0.7])
def test_compact_dimensions(share, norm, wise):
    model = AIM(SLOTS, DIM, all_gates(2, 3), dim_gates=True, norm=norm, **wise)
    close(randomise(model), 0.5, share)
    small = assert_compact(model)
    assert small.dim_gate is None
    assert_compact(small)


def test_compact_drops_what_has_no_dimensions():
    gates = {
        ('f', 'b'): {'inner': 1.0, 'outer': 2.0},
        ('f', 'd'): {'vector': 3.0, 'outer': 4.0},
        ('b', 'd', 'c'): {'scalar': 5.0},
    }
    model = AIM(SLOTS, DIM, gated(gates), dim_gates=True, norm=False)
    randomise(model)
    with torch.no_grad():
        for _, conv in model.layer.items():
            conv.gate.fill_(2.0)
        # Nothing is common to `f` and `b`, and `d` has no dimensions:
        model.dim_gate[0] = torch.tensor([1.0, 0.0, 0.0])
        model.dim_gate[1] = torch.tensor([0.0, 1.0, 1.0])
        model.dim_gate[2] = 0
    small = assert_compact(model)
    assert gates_of(small) == {('b', 'f'): {'outer': 2.0}}
    assert [*small.embeddings] == ['outer-2']
    assert small.embeddings['outer-2'].dims == [[0], [1, 2], [], [], [], []]


def test_compact_of_ragged_vectors_with_gates():
    dims = {'shared-2': [[0], [0, 1], [], [1, 2], [0, 1, 2], [2]]}
    options = {'dims': dims, 'dim_gates': True, 'norm': False}
    model = AIM(SLOTS, DIM, function_wise=False, **options)
    assert_compact(close(randomise(model), 0.3, 0.3))


@WISE
@pytest.mark.parametrize(
    'options',
    [
        {},
        # The edge looks at node vectors that no interaction uses any more:
        {'functions': ['vector', 'inner']},
        {'dim_gates': True, 'norm': False},
    ],
    ids=str,
)
@pytest.mark.parametrize('share', [0.5, 2.0])
def test_compact_keeps_edges(share, options, wise):
    model = AIM(SLOTS, DIM, all_gates(2, 3), edge='hadamard', **options, **wise)
    small = assert_compact(close(randomise(model), share, 0.4))
    assert len(small.tables) >= 2
    assert_compact(small)


@pytest.mark.parametrize('hidden_channels', [[4], [4, 5]])
@pytest.mark.parametrize('share', [0.0, 0.6, 2.0])
def test_compact_perceptron(share, hidden_channels):
    model = AIM(
        SLOTS,
        DIM,
        all_gates(2, 3),
        hidden_channels=hidden_channels,
        dropout=0.3,
    )
    small = assert_compact(close(randomise(model), share))
    assert (small.mlp is None) == (share > 1)
    assert_compact(small)
    assert small.config['dropout'] == 0.3
    # In training there is no randomness in what is compacted:
    again = model.train().compact().eval()
    for name, value in small.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'function_wise': False},
        {'dim_gates': True, 'norm': False},
        {'hidden_channels': [4]},
    ],
    ids=str,
)
def test_all_gates_closed(options, tmp_path):
    model = close_all(randomise(AIM(SLOTS, DIM, **options)))
    small = assert_compact(model)
    assert num_parameters(small) == 1 + INFO.num_embeddings
    assert len(small.gates()) == 0
    assert len(small.interactions(by='edges')) == 0
    batch = make_batch()
    # Without interactions it is a logistic regression:
    linear = LR(SLOTS).double()
    linear.linear.load_state_dict(small.linear.state_dict())
    torch.testing.assert_close(small(batch), linear(batch))
    small.save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model').double().eval()
    torch.testing.assert_close(loaded(batch).float(), small(batch).float())
    small.train().loss(batch).backward()
    assert all(p.grad.isfinite().all() for p in small.parameters())
    # The model that is only closed trains as well, and may open again:
    model.train().loss(batch).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_compact_model_trains_and_loads(tmp_path):
    model = AIM(SLOTS, DIM, all_gates(2, 3), hidden_channels=[4])
    small = close(randomise(model), 0.8).compact().float()
    small.save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model').eval()
    assert repr(loaded) == repr(small)
    batch = make_batch()
    batch.slot_value, batch.y = batch.slot_value.float(), batch.y.float()
    assert torch.equal(loaded(batch), small(batch))
    loaded.train()
    optimizer = torch.optim.Adam(loaded.parameters(), lr=0.05)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loaded.loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize('dtype', [torch.float, torch.double])
def test_compact_keeps_precision_and_mode(dtype):
    for training in (True, False):
        model = AIM(INFO, DIM, dim_gates=True).to(dtype).train(training)
        for out in (model.compact(), model.rebuild(dim_gates=False)):
            assert {p.dtype for p in out.parameters()} == {dtype}
        assert model.compact().training == training

from itertools import combinations

import pytest
import torch
from aim_loops import (
    DIM,
    INFO,
    SLOTS,
    aim_by_loops,
    all_gates,
    close,
    gates_of,
    layouts,
    make_batch,
    node_vectors,
    randomise,
)
from loops import as_nodes

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    FM,
    IPNN,
    AttentionEdge,
    DeepFM,
    FieldModel,
)
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.gates import gated

EDGES = ['hadamard', 'attention', 'adjacency', 'subset', 'uniform']


def assert_equals_loops(model):
    for batch in (make_batch(), make_batch(drop=0.2)):
        expected = aim_by_loops(model, batch)
        for form in (batch, as_nodes(batch)):
            torch.testing.assert_close(model(form).detach(), expected)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'order_wise': False},
        {'function_wise': False},
        {'function_wise': False, 'order_wise': False},
        {'dim_gates': True, 'norm': False},
        {'dim_gates': True, 'function_wise': False, 'eps': 0.1},
    ],
    ids=str,
)
def test_equals_loops(options, training):
    few = InteractionSet(
        [*all_gates(2)[:6], *all_gates(3)[3:6], *all_gates(4)[:2]]
    )
    model = randomise(AIM(SLOTS, DIM, few, **options)).train(training)
    assert len(model.layer.convs) == 12
    assert_equals_loops(model)


@pytest.mark.parametrize(
    'options',
    [
        *({'edge': edge} for edge in EDGES),
        {'edge': 'hadamard', 'order_wise': False},
        {'edge': 'hadamard', 'dim_gates': True, 'norm': False},
    ],
    ids=str,
)
def test_edges_equal_loops(options):
    few = InteractionSet(
        [*all_gates(2, functions=['outer'])[:3], *all_gates(3)[3:5]]
    )
    assert_equals_loops(
        randomise(AIM(SLOTS, DIM, few, ['vector', 'inner'], **options))
    )


def test_the_pairs_are_the_default():
    model = AIM(INFO, DIM, functions=['inner', 'vector'])
    assert [*model.layer.convs] == ['inner-2', 'vector-2']
    for _, conv in model.layer.items():
        assert conv.interactions == [*combinations(range(6), 2)]


def test_scale_of_dimensions_is_averaged():
    model = randomise(AIM(INFO, DIM, dim_gates=True, norm=False))
    batch = make_batch(INFO)
    running = model.get_buffer('square_outer-2')
    before = running.clone()
    model(batch)
    assert torch.equal(running, before)
    model.train()
    model(batch)
    rows = node_vectors(model.embeddings['outer-2'].weight, batch)
    square = torch.stack([torch.stack(row) for row in rows]).square().mean(0)
    torch.testing.assert_close(running, (0.9 * before + 0.1 * square).detach())


def test_higher_orders_add_less_to_the_variance():
    model = AIM(INFO, DIM, all_gates(2, 3, 4), eps=0.5, embedding_std=0.1)
    for _, conv in model.layer.items():
        # Products of more members are smaller by as much:
        eps = 0.5 * 0.1 ** (2 * (conv.order - 2))
        assert conv.norm.eps == pytest.approx(eps)


def test_deleted_interactions_leave_the_logits():
    """What the search and the re-training see is the same function."""
    model = close(randomise(AIM(SLOTS, DIM, all_gates(2, 3))), 0.6)
    small = model.rebuild(interactions=model.gates()).eval()
    assert small.layer.num_interactions < model.layer.num_interactions
    # Node vectors stay as they are, unlike in a compact model:
    for name, embedding in small.embeddings.items():
        assert torch.equal(embedding.weight, model.embeddings[name].weight)
    for _, form in layouts():
        torch.testing.assert_close(small(form), model(form))


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'function_wise': False, 'order_wise': False},
        {'dim_gates': True, 'norm': False},
        {'edge': 'hadamard', 'momentum': 0.5},
    ],
    ids=str,
)
def test_rebuild_with_more_interactions(options):
    few = gated(
        {
            ('b', 'f'): {'inner': None, 'vector': None},
            ('c', 'd'): {'vector': None},
            ('a', 'b', 'f'): {'outer': None},
        }
    )
    model = randomise(AIM(SLOTS, DIM, few, **options))
    values = gates_of(model)
    closed = dict.fromkeys(FUNCTIONS, 0.0)
    whole = {
        x.fields: closed | values.get(x.fields, {}) for x in all_gates(2, 3)
    }
    more = model.rebuild(interactions=gated(whole)).eval()
    assert more.layer.num_interactions == 4 * (15 + 20)
    assert gates_of(more) == values
    for _, form in layouts():
        torch.testing.assert_close(more(form), model(form))
    for name, embedding in model.embeddings.items():
        assert torch.equal(embedding.weight, more.embeddings[name].weight)
    # And back again, to the very same parameters:
    back = more.rebuild(interactions=few)
    for name, value in model.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name


def test_rebuild_copies_a_perceptron_that_fits():
    model = randomise(AIM(INFO, DIM, hidden_channels=[4, 4]))
    assert torch.equal(model.rebuild().mlp.lin.weight, model.mlp.lin.weight)
    for hidden_channels in ([4], [4, 4, 4], [5, 4]):
        out = model.rebuild(hidden_channels=hidden_channels)
        first = out.mlp.hidden.lins[0].weight
        assert first.size() == (hidden_channels[0], 4 * 15)
        assert not torch.equal(first, model.mlp.hidden.lins[0].weight)
    assert model.rebuild(hidden_channels=[]).mlp is None
    # Not that of other interactions, even if there are as many:
    model = randomise(AIM(INFO, DIM, all_gates(2)[:3], hidden_channels=[4]))
    other = model.rebuild(interactions=all_gates(2)[1:4])
    assert not torch.equal(
        other.mlp.hidden.lins[0].weight, model.mlp.hidden.lins[0].weight
    )
    model = randomise(AIM(INFO, DIM, hidden_channels=[4, 4]))
    thinner = model.rebuild(interactions=all_gates(2, functions=['outer']))
    columns = slice(15, 30)
    assert torch.equal(
        thinner.mlp.hidden.lins[0].weight,
        model.mlp.hidden.lins[0].weight[:, columns],
    )


def test_interactions_are_the_open_gates():
    gates = {
        ('f', 'b'): {'inner': 0.25, 'outer': -0.5},
        ('e', 'a', 'd'): {'vector': 0.375, 'scalar': 0.0},
        ('c', 'd'): {'inner': 0.0},
    }
    model = AIM(INFO, DIM, gated(gates))
    found = model.interactions(by='edges')
    assert found == InteractionSet(
        [
            Interaction(('b', 'f'), 0.5, 'AIM'),
            Interaction(('a', 'd', 'e'), 0.375, 'AIM'),
        ]
    )
    assert [x.detail for x in found] == [
        {'unit': 'largest gate', 'functions': {'inner': 0.25, 'outer': -0.5}},
        {'unit': 'largest gate', 'functions': {'vector': 0.375}},
    ]
    assert model.interactions(by='edges', top=1) == found[:1]
    # Closed gates are there and may open again:
    assert model.layer.columns() == {
        ('inner', (0, 1)): 0,
        ('inner', (2, 3)): 1,
        ('outer', (0, 1)): 2,
        ('vector', (2, 4, 5)): 3,
        ('scalar', (2, 4, 5)): 4,
    }
    # There and back again, also through a file:
    back = InteractionSet.from_json(found.to_json())
    assert back == found
    assert [x.detail for x in back] == [x.detail for x in found]
    again = AIM(INFO, DIM, back)
    assert again.gates() == found
    assert gates_of(again) == gates_of(model)


INSTALL = {
    'AIM': lambda info, found: AIM(info, DIM, found),
    'DeepFM': lambda info, found: DeepFM(info, DIM, [4], found),
    'IPNN': lambda info, found: IPNN(info, DIM, [4], found),
}


@pytest.mark.parametrize('name', INSTALL)
def test_installs_interactions(name, tmp_path):
    make = INSTALL[name]
    searched = close(randomise(AIM(SLOTS, DIM, all_gates(2, 3))), 0.7)
    found = searched.interactions(by='edges')
    model = make(SLOTS, found)
    # Initial gates are those that were found, in single precision:
    want = {
        q: {f: pytest.approx(v) for f, v in values.items()}
        for q, values in gates_of(searched).items()
    }
    assert gates_of(model.layer) == want
    assert model.config['interactions'] == found
    model.reset_parameters()
    assert gates_of(model.layer) == want
    batch = make_batch()
    randomise(model).float().save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model').double().eval()
    assert repr(loaded) == repr(model)
    assert loaded.config['interactions'] == found
    assert gates_of(loaded.layer) == gates_of(model.layer)
    torch.testing.assert_close(loaded(batch), model.double()(batch))


@pytest.mark.parametrize('name', INSTALL)
def test_installs_interactions_of_any_method(name, table):
    make, info = INSTALL[name], table.info
    torch.nn.init.normal_((fm := FM(info, 4)).embedding.weight)
    for found in (
        fm.interactions(table, num_rows=32, top=5),
        FIVES(info, 4, 3, self_loops=False).derive().top(6),
        InteractionSet([Interaction(('C1', 'I1', 'C2'), 1.0, 'x+y')]),
        InteractionSet([Interaction(('C1',), 1.0)]),
        InteractionSet(),
    ):
        model = make(info, found)
        orders = {x.order for x in found} - {1}
        names = FUNCTIONS if name == 'AIM' else ['inner']
        assert set(model.layer.convs) == {
            f'{f}-{order}' for f in names for order in orders
        }
        # In the order of the fields, whatever the scores:
        tuples = {
            order: sorted(
                tuple(sorted(info.names.index(x) for x in entry.fields))
                for entry in found.of_order(order)
            )
            for order in orders
        }
        for _, conv in model.layer.items():
            assert conv.interactions == tuples[conv.order]
        assert model(table[:8]).isfinite().all()
        model.loss(table[:8]).backward()
    found = fm.interactions(table, num_rows=32, top=5)
    inner = AIM(info, DIM, found, functions=['inner'])
    assert [*inner.layer.convs] == ['inner-2']


@pytest.mark.parametrize('name', INSTALL)
def test_interactions_that_do_not_fit(name):
    make = INSTALL[name]
    unknown = InteractionSet([Interaction(('a', 'who'), 1.0)])
    with pytest.raises(DataError, match=r"a x who has the field 'who'"):
        make(INFO, unknown)
    detail = {'functions': {'inner': 1.0, 'cross': 0.5}}
    found = InteractionSet([Interaction(('a', 'b'), 1.0, 'AIM', detail)])
    with pytest.raises(ValueError, match="function named 'cross'"):
        make(INFO, found)
    with pytest.raises(ValueError, match=r"'interactions' must be .*Inter"):
        make(INFO, [('a', 'b')])


@pytest.mark.parametrize(
    ('name', 'value', 'match'),
    [
        ('functions', ['inner', 'cross'], "must be a list of 'inner', 'outer'"),
        ('functions', [], 'must be a list of'),
        ('functions', 'inner', 'must be a list of'),
        ('momentum', 1.5, 'must be at least 0 and below 1'),
        ('eps', -1.0, 'must be a number of at least 0'),
        ('embedding_dim', 0, 'must be a whole number of at least 1'),
        ('edge', 'who', 'must be a module or one of'),
    ],
)
def test_bad_options(name, value, match):
    with pytest.raises(ValueError, match=f"'{name}' {match}"):
        AIM(INFO, **{name: value})


def test_momentum_of_the_running_statistics():
    batch = make_batch(INFO)
    for options, momentum in (({}, 0.1), ({'momentum': 0.5}, 0.5)):
        model = randomise(AIM(INFO, DIM, functions=['inner'], **options))
        conv = model.layer.convs['inner-2']
        before = conv.norm.running_mean.clone()
        plain = model.rebuild(norm=False)
        x = plain.embeddings['inner-2'](batch.slot_index, batch.slot_value)
        mean = plain.layer.convs['inner-2'](x).div(conv.gate).mean(dim=0)
        model.train()(batch)
        torch.testing.assert_close(
            conv.norm.running_mean,
            ((1 - momentum) * before + momentum * mean).detach(),
        )


@pytest.mark.parametrize('edge', EDGES)
def test_edges_of_rows(edge):
    model = randomise(AIM(SLOTS, DIM, edge=edge))
    size = len(SLOTS.names)
    for batch, form in layouts():
        (weight,) = model.edge_weights(form)
        (same,) = model.edge_weights(batch)
        torch.testing.assert_close(weight, same)
        assert weight.size() == (7, size, size)
        if batch.mask is not None:
            gone = ~(batch.mask.unsqueeze(1) & batch.mask.unsqueeze(2))
            assert (weight[gone] == 0).all()
        model.zero_grad()
        model.loss(form).backward()
        for parameter in model.edge.parameters():
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0


def test_edges_are_modules_with_options():
    model = randomise(AIM(SLOTS, DIM, edge=AttentionEdge(7, 0.3)))
    assert model.edge.in_channels == DIM
    assert model.edge.negative_slope == 0.3
    # Between two fields all attention is that to the other one:
    batch = make_batch()
    batch.mask = torch.zeros(7, 6, dtype=torch.bool)
    batch.mask[:, [1, 4]] = True
    (weight,) = model.edge_weights(batch)
    expected = torch.zeros_like(weight)
    expected[:, 1, 4] = expected[:, 4, 1] = 1
    torch.testing.assert_close(weight, expected)
    with pytest.raises(ValueError, match='AIM has no edge weights'):
        AIM(SLOTS, DIM).edge_weights(make_batch())


def test_edges_are_saved(tmp_path):
    model = randomise(AIM(SLOTS, DIM, edge=AttentionEdge(DIM, 0.3))).float()
    model.save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model').eval()
    batch = make_batch()
    batch.slot_value = batch.slot_value.float()
    assert loaded.edge.negative_slope == 0.3
    assert torch.equal(loaded(batch), model(batch))


@pytest.mark.parametrize('graph', [False, True])
def test_scale_of_dimensions_survives_an_empty_batch(graph):
    model = randomise(AIM(INFO, DIM, dim_gates=True, norm=False)).train()
    before = {k: v.clone() for k, v in model.named_buffers() if 'square' in k}
    empty = make_batch(INFO)
    empty.mask = torch.zeros(7, 6, dtype=torch.bool)
    # In the second one only a field is missing in all rows:
    partly = make_batch(INFO)
    partly.mask = torch.ones(7, 6, dtype=torch.bool)
    partly.mask[:, 2] = False
    for batch, unseen in ((empty, range(6)), (partly, [2])):
        loss = model.loss(as_nodes(batch) if graph else batch)
        assert loss.isfinite()
        loss.backward()
        for parameter in model.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()
        for name, value in before.items():
            after = model.get_buffer(name)
            assert after.isfinite().all()
            # What no row has stays as it was:
            for field in unseen:
                torch.testing.assert_close(after[field], value[field])
    assert not torch.equal(model.get_buffer('square_inner-2')[3], value[3])

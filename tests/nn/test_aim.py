import json
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
    layouts,
    make_batch,
    node_vectors,
    randomise,
)

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    FM,
    IPNN,
    DeepFM,
    FieldModel,
)
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.models.interaction_layer import as_gates, as_interactions


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
    few = [*all_gates(2)[:6], *all_gates(3)[3:6], *all_gates(4)[:2]]
    for batch, form in layouts():
        model = randomise(AIM(SLOTS, DIM, few, **options)).train(training)
        assert len(model.layer.convs) == 12
        expected = aim_by_loops(model, batch)
        torch.testing.assert_close(model(form).detach(), expected)


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
    kept = [
        ([INFO.names[i] for i in q], gates)
        for q, gates in model.gates().items()
    ]
    small = model.rebuild(interactions=kept).eval()
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
    ],
    ids=str,
)
def test_rebuild_with_more_interactions(options):
    few = [
        (['b', 'f'], {'inner': None, 'vector': None}),
        (['c', 'd'], {'vector': None}),
        (['a', 'b', 'f'], {'outer': None}),
    ]
    closed = [(q, dict.fromkeys(f, 0.0)) for q, f in all_gates(2, 3)]
    model = randomise(AIM(SLOTS, DIM, few, **options))
    # Later entries win, so those of the model keep their gates:
    more = model.rebuild(interactions=[*closed, *few]).eval()
    assert more.layer.num_interactions == 4 * (15 + 20)
    assert more.gates() == model.gates()
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
    assert torch.equal(
        model.rebuild().mlp.lins[1].weight, model.mlp.lins[1].weight
    )
    for hidden_channels in ([4], [4, 4, 4], [5, 4]):
        out = model.rebuild(hidden_channels=hidden_channels)
        first = out.mlp.lins[0].weight
        assert first.size() == (hidden_channels[0], 4 * 15)
        assert not torch.equal(first, model.mlp.lins[0].weight)
    assert model.rebuild(hidden_channels=[]).mlp is None
    thinner = model.rebuild(interactions=all_gates(2, functions=['outer']))
    columns = slice(15, 30)
    assert torch.equal(
        thinner.mlp.lins[0].weight, model.mlp.lins[0].weight[:, columns]
    )


def test_interactions_are_the_open_gates():
    gates = [
        (['f', 'b'], {'inner': 0.25, 'outer': -0.5}),
        (['e', 'a', 'd'], {'vector': 0.375, 'scalar': 0.0}),
        (['c', 'd'], {'inner': 0.0}),
    ]
    model = AIM(INFO, DIM, gates)
    found = model.interactions(by='edges')
    assert found == InteractionSet(
        [
            Interaction(('b', 'f'), 0.5, 'AIM'),
            Interaction(('a', 'd', 'e'), 0.375, 'AIM'),
        ]
    )
    assert [x.detail for x in found] == [
        {'functions': {'inner': 0.25, 'outer': -0.5}},
        {'functions': {'vector': 0.375}},
    ]
    assert model.interactions(by='edges', top=1) == found[:1]
    assert model.gates() == {
        (0, 1): {'inner': 0.25, 'outer': -0.5},
        (2, 4, 5): {'vector': 0.375},
    }
    # There and back again, also through a file:
    back = InteractionSet.from_json(found.to_json())
    assert back == found
    assert [x.detail for x in back] == [x.detail for x in found]
    assert as_interactions(AIM(INFO, DIM, back).gates(), INFO, 'AIM') == found


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
        for q, values in searched.gates().items()
    }
    assert model.layer.gates() == want
    assert json.loads(json.dumps(model.config['interactions'])) == [
        [list(x.fields), x.detail['functions']] for x in found
    ]
    model.reset_parameters()
    assert model.layer.gates() == want
    batch = make_batch()
    randomise(model).float().save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model').double().eval()
    assert repr(loaded) == repr(model)
    assert loaded.layer.gates() == model.layer.gates()
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
        tuples = [
            tuple(sorted(info.names.index(x) for x in entry.fields))
            for order in sorted(orders)
            for entry in found.of_order(order)
        ]
        assert [*model.layer.gates()] == tuples
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
    with pytest.raises(ValueError, match='repeats a field'):
        make(INFO, [(['a', 'a'], {'inner': 1.0})])


def test_unknown_functions():
    with pytest.raises(ValueError, match="function named 'cross'"):
        AIM(INFO, DIM, functions=['inner', 'cross'])
    with pytest.raises(ValueError, match="function named 'cross'"):
        as_gates(InteractionSet([Interaction(('a', 'b'), 1)]), INFO, ['cross'])

import json
from itertools import combinations, pairwise
from math import prod

import pytest
import torch

from pyg_featgraph.data import FieldBatch, FieldInfo
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn import (
    AIM,
    FIVES,
    FM,
    IPNN,
    LR,
    DeepFM,
    FieldModel,
    RaggedEmbedding,
)
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.models.interaction_layer import as_gates, as_interactions

# Numbers, a pair of slots and categories; the fields are not in the order of
# the alphabet, as those of interactions are:
INFO = FieldInfo(('f', 'b', 'd', 'c', 'e', 'a'), (4, 2, 5, 3, 6, 2), [1] * 6)
SLOTS = FieldInfo(INFO.names, INFO.sizes, (1, 1, 2, 1, 1, 1))
DIM = 3


def all_gates(*orders, functions=FUNCTIONS):
    return [
        (list(q), dict.fromkeys(functions))
        for order in orders
        for q in combinations(INFO.names, order)
    ]


def make_batch(info=SLOTS, size=7, drop=0.0):
    """Random ids and values; with `drop`, some fields are no nodes."""
    field = info.slot_field
    low, sizes = torch.tensor(info.offsets)[field], torch.tensor(info.sizes)
    index = low + (torch.rand(size, info.num_slots) * sizes[field]).long()
    value = torch.randn(size, info.num_slots).double()
    y = torch.arange(size).remainder(2).double()
    batch = FieldBatch.from_rows(index, value, info, y)
    if drop is not None and drop > 0:
        batch.present = torch.rand(size, info.num_fields) > drop
    return batch


def as_nodes(batch):
    """The same batch without its regular layout."""
    batch = batch.clone()
    size = (batch.num_graphs, batch.info.num_fields)
    batch.present = torch.ones(size, dtype=torch.bool)
    return batch


def layouts():
    batch = make_batch()
    return [batch, as_nodes(batch), make_batch(drop=0.2)]


@torch.no_grad()
def randomise(model):
    """Random weights and running statistics in double precision."""
    model.double()
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith('running_var') or 'square' in name:
            x.uniform_(0.2, 2)
        elif x.is_floating_point():
            x.normal_()
    return model.eval()


@torch.no_grad()
def close(model, share, of_dims=0.0):
    """Closes random gates: they are exactly zero then."""
    for _, conv in model.layer.items():
        conv.gate[torch.rand_like(conv.gate) < share] = 0
    if model.dim_gate is not None:
        model.dim_gate[torch.rand_like(model.dim_gate) < of_dims] = 0
    return model


def close_all(model):
    return close(model, 2.0)


def node_vectors(table, batch, scale=None):
    """The vector of each field of each row, or none if it is absent."""
    info = batch.info
    outs = []
    for b in range(batch.num_graphs):
        row = [table.new_zeros(table.size(1)) for _ in info.names]
        for s, i in enumerate(info.slot_field.tolist()):
            vector = table[batch.slot_index[b, s]]
            row[i] = row[i] + batch.slot_value[b, s] * vector
        if not batch.is_regular:
            for i in range(info.num_fields):
                if not batch.present[b, i]:
                    row[i] = None
        outs.append(row)
    return outs


def product(function, members, weight, position):
    """One interaction of one row."""
    if any(x is None for x in members):
        return torch.zeros((), dtype=torch.double)
    d = len(members[0])
    if function == 'outer':
        return prod(
            sum(w[t] * x[t] for t in range(d))
            for w, x in zip(weight, members, strict=True)
        )
    terms = [prod(x[t] for x in members) for t in range(d)]
    if function == 'vector':
        terms = [weight[position, t] * terms[t] for t in range(d)]
    factor = weight[position, 0] if function == 'scalar' else 1.0
    return factor * sum(terms)


def table_name(model, key):
    """Whose node vectors are behind the operator of a function and order."""
    function, order = key.split('-')
    name = function if model.config['function_wise'] else 'shared'
    return f'{name}-{order}' if model.config['order_wise'] else name


def gate_dims(model, name, nodes):
    """Multiplies each dimension by its gate over its root mean square."""
    n, d = model.dim_gate.size()
    for i in range(n):
        vectors = [row[i] for row in nodes if row[i] is not None]
        for t in range(d):
            square = model.get_buffer(f'square_{name}')[i, t]
            if model.training:
                square = sum(x[t] ** 2 for x in vectors) / len(vectors)
            scale = model.dim_gate[i, t] / (square + model.eps) ** 0.5
            for x in vectors:
                x[t] = x[t] * scale
    return nodes


def layer_by_loops(layer, vectors):
    """Gate times normalised value, for each interaction all rows."""
    outs = []
    for key, conv in layer.items():
        function, order = key.split('-')
        for position, q in enumerate(conv.interactions):
            assert len(q) == int(order)
            x = torch.stack(
                [
                    product(
                        function,
                        [row[i] for i in q],
                        conv.weight,
                        position,
                    )
                    for row in vectors[key]
                ]
            )
            if conv.norm is not None:
                mean = conv.norm.running_mean[position]
                var = conv.norm.running_var[position]
                if layer.training:
                    mean, var = x.mean(), x.var(correction=0)
                x = (x - mean) / (var + conv.norm.eps) ** 0.5
            outs.append(x if conv.gate is None else conv.gate[position] * x)
    return outs


def lr_by_loops(linear, batch):
    outs = []
    for row in node_vectors(linear.linear.weight, batch):
        terms = [x[0] for x in row if x is not None]
        outs.append(linear.bias[0] + sum(terms))
    return torch.stack(outs)


@torch.no_grad()
def aim_by_loops(model, batch):
    vectors = {}
    for key in model.layer.convs:
        name = table_name(model, key)
        nodes = node_vectors(model.embeddings[name].weight, batch)
        if model.dim_gate is not None:
            nodes = gate_dims(model, name, nodes)
        vectors[key] = nodes
    return lr_by_loops(model.linear, batch) + sum(
        layer_by_loops(model.layer, vectors)
    )


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
    for batch in layouts():
        model = randomise(AIM(SLOTS, DIM, few, **options)).train(training)
        assert len(model.layer.convs) == 12
        expected = aim_by_loops(model, batch)
        torch.testing.assert_close(model(batch).detach(), expected)


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


def open_dims(model, name):
    """The dimensions of each field, before any interaction is looked at."""
    embedding = model.embeddings[name]
    whole = [list(range(DIM)) for _ in INFO.names]
    dims = getattr(embedding, 'dims', whole)
    if model.dim_gate is not None:
        gates = model.dim_gate.tolist()
        dims = [[t for t in x if gates[i][t]] for i, x in enumerate(dims)]
    return dims


def implied_size(model):
    """The number of parameters that the open gates of a model need, and how
    many tuples each operator has.
    """
    tuples = {}
    used = {}
    for key, conv in model.layer.items():
        function = conv.function
        name = table_name(model, key)
        dims = open_dims(model, name)
        kept = 0
        for q, gate in zip(conv.interactions, conv.gate, strict=True):
            sets = [{*dims[i]} for i in q]
            common = set.intersection(*sets)
            alive = all(sets) if function == 'outer' else common
            if gate == 0 or not (alive or model.config['norm']):
                continue
            kept += 1
            for i, own in zip(q, sets, strict=True):
                needed = own if function == 'outer' else common
                used.setdefault((name, i), set()).update(needed)
        if kept:
            tuples[key] = kept
    size = 1 + INFO.num_embeddings + sum(tuples.values())
    for key, kept in tuples.items():
        function, order = key.split('-')
        size += {
            'inner': 0,
            'outer': int(order) * DIM,
            'vector': kept * DIM,
            'scalar': kept,
        }[function]
    size += sum(INFO.sizes[i] * len(dims) for (_, i), dims in used.items())
    if tuples and model.mlp is not None:
        widths = [sum(tuples.values()), *model.config['hidden_channels'], 1]
        size += sum((a + 1) * b for a, b in pairwise(widths))
    return size, tuples


def num_parameters(model):
    return sum(p.numel() for p in model.parameters())


def assert_compact(model):
    """The same logits with the parameters that it takes, and no others."""
    small = model.compact()
    size, tuples = implied_size(model)
    assert num_parameters(small) == size
    assert tuples == {
        key: len(conv.interactions) for key, conv in small.layer.items()
    }
    for embedding in small.embeddings.values():
        assert isinstance(embedding, RaggedEmbedding)
        for table, group in zip(
            embedding.tables, embedding.groups, strict=True
        ):
            (width,) = {len(embedding.dims[i]) for i in group}
            rows = sum(INFO.sizes[i] for i in group)
            assert table.weight.size() == (rows, width)
    assert small.training == model.training
    for batch in layouts():
        torch.testing.assert_close(small(batch), model(batch))
    return small


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
    assert small.gates() == model.gates()
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
    gates = [
        (['f', 'b'], {'inner': 1.0, 'outer': 2.0}),
        (['f', 'd'], {'vector': 3.0, 'outer': 4.0}),
        (['b', 'd', 'c'], {'scalar': 5.0}),
    ]
    model = AIM(SLOTS, DIM, gates, dim_gates=True, norm=False)
    randomise(model)
    with torch.no_grad():
        for _, conv in model.layer.items():
            conv.gate.fill_(2.0)
        # Nothing is common to `f` and `b`, and `d` has no dimensions:
        model.dim_gate[0] = torch.tensor([1.0, 0.0, 0.0])
        model.dim_gate[1] = torch.tensor([0.0, 1.0, 1.0])
        model.dim_gate[2] = 0
    small = assert_compact(model)
    assert small.gates() == {(0, 1): {'outer': 2.0}}
    assert [*small.embeddings] == ['outer-2']
    assert small.embeddings['outer-2'].dims == [[0], [1, 2], [], [], [], []]


def test_compact_of_ragged_vectors_with_gates():
    dims = {'shared-2': [[0], [0, 1], [], [1, 2], [0, 1, 2], [2]]}
    options = {'dims': dims, 'dim_gates': True, 'norm': False}
    model = AIM(SLOTS, DIM, function_wise=False, **options)
    assert_compact(close(randomise(model), 0.3, 0.3))


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
    assert small.gates() == {}
    assert len(small.interactions(by='edges')) == 0
    batch = make_batch()
    # Without interactions it is a logistic regression:
    linear = LR(SLOTS).double()
    linear.load_state_dict(small.linear.state_dict())
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
    for batch in layouts():
        torch.testing.assert_close(small(batch), model(batch))


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
    for batch in layouts():
        torch.testing.assert_close(more(batch), model(batch))
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


def mlp_by_loops(mlp, x):
    for lin in mlp.lins[:-1]:
        x = (x @ lin.weight.t() + lin.bias).clamp(min=0)
    return (x @ mlp.lins[-1].weight.t() + mlp.lins[-1].bias).squeeze(1)


def flat(nodes):
    zeros = torch.zeros(DIM, dtype=torch.double)
    return torch.stack(
        [torch.cat([zeros if x is None else x for x in row]) for row in nodes]
    )


def inner_products(nodes):
    """Of each pair, for all rows."""
    return [
        torch.stack(
            [product('inner', [row[i], row[j]], None, 0) for row in nodes]
        )
        for i, j in combinations(range(INFO.num_fields), 2)
    ]


FOUND = [
    (['b', 'd', 'f'], {'outer': 0.5, 'inner': 0.25}),
    (['a', 'e'], {'vector': -0.5, 'scalar': 0.125}),
]


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('found', [None, FOUND], ids=['all', 'installed'])
def test_deepfm_equals_loops(found, training):
    model = randomise(DeepFM(SLOTS, DIM, [5, 4], found)).train(training)
    for batch in layouts():
        nodes = node_vectors(model.embedding.weight, batch)
        if found is None:
            values = inner_products(nodes)
        else:
            vectors = dict.fromkeys(model.layer.convs, nodes)
            values = layer_by_loops(model.layer, vectors)
            assert len(values) == 4
        expected = lr_by_loops(model.linear, batch) + sum(values)
        expected = expected + mlp_by_loops(model.mlp, flat(nodes))
        torch.testing.assert_close(model(batch), expected)


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('found', [None, FOUND], ids=['all', 'installed'])
def test_ipnn_equals_loops(found, training):
    model = randomise(IPNN(SLOTS, DIM, [5, 4], found)).train(training)
    for batch in layouts():
        nodes = node_vectors(model.embedding.weight, batch)
        if found is None:
            values = inner_products(nodes)
            assert not [n for n, _ in model.named_parameters() if 'gate' in n]
        else:
            vectors = dict.fromkeys(model.layer.convs, nodes)
            values = layer_by_loops(model.layer, vectors)
        x = torch.cat([flat(nodes), torch.stack(values, dim=1)], dim=1)
        torch.testing.assert_close(model(batch), mlp_by_loops(model.mlp, x))

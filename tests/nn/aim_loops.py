"""AIM in plain loops, and models and batches to compare them on."""

from itertools import combinations, pairwise
from math import prod

import torch
from loops import as_nodes

from pyg_featgraph.data import FieldBatch, FieldInfo
from pyg_featgraph.nn import RaggedEmbedding
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.gates import gated

# Numbers, a pair of slots and categories; the fields are not in the order of
# the alphabet, as those of interactions are:
INFO = FieldInfo(
    ('f', 'b', 'd', 'c', 'e', 'a'),
    (4, 2, 5, 3, 6, 2),
    [1] * 6,
    ['categorical'] * 6,
)
SLOTS = FieldInfo(INFO.names, INFO.sizes, (1, 1, 2, 1, 1, 1), INFO.kinds)
DIM = 3


def all_gates(*orders, functions=FUNCTIONS):
    return gated(
        {
            q: dict.fromkeys(functions)
            for order in orders
            for q in combinations(INFO.names, order)
        }
    )


def gates_of(model):
    """The open gates by the names of the fields."""
    return {x.fields: x.detail['functions'] for x in model.gates()}


def make_batch(info=SLOTS, size=7, drop=0.0):
    """Random ids and values; with `drop`, some fields are no nodes."""
    field = info.slot_field
    low, sizes = torch.tensor(info.offsets)[field], torch.tensor(info.sizes)
    index = low + (torch.rand(size, info.num_slots) * sizes[field]).long()
    value = torch.randn(size, info.num_slots).double()
    y = torch.arange(size).remainder(2).double()
    batch = FieldBatch.from_rows(index, value, info, y)
    if drop is not None and drop > 0:
        batch.mask = torch.rand(size, info.num_fields) > drop
    return batch


def layouts():
    """Batches, each with itself in both layouts."""
    batch = make_batch()
    absent = make_batch(drop=0.2)
    return [(x, form) for x in (batch, absent) for form in (x, as_nodes(x))]


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
        if batch.mask is not None:
            for i in range(info.num_fields):
                if not batch.mask[b, i]:
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


def pair_weights(model, nodes):
    """What the edge module says of each pair of present fields."""
    outs = []
    for row in nodes:
        there = [i for i, x in enumerate(row) if x is not None]
        weight = {}
        if there:
            x = torch.stack([row[i] for i in there])
            edges = torch.cartesian_prod(*2 * [torch.arange(len(there))]).t()
            found = model.edge(x, edges, torch.tensor(there))
            for (j, i), value in zip(edges.t().tolist(), found, strict=True):
                weight[there[i], there[j]] = value
        outs.append(weight)
    return outs


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


def weigh(weight, q):
    """The product over pairs, both directions being averaged."""
    out = torch.ones((), dtype=torch.double)
    for i, j in combinations(q, 2):
        out = out * (weight.get((i, j), 0) + weight.get((j, i), 0)) / 2
    return out


def layer_by_loops(layer, vectors, weights=None):
    """Gate times normalised value, for each interaction all rows; with the
    weights of pairs in each row, times those of all its pairs.
    """
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
            x = x if conv.gate is None else conv.gate[position] * x
            if weights is not None:
                x = x * torch.stack([weigh(w, q) for w in weights])
            outs.append(x)
    return outs


def lr_by_loops(linear, batch):
    outs = []
    for row in node_vectors(linear.table.weight, batch):
        terms = [x[0] for x in row if x is not None]
        outs.append(linear.bias[0, 0] + sum(terms))
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
    weights = None
    if model.edge is not None:
        function = model.config['functions'][0]
        name = table_name(model, f'{function}-2')
        nodes = node_vectors(model.embeddings[name].weight, batch)
        if model.dim_gate is not None:
            nodes = gate_dims(model, name, nodes)
        weights = pair_weights(model, nodes)
    return lr_by_loops(model.linear, batch) + sum(
        layer_by_loops(model.layer, vectors, weights)
    )


def open_dims(model, name):
    """The dimensions of each field, before any interaction is looked at."""
    dims = model.embeddings[name].dims
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
    if model.edge is not None:
        # It looks at node vectors whichever interactions are open:
        size += num_parameters(model.edge)
        name = table_name(model, f'{model.config["functions"][0]}-2')
        for i, own in enumerate(open_dims(model, name)):
            used.setdefault((name, i), set()).update(own)
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
    for _, form in layouts():
        torch.testing.assert_close(small(form), model(form))
    return small

"""AIM in plain loops, and models and batches to compare them on."""

from itertools import combinations, pairwise
from math import prod

import torch
from loops import as_nodes

from pyg_featgraph.data import FieldBatch, FieldInfo
from pyg_featgraph.nn import (
    RaggedEmbedding,
)
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS

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
    for _, form in layouts():
        torch.testing.assert_close(small(form), model(form))
    return small

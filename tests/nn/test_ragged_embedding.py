import copy

import pytest
import torch
from loops import as_nodes, assert_same

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import RaggedEmbedding

DIM = 4
SINGLE = FieldInfo(
    ('a', 'b', 'c', 'd'), (3, 5, 4, 2), (1, 1, 1, 1), ('categorical',) * 4
)
MULTI = FieldInfo(
    ('a', 'b', 'c', 'd', 'e'), (4, 5, 6, 3, 4), (1, 3, 2, 1, 2), ('multi',) * 5
)
# All, none, some of different and of equal number, in any order:
DIMS = [
    [[3, 1], [0, 1, 2, 3], [], [2]],
    [[], [1], [3], []],
    [[0, 1], [1, 2], [2, 3], [3, 0]],
    [[0, 1, 2, 3]] * 4,
    [[]] * 4,
]
all_infos = pytest.mark.parametrize('info', [SINGLE, MULTI])
all_dims = pytest.mark.parametrize('dims', DIMS)


def make(info, dims, **kwargs):
    # The fifth field is as the first:
    dims = [dims[i % 4] for i in range(info.num_fields)]
    embedding = RaggedEmbedding(info, DIM, dims, **kwargs).double()
    for table in embedding.tables:
        torch.nn.init.normal_(table.weight)
    return embedding


def make_table(info, size=6):
    """Ids of all kinds; some slots are unused and some fields missing."""
    low = torch.tensor(info.offsets)[info.slot_field]
    high = low + torch.tensor(info.sizes)[info.slot_field]
    share = torch.rand(size, info.num_slots)
    index = (low + share * (high - low)).long()
    value = torch.randn(size, info.num_slots, dtype=torch.double)
    for i, first in enumerate(info.first_slots):
        for k in range(first, first + info.slots[i]):
            unused = torch.rand(size) < 0.4
            if k > first:
                index[unused, k], value[unused, k] = info.offsets[i], 0.0
        missing = torch.rand(size) < 0.3
        index[missing, first : first + info.slots[i]] = info.offsets[i]
        value[missing, first : first + info.slots[i]] = 0.0
        value[missing, first] = 1.0
    return FieldTable(index.int(), value, info)


def full_table(embedding):
    """One vector for each id, zero where a field lacks the dimension."""
    info, blocks, used = embedding.info, [], {}
    for i, dims in enumerate(embedding.dims):
        block = torch.zeros(info.sizes[i], DIM, dtype=torch.double)
        if dims:
            # Fields with equally many dimensions are in one table, in order:
            (table,) = (
                x for x in embedding.tables if x.embedding_dim == len(dims)
            )
            first = used.get(len(dims), 0)
            used[len(dims)] = first + info.sizes[i]
            weight = table.weight[first : used[len(dims)]]
            columns = [
                weight[:, dims.index(t)] if t in dims else block[:, t]
                for t in range(DIM)
            ]
            block = torch.stack(columns, dim=1)
        blocks.append(block)
    return torch.cat(blocks)


def reference(embedding, index, value):
    """The vectors (B, n, d) slot by slot."""
    full, info, rows = full_table(embedding), embedding.info, []
    for ids, values in zip(index.long(), value, strict=True):
        nodes = [full.new_zeros(DIM) for _ in info.names]
        for s, i in enumerate(info.slot_field.tolist()):
            nodes[i] = nodes[i] + values[s] * full[ids[s]]
        rows.append(torch.stack(nodes))
    return torch.stack(rows)


@all_infos
@all_dims
def test_is_a_table_with_closed_dimensions(info, dims):
    embedding, table = make(info, dims), make_table(info)
    assert embedding.dims[0] == sorted(dims[0])
    expected = reference(embedding, table.slot_index, table.slot_value)
    batch = table[:]
    rows = embedding.embed(batch)
    assert rows.size() == (6, info.num_fields, DIM)
    nodes = embedding.embed_nodes(batch.node_index, batch.node_value)
    assert nodes.size() == (6 * info.num_fields, DIM)
    for i, kept in enumerate(embedding.dims):
        closed = [t for t in range(DIM) if t not in kept]
        assert (rows[:, i, closed] == 0).all()
        assert (rows[:, i, kept] != 0).all()
    graphs = torch.stack([embedding.embed(table[k]) for k in range(6)])
    if any(dims):
        parameters = list(embedding.parameters())
        assert_same(expected, [rows, nodes, graphs], parameters)
    else:
        # Nothing is left to learn:
        assert not list(embedding.parameters())
        for out in (rows, nodes, graphs):
            assert (out == 0).all()
            assert out.dtype == torch.double


@all_infos
@all_dims
def test_absent_fields_are_no_nodes(info, dims):
    embedding, table = make(info, dims), make_table(info)
    table.drop_absent = True
    batch = table.batch()
    assert 0 < batch.num_nodes < 6 * info.num_fields
    expected = reference(embedding, table.slot_index, table.slot_value)
    rows = embedding.embed(batch)
    assert (rows[~batch.mask] == 0).all()
    expected = expected[batch.mask]
    others = [
        rows[batch.mask],
        embedding.embed_nodes(batch.node_index, batch.node_value),
        torch.cat([embedding.embed(batch[k]) for k in range(6)]),
    ]
    if any(dims):
        assert_same(expected, others, list(embedding.parameters()))
    else:
        for out in others:
            assert torch.equal(out, expected)


@all_infos
@all_dims
def test_gradients_of_values(info, dims):
    # They are what explanations are made of:
    embedding, table = make(info, dims), make_table(info)
    value = table.slot_value.requires_grad_()
    if any(dims):
        out = embedding(table.slot_index.long(), value)
        assert_same(
            reference(embedding, table.slot_index, value), [out], [value]
        )


@all_infos
def test_order_of_nodes_is_free(info):
    embedding, batch = make(info, DIMS[0]), make_table(info)[:]
    perm = torch.randperm(batch.num_nodes)
    torch.testing.assert_close(
        embedding.embed_nodes(batch.node_index[perm], batch.node_value[perm]),
        embedding.embed_nodes(batch.node_index, batch.node_value)[perm],
    )
    # Equally long fields alone, and none at all:
    for chosen in ([], [0], [1, 1]):
        out = embedding.embed_nodes(
            batch.node_index[chosen], batch.node_value[chosen]
        )
        assert out.size() == (len(chosen), DIM)


def test_single_field():
    for slots in (1, 2):
        info = FieldInfo(('a',), (5,), (slots,), ('multi',))
        embedding, table = make(info, DIMS[0]), make_table(info)
        expected = reference(embedding, table.slot_index, table.slot_value)
        torch.testing.assert_close(embedding.embed(table[:]), expected)


@all_infos
@all_dims
def test_has_only_parameters_of_open_dimensions(info, dims):
    embedding = make(info, dims)
    num = sum(
        size * len(kept)
        for size, kept in zip(info.sizes, embedding.dims, strict=True)
    )
    assert sum(p.numel() for p in embedding.parameters()) == num
    # What says where they are can be built again:
    assert set(embedding.state_dict()) == {
        name for name, _ in embedding.named_parameters()
    }


@all_infos
@all_dims
def test_tables_of_fields(info, dims):
    embedding = make(info, dims)
    tables = [embedding.table(i) for i in range(info.num_fields)]
    expected = full_table(embedding).split(info.sizes)
    other = make(info, dims)
    for i, table in enumerate(tables):
        if any(dims):
            assert table.dtype == torch.double
        torch.testing.assert_close(table.double(), expected[i])
        # Dimensions that the field does not have are left out:
        closed = [t for t in range(DIM) if t not in embedding.dims[i]]
        full = table.detach().clone()
        full[:, closed] = 7.0
        other.assign(i, full)
        with pytest.raises(ValueError, match=f"table of '{info.names[i]}' is"):
            other.assign(i, full[:, :1])
    weights = [list(x.parameters()) for x in (embedding, other)]
    for one, two in zip(*weights, strict=True):
        assert torch.equal(one, two)
        assert two.is_leaf
    if any(dims):
        grads = torch.autograd.grad(torch.cat(tables).sum(), weights[0])
        assert all((grad == 1).all() for grad in grads)


def test_repeated_dimensions_count_once():
    embedding = RaggedEmbedding(SINGLE, DIM, [[2, 0, 2], [1], [1, 1], []])
    assert embedding.dims == [[0, 2], [1], [1], []]


@all_infos
def test_sparse_gradients(info):
    dense = make(info, DIMS[0])
    sparse = make(info, DIMS[0], sparse=True)
    sparse.load_state_dict(dense.state_dict())
    batch = make_table(info, 2)[:]
    for data in (batch, as_nodes(batch)):
        for embedding in (dense, sparse):
            embedding.zero_grad()
            embedding.embed(data).square().sum().backward()
        for one, two in zip(
            sparse.parameters(), dense.parameters(), strict=True
        ):
            assert one.grad.is_sparse
            torch.testing.assert_close(one.grad.to_dense(), two.grad)


def test_gradients_reach_only_vectors_in_use():
    embedding, batch = make(MULTI, DIMS[2]), make_table(MULTI, 2)[:]
    embedding.embed(batch).square().sum().backward()
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter.copy_(parameter.grad)
    for i, kept in enumerate(embedding.dims):
        grad = embedding.table(i)[:, kept]
        slots = MULTI.slot_field == i
        ids = batch.slot_index[:, slots][batch.slot_value[:, slots] != 0]
        used = torch.zeros(MULTI.sizes[i], dtype=torch.bool)
        used[ids - MULTI.offsets[i]] = True
        assert torch.equal((grad != 0).all(1), used)
        assert torch.equal((grad != 0).any(1), used)


@all_infos
@all_dims
def test_both_layouts_have_the_same_type(info, dims):
    # Values of a table are in single precision, whatever the model is in:
    embedding, batch = make(info, dims), make_table(info)[:]
    index, value = batch.node_index, batch.node_value.float()
    slot_index, slot_value = batch.slot_index, batch.slot_value.float()
    for dtype in (torch.double, torch.float, torch.bfloat16):
        embedding.to(dtype)
        rows = embedding(slot_index, slot_value)
        nodes = embedding.embed_nodes(index, value)
        assert rows.dtype == nodes.dtype
        torch.testing.assert_close(nodes.view_as(rows), rows)
        if any(dims):
            assert rows.dtype == torch.promote_types(dtype, torch.float)


@pytest.mark.parametrize(
    ('dims', 'match'),
    [
        ([[0]] * 3, 'one entry for each of 4 fields'),
        ([[0], [0, 4], [], []], "dimensions of 'b' must lie in 0 to 3"),
        ([[0], [], [-1, 2], []], "dimensions of 'c' must lie in 0 to 3"),
    ],
)
def test_rejects_what_are_no_dimensions(dims, match):
    with pytest.raises(ValueError, match=match):
        RaggedEmbedding(SINGLE, DIM, dims)


def test_representation_and_initial_tables():
    embedding = RaggedEmbedding(MULTI, DIM, [[0, 2], [1], [], [0, 1, 2, 3], []])
    assert str(embedding) == 'RaggedEmbedding(22, 4, dims=[2, 1, 0, 4, 0])'
    info = FieldInfo(('a', 'b'), (5000, 5000), (1, 1), ('categorical',) * 2)
    embedding = RaggedEmbedding(info, 2, [[0], [0, 1]], std=0.02)
    before = copy.deepcopy(embedding.state_dict())
    embedding.reset_parameters()
    for name, weight in embedding.named_parameters():
        assert 0.019 < weight.std() < 0.021
        assert not torch.equal(weight, before[name])


@pytest.fixture
def compiled_graphs():
    """How many there are; other tests begin with none."""
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    yield lambda: counters['stats']['unique_graphs']
    counters.clear()


@all_infos
@all_dims
def test_compiles_without_graph_breaks(info, dims, compiled_graphs):
    embedding = make(info, dims)
    compiled = torch.compile(embedding, backend='aot_eager', fullgraph=True)
    for size in (4, 7, 9):
        batch = make_table(info, size)[:]
        expected = embedding.embed(batch)
        out = compiled(batch.slot_index, batch.slot_value)
        if any(dims):
            # What is compiled gives up its memory:
            own = list(embedding.parameters())
            assert_same(expected, [out], own, retain_graph=False)
        else:
            assert torch.equal(out, expected)
    # One graph for the first size and one for all others:
    assert compiled_graphs() == 2

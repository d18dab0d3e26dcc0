import copy
import pickle

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GATConv

from pyg_featgraph.data import (
    FieldBatch,
    FieldGraph,
    FieldGraphLoader,
    FieldInfo,
    FieldTable,
)


@pytest.fixture
def table():
    # Field c owns two slots; ids 0, 5 and 10 stand for missing:
    info = FieldInfo(('a', 'b', 'c'), (5, 5, 6), (1, 1, 2), ('multi',) * 3)
    index = torch.stack(
        [
            torch.randint(0, 5, (20,)),
            torch.randint(5, 10, (20,)),
            torch.randint(10, 16, (20,)),
            torch.randint(10, 16, (20,)),
        ],
        dim=1,
    ).int()
    index[3] = torch.tensor([0, 5, 10, 10])  # Nothing is there.
    return FieldTable(
        index, torch.rand(20, 4), info, torch.arange(20.0).remainder(2)
    )


def test_batch_of_all_fields(table):
    batch = table[torch.tensor([4, 2, 7])]
    assert isinstance(batch, FieldBatch)
    assert isinstance(batch, Batch)
    assert isinstance(batch, Data)
    assert batch.mask is None
    assert (batch.num_graphs, batch.num_nodes, len(batch)) == (3, 9, 3)
    assert batch.field.tolist() == [0, 1, 2] * 3
    assert batch.batch.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.ptr.tolist() == [0, 3, 6, 9]
    assert batch.node_index.size() == batch.node_value.size() == (9, 2)
    assert batch.node_index[0].tolist() == [table.slot_index[4, 0], 0]
    assert batch.node_value[0].tolist() == [table.slot_value[4, 0], 0]
    assert torch.equal(batch.node_index[5], table.slot_index[2, 2:].long())
    assert batch.y.tolist() == [0, 0, 1]

    edges = batch.edge_index
    assert edges.size() == (2, 3 * 3 * 2)
    assert (edges[0] != edges[1]).all()
    assert (edges[1].diff() >= 0).all()
    assert torch.equal(batch.batch[edges[0]], batch.batch[edges[1]])
    assert edges.unique(dim=1).size(1) == edges.size(1)
    assert batch.complete_edges(self_loops=True).size(1) == 27


def test_equal_batches_share_edges(table):
    one, two = table[:8], table[8:16]
    assert one.edge_index.data_ptr() == two.edge_index.data_ptr()


def test_absent_fields_are_dropped(table):
    table.drop_absent = True
    batch = table.batch(slice(0, 6))
    first = table.slot_index[:6, [0, 1, 2]]
    present = first != torch.tensor([0, 5, 10])
    assert torch.equal(batch.mask, present)
    assert batch.num_nodes == int(present.sum())
    assert batch.ptr.diff().tolist() == present.sum(1).tolist()
    assert torch.equal(batch.field, present.nonzero()[:, 1])
    assert batch.num_graphs == 6
    assert batch.ptr.diff()[3] == 0
    size = batch.ptr.diff()
    assert batch.edge_index.size(1) == int((size * (size - 1)).sum())
    edges = batch.complete_edges(self_loops=True)
    assert edges.size(1) == int(size.square().sum())
    assert torch.equal(batch.batch[edges[0]], batch.batch[edges[1]])


@pytest.mark.parametrize('drop_absent', [False, True])
def test_single_graphs_and_back(table, drop_absent):
    table.drop_absent = drop_absent
    batch = table.batch(slice(0, 10))
    graphs = batch.to_data_list()
    assert all(type(graph) is FieldGraph for graph in graphs)
    assert torch.equal(batch[-1].node_index, graphs[9].node_index)
    assert len(batch[2:5]) == 3
    with pytest.raises(IndexError, match='Row 10 of a batch of 10'):
        batch[10]
    again = next(iter(DataLoader(graphs, batch_size=10)))
    for key in ('field', 'node_index', 'node_value', 'batch', 'ptr', 'y'):
        assert torch.equal(getattr(again, key), getattr(batch, key)), key
    assert torch.equal(again.edge_index, batch.edge_index)


@pytest.mark.parametrize('drop_absent', [False, True])
def test_behaves_like_a_batch(table, drop_absent):
    table.drop_absent = drop_absent
    batch = table.batch(slice(0, 10))
    batch.x = torch.randn(batch.num_nodes, 4)
    edges = batch.edge_index
    for other in (
        pickle.loads(pickle.dumps(batch)),
        copy.copy(batch),
        batch.clone(),
        batch.to('cpu'),
    ):
        assert other.info == batch.info
        assert torch.equal(other.edge_index, edges)
        assert torch.equal(other.x, batch.x)
        assert other.num_graphs == 10
    conv = GATConv(4, 8)
    assert conv(batch.x, batch.edge_index).size() == (batch.num_nodes, 8)


def test_table(table):
    assert len(table) == 20
    assert str(table) == 'FieldTable(20, num_fields=3, num_embeddings=16)'
    assert torch.equal(table[5].field, torch.arange(3))
    parts = table.split([0.5, 0.25, 0.25], seed=1)
    assert [len(part) for part in parts] == [10, 5, 5]
    rows = torch.cat([part.slot_value for part in parts])
    assert torch.equal(
        rows.sort(dim=0).values, table.slot_value.sort(dim=0).values
    )
    again = table.split([0.5, 0.25, 0.25], seed=1)
    assert torch.equal(again[1].slot_value, parts[1].slot_value)
    with pytest.raises(ValueError, match='must be positive and sum to one'):
        table.split([0.5, 0.2])
    with pytest.raises(ValueError, match=r'must have shape \[\*, 4\]'):
        FieldTable(table.slot_index[:, :3], table.slot_value[:, :3], table.info)


def test_parts_leave_out_missing_fields_as_the_table_does(table):
    whole = FieldTable(
        table.slot_index, table.slot_value, table.info, drop_absent=True
    )
    assert whole[3].num_nodes == 0
    assert table[3].num_nodes == 3
    for part in (whole.subset([3]), *whole.split([0.5, 0.5])):
        batch = part.batch()
        assert torch.equal(batch.mask, table.info.present(batch.slot_index))
    part = whole.subset([3])
    part.drop_absent = False
    assert part.batch().mask is None
    assert whole.batch([3]).num_nodes == 0


def order_of(loader):
    return torch.cat([batch.slot_value[:, 0] for batch in loader])


def test_loader(table):
    loader = FieldGraphLoader(table, batch_size=8)
    assert len(loader) == 3
    assert [batch.num_graphs for batch in loader] == [8, 8, 4]
    assert torch.equal(order_of(loader), table.slot_value[:, 0])

    one = FieldGraphLoader(table, 8, shuffle=True, seed=5)
    two = FieldGraphLoader(table, 8, shuffle=True, seed=5)
    epochs = [order_of(one) for _ in range(3)]
    assert all(torch.equal(e, order_of(two)) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1])
    expected = table.slot_value[:, 0].sort().values
    assert torch.equal(epochs[0].sort().values, expected)
    other = FieldGraphLoader(table, 8, shuffle=True, seed=6)
    assert not torch.equal(order_of(other), epochs[0])
    one.set_epoch(1)
    assert torch.equal(order_of(one), epochs[1])
    with pytest.raises(ValueError, match="'batch_size' must be positive"):
        FieldGraphLoader(table, 0)


def test_loader_with_a_worker_and_absent_fields(table):
    table.drop_absent = True
    loader = FieldGraphLoader(table, 8, num_workers=1)
    direct = FieldGraphLoader(table, 8)
    for got, expected in zip(loader, direct, strict=True):
        assert torch.equal(got.edge_index, expected.edge_index)
        assert torch.equal(got.node_index, expected.node_index)
        assert torch.equal(got.mask, expected.mask)

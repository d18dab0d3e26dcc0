import pytest
import torch
from loops import as_nodes, assert_same

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import FieldEmbedding, RaggedEmbedding

INFO = FieldInfo(('a', 'b'), (3, 4), (1, 2), ('categorical', 'multi'))
INDEX = torch.tensor([[1, 3, 5], [2, 4, 3]])
VALUE = torch.tensor([[2.0, 0.5, 0.5], [1.0, 1.0, 0.0]])


def reference(table):
    """The vectors of both rows, written out."""
    return torch.stack(
        [
            torch.stack([2 * table[1], 0.5 * table[3] + 0.5 * table[5]]),
            torch.stack([table[2], table[4]]),
        ]
    )


def test_sums_slots():
    embedding = FieldEmbedding(INFO, 2, std=1.0)
    batch = FieldTable(INDEX.int(), VALUE, INFO).batch()
    others = [
        embedding(INDEX, VALUE),
        embedding.embed(batch),
        embedding.embed_nodes(batch.node_index, batch.node_value),
        embedding.embed(as_nodes(batch)),
        torch.stack([embedding.embed(batch[b]) for b in range(2)]),
    ]
    assert [x.dim() for x in others] == [3, 3, 2, 2, 3]
    assert_same(reference(embedding.weight), others, [embedding.weight])
    assert str(embedding) == 'FieldEmbedding(7, 2, num_fields=2)'


def test_absent_fields_are_zero_in_the_dense_layout():
    embedding = FieldEmbedding(INFO, 2, std=1.0)
    index = INDEX.clone()
    index[0, 1:] = 3  # The first id of the second field: it is missing.
    batch = FieldTable(index.int(), VALUE, INFO, drop_absent=True).batch()
    assert batch.mask.tolist() == [[True, False], [True, True]]
    table = embedding.weight
    vectors = [[2 * table[1], 0 * table[3]], [table[2], table[4]]]
    expected = torch.stack([torch.stack(row) for row in vectors])
    assert_same(expected, [embedding.embed(batch)], [table])
    nodes = embedding.embed(as_nodes(batch))
    torch.testing.assert_close(nodes, expected[batch.mask])


@pytest.mark.parametrize('slots', [1, 3])
@pytest.mark.parametrize('ragged', [False, True])
def test_layout_is_never_guessed(slots, ragged):
    # Slots of a row of one field look like those of a node:
    info = FieldInfo(('a',), (9,), (slots,), ('multi',))
    embedding = FieldEmbedding(info, 2, std=1.0)
    if ragged:
        embedding = RaggedEmbedding(info, 2, [[0, 1]], std=1.0)
    index = torch.randint(0, 9, (4, slots))
    batch = FieldTable(index.int(), torch.rand(4, slots), info).batch()
    nodes = embedding.embed_nodes(batch.node_index, batch.node_value)
    rows = embedding.embed(batch)
    assert nodes.size() == embedding.embed(as_nodes(batch)).size() == (4, 2)
    assert embedding.embed(batch[0]).size() == (1, 2)
    assert rows.size() == (4, 1, 2)
    assert_same(rows, [nodes], list(embedding.parameters()))


def test_tables_of_fields():
    embedding = FieldEmbedding(INFO, 2, std=1.0)
    assert embedding.dims == [[0, 1], [0, 1]]
    a, b = embedding.table(0), embedding.table(1)
    assert torch.equal(torch.cat([a, b]), embedding.weight)
    before = a.detach().clone()
    embedding.assign(1, torch.full((4, 2), 5.0))
    assert torch.equal(embedding.table(0), before)
    assert (embedding.table(1) == 5).all()
    assert (embedding.weight[3:] == 5).all()
    (grad,) = torch.autograd.grad(b.sum(), [embedding.weight])
    assert grad.sum(1).tolist() == [0.0] * 3 + [2.0] * 4
    # A single number, or vectors of another field, would fit by chance:
    for wrong in (torch.ones(()), torch.ones(1, 2), torch.ones(3, 2)):
        with pytest.raises(ValueError, match=r"table of 'b' is \[4, 2\] \(got"):
            embedding.assign(1, wrong)

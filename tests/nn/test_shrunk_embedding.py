import pytest
import torch
from loops import as_nodes, assert_same

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import LR, FieldModel, ShrunkEmbedding
from pyg_featgraph.training import fit

INFO = FieldInfo(('a', 'b'), (3, 4), (1, 2), ('categorical', 'multi'))
INDEX = torch.tensor([[1, 3, 5], [2, 4, 3], [1, 5, 3]])
VALUE = torch.tensor([[1.0, 0.5, 0.5], [1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
Y = torch.tensor([1.0, 0.0, 1.0])
TABLE = FieldTable(INDEX.int(), VALUE, INFO, Y)
# Id 1 is in two rows, id 5 in one and a half, ids 0 and 6 in none:
FACTOR = [0, 2 / 5, 1 / 4, 0.5 / 3.5, 1 / 4, 1.5 / 4.5, 0]


def test_vectors_are_shrunk():
    embedding = ShrunkEmbedding(INFO, 2, shrinkage=3.0, std=1.0)
    torch.testing.assert_close(embedding.table(1), embedding.weight[3:])
    embedding.adapt(TABLE)
    factor = torch.tensor(FACTOR)[:, None]
    table = embedding.weight * factor
    batch = TABLE.batch()
    pairs = 0.5 * table[3] + 0.5 * table[5], table[4], table[5]
    expected = torch.stack(
        [
            torch.stack([table[i], x])
            for i, x in zip((1, 2, 1), pairs, strict=True)
        ]
    )
    others = [embedding.embed(batch), embedding.embed(as_nodes(batch))]
    assert_same(expected, others, [embedding.weight])
    torch.testing.assert_close(embedding.table(0), table[:3])
    wanted = torch.arange(8.0).view(4, 2)
    embedding.assign(1, wanted)
    # What no row has stays zero:
    wanted[3] = 0
    torch.testing.assert_close(embedding.table(1), wanted)


def test_lr_adapts_when_it_is_trained(tmp_path):
    model = LR(INFO, shrinkage=3.0)
    options = {'max_epochs': 3, 'embedding_l2': 0}
    fit(model, TABLE, TABLE, directory=tmp_path / 'run', **options)
    factor = model.linear.table.factor
    torch.testing.assert_close(factor, torch.tensor(FACTOR)[:, None])
    model.save(tmp_path / 'model')
    loaded = FieldModel.load(tmp_path / 'model')
    assert loaded.config['shrinkage'] == 3.0
    batch = TABLE.batch()
    torch.testing.assert_close(loaded(batch), model(batch))
    # Steps of Adam are equally long, and shrunk by what the row count says:
    moved = model.linear.table.weight[1:6].abs()
    assert moved.min() > 0.9 * moved.max()
    assert (
        model.linear.table.table(0)[1] > 1.5 * -model.linear.table.table(0)[2]
    )


def test_errors():
    with pytest.raises(ValueError, match='shrinkage'):
        LR(INFO, shrinkage=-1.0)
    with pytest.raises(DataError, match='no labels'):
        LR(INFO).adapt(FieldTable(INDEX.int(), VALUE, INFO))

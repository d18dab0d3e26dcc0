import pytest
from model_zoo import randomise
from terms import Terms, signs

from pyg_featgraph.nn import FM, field_importance


def test_importance_of_a_known_function():
    model = Terms({(0, 2): 3, (0,): 4, (3,): 1})
    found = field_importance(model, signs(8000), num_rows=4000)
    assert list(found.columns) == ['field', 'score', 'low', 'high']
    # Alone and together: a has the variance 16 + 9, c 9, d 1, b none.
    assert found['field'].tolist() == ['a', 'c', 'd', 'b']
    assert found['score'].tolist() == pytest.approx([5, 3, 1, 0], rel=0.05)
    assert (found['low'][:3] < found['score'][:3]).all()
    assert (found['score'][:3] < found['high'][:3]).all()
    assert found.iloc[3, 1:].tolist() == [0, 0, 0]


def test_importance_of_a_model(table):
    model = randomise(FM(table.info, 4)).train()
    found = field_importance(model, table, num_rows=64)
    assert model.training
    assert {*found['field']} == {*table.info.names}
    assert found['score'].is_monotonic_decreasing
    assert found.equals(field_importance(model, table, 64, batch_size=1))
    assert not found.equals(field_importance(model, table, 64, seed=1))

    def width(**options):
        out = field_importance(model, table, **options)
        return (out['high'] - out['low']).mean()

    assert width(num_rows=1024) < width(num_rows=64) / 2
    one = field_importance(model, table, 64, num_bootstraps=1)
    assert one['low'].equals(one['high'])
    with pytest.raises(ValueError, match='Effects need two rows'):
        field_importance(model, table.subset([0]))

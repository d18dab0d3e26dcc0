import numpy as np
import pytest
import torch
from model_zoo import randomise
from terms import Terms, signs

from pyg_featgraph.nn import FM, MulticlassHead, row_effects

TERMS = {(0, 2): 3, (0, 1, 3): 2, (3,): 0.5}


def test_effects_of_a_known_function():
    table = signs(2001)
    found = row_effects(Terms(TERMS), table, 7, num_rows=2000, max_order=3)
    a, b, c, d = table.slot_value[7].tolist()
    # All fields have mean zero, but for the square of b, which is one:
    scores = {x.fields: x.score for x in found.effects}
    assert len(scores) == 4 + 6 + 4
    assert found.base == pytest.approx(1, abs=0.2)
    expected = {
        ('a', 'c'): 3 * a * c,
        ('d',): d / 2,
        ('a', 'b', 'd'): 2 * a * b * d,
    }
    for fields, score in scores.items():
        assert score == pytest.approx(expected.get(fields, 0), abs=0.25)
    assert found.output == 1 + 3 * a * c + 2 * a * b * d + d / 2
    assert found.rest == pytest.approx(0, abs=1e-6)
    assert found.num_rows == 2000


def test_base_effects_and_rest_sum_to_the_output(table):
    model = randomise(FM(table.info, 4)).train()
    for order in (1, 2):
        found = row_effects(model, table, 5, max_order=order, num_rows=16)
        assert model.training
        assert found.max_order == order
        with torch.no_grad():
            output = float(model.eval()(table.batch([5])))
        model.train()
        assert found.output == pytest.approx(output, abs=1e-5)
        total = found.base + sum(x.score for x in found.effects) + found.rest
        assert total == pytest.approx(found.output, abs=1e-9)
        # It has no terms of three fields:
        assert (abs(found.rest) < 1e-4) == (order == 2)
    one = row_effects(model, table, 5, num_rows=16, batch_size=1)
    assert one.effects == found.effects
    other = row_effects(model, table, 5, num_rows=16, seed=1)
    assert other.effects != found.effects


def test_what_effects_say(table):
    model = randomise(FM(table.info, 4))
    found = row_effects(model, table, 0, num_rows=50)
    assert found.unit == 'logit'
    for x in found.effects:
        assert x.source == 'FM'
        low, high = x.detail['interval']
        assert low <= x.score <= high
        assert x.detail['unit'] == 'effect on the logit'
        assert x.detail['rows'] == 50
    plain = row_effects(model, table, 0, num_rows=50, num_bootstraps=1)
    low, high = np.transpose([x.detail['interval'] for x in plain.effects])
    assert (low == high).all()
    assert row_effects(Terms({}), signs(5), 0).unit == 'output'


def test_one_of_several_outputs(table):
    model = randomise(FM(table.info, 4, head=MulticlassHead(3)))
    with torch.no_grad():
        outputs = model.eval()(table.batch([3]))[0].tolist()
    for k, output in enumerate(outputs):
        found = row_effects(model, table, 3, output=k, num_rows=4, max_order=1)
        assert found.output == pytest.approx(output, abs=1e-5)
    for wrong in (None, 3, -1):
        with pytest.raises(ValueError, match="'output' must be one of 0 to 2"):
            row_effects(model, table, 3, output=wrong, num_rows=4)
    with pytest.raises(ValueError, match='one of 0 to 0'):
        row_effects(Terms({}), signs(5), 0, output=1)


def test_wrong_rows_and_orders():
    table = signs(5)
    for row in (-1, 5):
        with pytest.raises(IndexError, match=f'no row {row} among 5'):
            row_effects(Terms({}), table, row)
    for order in (0, 5):
        with pytest.raises(ValueError, match=f'1 to 4 .got {order}'):
            row_effects(Terms({}), table, 0, max_order=order)
    with pytest.raises(ValueError, match='need other rows'):
        row_effects(Terms({}), table.subset([0]), 0)


def test_the_row_itself_is_no_other_row():
    table = signs(5)
    table.slot_value[2] = 1000
    assert row_effects(Terms({(0,): 1}), table, 2).base < 10

import numpy as np
import pandas as pd
import pytest
from model_zoo import randomise
from terms import Terms, signs

from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import FM, MulticlassHead, pair_effects
from pyg_featgraph.nn.levels import find_levels


def framed(table):
    values = table.slot_value.numpy()
    names = np.where(values > 0, 'plus', 'minus')
    return pd.DataFrame(names, columns=list(table.info.names))


def test_effects_of_a_known_function():
    table = signs(4000)
    model = Terms({(0, 2): 3, (0,): 4, (2, 3): 1})
    found = pair_effects(model, table, framed(table), ('c', 'a'), num_rows=4000)
    assert found.fields == ('c', 'a')
    assert {*found.levels[0]} == {'plus', 'minus'}
    c, a = (
        [{'plus': 1, 'minus': -1}[x] for x in level] for level in found.levels
    )
    assert found.joint == pytest.approx(3 * np.outer(c, a), abs=0.3)
    assert found.alone[0] == pytest.approx([0, 0], abs=0.3)
    assert found.alone[1] == pytest.approx(4 * np.array(a), abs=0.3)
    frame = framed(table)
    long = found.to_pandas()
    assert long.index.names == ['c', 'a']
    assert long.loc['plus', 'minus'].to_dict() == {
        'first': found.alone[0][c.index(1)],
        'second': found.alone[1][a.index(-1)],
        'joint': found.joint[c.index(1), a.index(-1)],
        'count': ((frame['c'] == 'plus') & (frame['a'] == 'minus')).sum(),
    }
    assert found.num_rows == 4000


def test_effects_of_a_model(planted, table):
    model, frame = randomise(FM(table.info, 4)), planted.frame()
    pair = ('I1', 'C1')
    found = pair_effects(model, table, frame, pair, num_rows=16)
    assert found.unit == 'effect on the logit'
    assert found.joint.shape == tuple(map(len, found.levels))
    assert found.counts.sum() == len(table)
    same = pair_effects(model, table, frame, pair, num_rows=16, batch_size=1)
    assert same.joint == pytest.approx(found.joint, abs=1e-5)
    other = pair_effects(model, table, frame, pair, num_rows=16, seed=1)
    assert (other.joint != found.joint).any()
    few = pair_effects(model, table, frame, pair, num_levels=2, num_rows=16)
    assert len(few.levels[0]) <= 3
    assert few.num_rows == 16
    classes = randomise(FM(table.info, 4, head=MulticlassHead(3)))
    one, two = (
        pair_effects(classes, table, frame, pair, output=k, num_rows=4)
        for k in range(2)
    )
    assert (one.joint != two.joint).any()
    with pytest.raises(ValueError, match="'output' must be"):
        pair_effects(classes, table, frame, pair, num_rows=4)


def test_wrong_fields_and_frames():
    table = signs(20)
    frame = framed(table)
    with pytest.raises(DataError, match="need the field 'z'"):
        pair_effects(Terms({}), table, frame, ('a', 'z'))
    with pytest.raises(DataError, match="need the field 'b'"):
        pair_effects(Terms({}), table, frame[['a']], ('a', 'b'))
    with pytest.raises(DataError, match='frame has 19 rows, the table 20'):
        pair_effects(Terms({}), table, frame[1:], ('a', 'b'))
    with pytest.raises(ValueError, match='must be two fields'):
        pair_effects(Terms({}), table, frame, ('a', 'a'))


def levels(values, num_levels=3, **kwargs):
    names, codes = find_levels(pd.Series(values, **kwargs), num_levels)
    return [names[code] for code in codes], names


def test_levels():
    texts = list('aabbbcd')
    shown, names = levels([*texts, None])
    assert names == ('b', 'a', 'c', '(others)', '(missing)')
    assert shown == ['a', 'a', 'b', 'b', 'b', 'c', '(others)', '(missing)']
    assert levels(texts, 4)[1] == ('b', 'a', 'c', 'd')
    # Numbers of few values, by their size, and of many:
    assert levels([10, 2, 2, 0.5])[1] == ('0.5', '2', '10')
    shown, names = levels([*range(100), np.nan])
    assert len(names) == 4
    assert [shown.count(x) for x in names] == [33, 34, 33, 1]
    assert names[:3] == ('0 to 32', '33 to 66', '67 to 99')
    assert levels([True, False, True], 1)[1] == ('True', '(others)')
    days = pd.date_range('2020-01-01', periods=10).tolist()
    shown, names = levels(days, 2)
    assert [shown.count(x) for x in names] == [5, 5]
    assert names[0] == '2020-01-01 00:00:00 to 2020-01-05 00:00:00'
    assert levels([None, None])[1] == ('(missing)',)
    # A value of many rows is a range of its own:
    shown, names = levels([3, *[0] * 9, -1, 4, 5], 4)
    assert names == ('-1', '0', '3 to 5')
    assert shown[:2] == ['3 to 5', '0']

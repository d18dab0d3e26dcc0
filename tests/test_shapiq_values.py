import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet

FOUND = InteractionSet(
    Interaction(tuple(fields), score)
    for fields, score in (('ca', 3), ('bca', -2), ('b', 0.5))
)


entries = st.builds(
    Interaction,
    st.sets(st.sampled_from('abcdef'), min_size=1).map(tuple),
    st.floats(-10, 10),
)


# Its import takes seconds:
@settings(max_examples=30, deadline=None)
@given(st.lists(entries, max_size=8).map(InteractionSet))
def test_round_trip(found):
    names = list('fedcba')
    values = found.to_shapiq(names)
    assert values.n_players == 6
    back = InteractionSet.from_shapiq(values, names)
    assert [(x.fields, x.score) for x in back] == [
        (x.fields, x.score) for x in found
    ]
    assert {x.source for x in back} <= {'shapiq Moebius'}


def test_values():
    values = FOUND.to_shapiq(baseline=7.0)
    # The fields are those that occur, sorted:
    assert values.interactions == {(0, 2): 3, (0, 1, 2): -2, (1,): 0.5}
    assert (values.n_players, values.max_order) == (3, 3)
    assert (values.index, values.baseline_value) == ('Moebius', 7)
    assert FOUND.to_shapiq(index='SII').index == 'SII'
    assert FOUND.to_shapiq('xcba').interactions[1, 3] == 3
    # The value of no field is no interaction:
    values.interactions[()] = 7.0
    assert len(InteractionSet.from_shapiq(values, 'abc')) == 3


def test_its_figures_take_them():
    pytest.importorskip('matplotlib').use('agg')
    figure = FOUND.to_shapiq().plot_upset(feature_names=list('abc'), show=False)
    texts = [x.get_text() for axis in figure.axes for x in axis.texts]
    assert texts == ['3.00', '-2.00', '0.50']
    import matplotlib.pyplot as plt

    plt.close(figure)


def test_wrong_names(monkeypatch):
    with pytest.raises(DataError, match=r"lack the fields \['c'\]"):
        FOUND.to_shapiq('ab')
    with pytest.raises(DataError, match=r'of 3 players \(got 2\)'):
        InteractionSet.from_shapiq(FOUND.to_shapiq(), 'ab')
    monkeypatch.setitem(sys.modules, 'shapiq', None)
    with pytest.raises(ImportError, match=r'pyg-featgraph\[shapiq\]'):
        FOUND.to_shapiq()

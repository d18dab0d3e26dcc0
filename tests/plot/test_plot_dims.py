import pytest
from plot_parts import labels

from pyg_featgraph.plot import plot_dims


def test_dims():
    dims = {'inner-2': [[0, 3], [], [1]], 'outer-2': [[0], [0, 1, 2, 3], []]}
    figure = plot_dims(dims, ['a', 'b', 'c'], [30, 4, 2000], 4)
    (axis, _) = figure.axes
    assert labels(axis.get_xticklabels()) == ['inner-2', 'outer-2']
    # By the size of the vocabulary:
    names = ['b (4)', 'a (30)', 'c (2,000)']
    assert labels(axis.get_yticklabels()) == names
    (image,) = axis.images
    assert image.get_array().tolist() == [[0, 4], [2, 1], [1, 0]]
    assert image.get_clim() == (0, 4)
    shown = {(*text.get_position(), text.get_text()) for text in axis.texts}
    assert shown == {(1, 0, '4'), (0, 1, '2'), (1, 1, '1'), (0, 2, '1')}
    with pytest.raises(ValueError, match='differ in their fields'):
        plot_dims(dims, ['a', 'b'], [30, 4], 4)
    with pytest.raises(ValueError, match='all interactions are closed'):
        plot_dims({}, ['a', 'b'], [30, 4], 4)

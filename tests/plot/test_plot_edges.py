import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from plot_parts import labels, overlap, weights

from pyg_featgraph.plot import plot_edge_weights


def maps(figure):
    return [axis for axis in figure.axes if axis.images]


def frames(axis):
    return sorted(
        (patch.get_y() + 0.5, patch.get_x() + 0.5) for patch in axis.patches
    )


def test_edge_weights():
    values = weights(4, 2, 3)
    figure = plot_edge_weights(
        values, list('abc'), list('pqrs'), None, [('c', 'a'), ('a', 'b', 'c')]
    )
    # Eight maps and a colour bar for each column:
    assert (len(maps(figure)), len(figure.axes)) == (8, 10)
    for i, axis in enumerate(maps(figure)):
        r, c = divmod(i, 2)
        image = axis.images[0]
        np.testing.assert_array_equal(image.get_array(), values[r][c])
        assert labels(axis.get_xticklabels()) == list('abc')
        assert labels(axis.get_yticklabels()) == list('abc')
        assert axis.get_title() == f'{"pqrs"[r]}\nlayer {c + 1} (order {c + 2})'
        assert frames(axis) == [(0, 2), (2, 0)]
        column = [row[c] for row in values]
        assert image.get_clim() == (np.min(column), np.max(column))
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == ['planted']
    edge = maps(figure)[0].patches[0].get_edgecolor()
    assert edge == to_rgba(legend.get_patches()[0].get_edgecolor())


@pytest.mark.parametrize(
    ('scale', 'bars', 'limits'),
    [('column', 2, 2), ('figure', 1, 1), ('map', 6, 6)],
)
def test_scales(scale, bars, limits):
    figure = plot_edge_weights(
        weights(3, 2, 4), list('abcd'), list('pqr'), list('st'), scale=scale
    )
    assert len(figure.axes) - len(maps(figure)) == bars
    assert len({x.images[0].get_clim() for x in maps(figure)}) == limits
    assert maps(figure)[1].get_title() == 'p\nt'
    assert not figure.legends


@pytest.mark.parametrize(
    ('scale', 'bars', 'limits'),
    [('column', 4, 4), ('figure', 3, 3), ('map', 6, 6)],
)
def test_rows_with_a_scale_of_their_own(scale, bars, limits):
    values = weights(3, 2, 4)
    figure = plot_edge_weights(
        values, list('abcd'), list('pqr'), scale=scale, alone=[1]
    )
    assert len(figure.axes) - len(maps(figure)) == bars
    clims = [x.images[0].get_clim() for x in maps(figure)]
    assert len({*clims}) == limits
    for c in range(2):
        assert clims[2 + c] == (values[1][c].min(), values[1][c].max())


def test_values_beside_the_maps_of_a_row():
    row = {'a': 0.123456, 'b': 'red', 'c': 'a very long value indeed', 'd': 7}
    figure = plot_edge_weights(
        weights(2, 1, 3), list('abc'), ['row', 'mean'], row_values=[row, None]
    )
    one, mean = maps(figure)
    assert labels(one.get_yticklabels()) == [
        'a = 0.1235',
        'b = red',
        'c = a very l… indeed',
    ]
    assert labels(mean.get_yticklabels()) == list('abc')
    missing = {'a': np.nan, 'b': None, 'c': pd.NA}
    figure = plot_edge_weights(
        weights(1, 1, 3), list('abc'), ['row'], row_values=[missing]
    )
    (axis,) = maps(figure)
    assert labels(axis.get_yticklabels()) == [f'{x} = missing' for x in 'abc']
    assert labels(one.get_xticklabels()) == list('abc')


def test_absent_weights():
    value = np.array([[np.nan, 1.0], [3.0, 2.0]])
    figure = plot_edge_weights([[value]], ['a', 'b'], ['row'])
    assert maps(figure)[0].images[0].get_clim() == (1, 3)


def test_bad_weights():
    good = weights(2, 2, 3)
    names = list('abc')
    with pytest.raises(ValueError, match='1 rows of 2 arrays'):
        plot_edge_weights(good, names, ['p'])
    with pytest.raises(ValueError, match='2 rows of 1 arrays'):
        plot_edge_weights(good, names, ['p', 'q'], ['s'])
    with pytest.raises(ValueError, match=r'shape \(2, 2\) \(got \{\(3, 3\)\}'):
        plot_edge_weights(good, names[:2], ['p', 'q'])
    with pytest.raises(ValueError, match=r"unknown fields \['z'\]"):
        plot_edge_weights(good, names, ['p', 'q'], marks=[('a', 'z')])
    for alone in ([2], [-1]):
        with pytest.raises(ValueError, match=r"'alone' must .* from 0 to 1"):
            plot_edge_weights(good, names, ['p', 'q'], alone=alone)
    with pytest.raises(ValueError, match=r"'row_values' must be 2 \(got 1\)"):
        plot_edge_weights(good, names, ['p', 'q'], row_values=[None])
    with pytest.raises(ValueError, match="'scale' must be"):
        plot_edge_weights(good, names, ['p', 'q'], scale='row')


@pytest.mark.parametrize(
    'names',
    [
        [f'I{i}' for i in range(1, 14)] + [f'C{i}' for i in range(1, 27)],
        ['gender', 'age', 'zip code', 'a very long name of a column indeed'],
    ],
    ids=['39 fields', 'long names'],
)
def test_edge_weights_are_readable(names):
    figure = plot_edge_weights(
        weights(2, 1, len(names)),
        names,
        ['row 17: label 1, predicted 0.97', 'mean over 1024 rows'],
        marks=[names[:2]],
        row_values=[dict.fromkeys(names, 'of some length'), None],
        alone=[1],
    )
    figure.canvas.draw()
    boxes = []
    for axis in maps(figure):
        for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
            assert len(ticks) == len(names)
            assert not overlap([x.get_window_extent() for x in ticks])
        # With its tick labels and title, a map keeps clear of the others:
        boxes.append(axis.get_tightbbox())
    assert not overlap(boxes)
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1

import numpy as np
import pytest
from matplotlib.colors import to_hex
from plot_parts import labels, overlap

from pyg_featgraph.plot import plot_layer_graphs


def colour(patch):
    # Without the opacity:
    return to_hex(patch.get_facecolor())


def arrows(axis):
    # In the order in which they are drawn:
    axis.figure.canvas.draw()
    nodes = np.asarray(axis.collections[0].get_offsets())
    found = {}
    for patch in axis.patches:
        # A curve of three points, then the head, which ends in a stop code:
        points = patch.get_path().vertices[:-1]
        distance = np.linalg.norm(points[:, None] - nodes, axis=2)
        i, *_, j = distance.argmin(axis=1)
        assert distance[3:].argmin(axis=1).tolist() == [j] * len(points[3:])
        names = labels(axis.texts)
        found[names[i], names[j]] = patch
    assert len(found) == len(axis.patches)
    return found


def corners(text):
    # Of a rotated text, whose own box is upright:
    width, height = straight(text)
    box, angle = text.get_window_extent(), np.radians(text.get_rotation())
    turn = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    centre = [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]
    return centre + (half * [width, height]) @ turn.T


def straight(text):
    angle = text.get_rotation()
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    return box.width, box.height


def apart(one, two):
    # Convex shapes are, if an edge of either one separates them:
    for shape in (one, two):
        for side in np.roll(shape, -1, axis=0) - shape:
            normal = np.array([-side[1], side[0]])
            a, b = one @ normal, two @ normal
            if a.max() <= b.min() or b.max() <= a.min():
                return True
    return False


def test_layer_graphs():
    scores = np.zeros((2, 4, 4))
    # A self loop, both directions of a pair, the threshold and less:
    scores[0, 0, 0] = 1
    scores[0, 0, 1], scores[0, 1, 0], scores[0, 3, 1] = 0.9, 0.7, 0.5
    scores[0, 1, 3] = 0.49
    scores[1, 2, 0], scores[1, 0, 2] = 0.8, np.nan
    figure = plot_layer_graphs(scores, list('abcd'))
    one, two = figure.axes
    assert list(arrows(one)) == [('d', 'b'), ('b', 'a'), ('a', 'b')]
    assert list(arrows(two)) == [('c', 'a')]
    assert one.get_title() == (
        'layer 1 (order 2)\n3 of 3 edges, scores 0.5 to 0.9'
    )
    assert two.get_title() == (
        'layer 2 (order 3)\n1 of 1 edges, scores 0.8 to 0.8'
    )
    for axis, alone in ((one, [2]), (two, [1, 3])):
        colours = [to_hex(x) for x in axis.collections[0].get_facecolors()]
        assert [to_hex(x.get_color()) for x in axis.texts] == colours
        assert len(set(colours)) == 2
        assert [i for i in range(4) if colours[i] == colours[alone[0]]] == alone
    # Higher scores are wider and darker:
    widths = [x.get_linewidth() for x in one.patches]
    opacities = [x.get_alpha() for x in one.patches]
    assert widths == sorted(set(widths))
    assert opacities == sorted(set(opacities))
    assert opacities[-1] == two.patches[0].get_alpha() == 1
    assert not figure.legends


@pytest.mark.parametrize('n', [2, 3, 8, 39])
def test_arrows_of_both_directions_are_apart(n):
    scores = np.zeros((1, n, n))
    scores[0, 0, 1:] = scores[0, 1:, 0] = 1
    figure = plot_layer_graphs(
        scores, [str(i) for i in range(n)], max_edges=None
    )
    middle = {}
    for edge, patch in arrows(figure.axes[0]).items():
        first, control, last = patch.get_path().vertices[:3]
        middle[edge] = (first + last) / 4 + control / 2
        # Not along the circle, through other fields:
        assert np.linalg.norm(middle[edge]) < 0.95
    assert len(middle) == 2 * (n - 1)
    for i, j in middle:
        assert np.linalg.norm(middle[i, j] - middle[j, i]) > 0.1


def test_threshold_of_each_layer():
    scores = np.stack([np.full((3, 3), 0.4), np.full((3, 3), 0.6)])
    for threshold, counts in (
        (0.5, [0, 6]),
        (0.4, [6, 6]),
        ([0.3, 0.7], [6, 0]),
        (np.array([0.3, 0.6]), [6, 6]),
    ):
        figure = plot_layer_graphs(scores, list('abc'), threshold)
        assert [len(axis.patches) for axis in figure.axes] == counts
    figure = plot_layer_graphs(scores, list('abc'), 1)
    assert figure.axes[0].get_title() == 'layer 1 (order 2)\n0 of 0 edges'


def test_most_edges():
    scores = np.random.default_rng(0).permutation(25).reshape(1, 5, 5) / 25
    ranked = sorted(
        ((i, j) for i in range(5) for j in range(5) if i != j),
        key=lambda edge: scores[0][edge],
    )
    for most, count in ((3, 3), (40, 20), (None, 20), (0, 0)):
        (axis,) = plot_layer_graphs(scores, list('abcde'), 0, most).axes
        assert list(arrows(axis)) == [
            ('abcde'[i], 'abcde'[j]) for i, j in ranked[20 - count :]
        ]
        assert f'\n{count} of 20 edges' in axis.get_title()


def test_marked_arrows():
    scores = np.zeros((1, 4, 4))
    scores[0, [0, 2, 1, 3], [2, 0, 0, 1]] = [0.9, 0.6, 1, 0.8]
    marks = [('c', 'a'), ('b', 'c'), ('a', 'b', 'c'), ('x',)]
    figure = plot_layer_graphs(scores, list('abcd'), marks=iter(marks))
    found = arrows(figure.axes[0])
    # They are above the others:
    assert list(found) == [('d', 'b'), ('b', 'a'), ('c', 'a'), ('a', 'c')]
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == ['planted']
    marked = colour(legend.get_patches()[0])
    assert [colour(x) == marked for x in found.values()] == [0, 0, 1, 1]


def test_bad_layer_graphs():
    scores, names = np.ones((2, 3, 3)), list('abc')
    for bad in (scores[0], scores[:, :2], scores[:, :, :2], scores[:0]):
        with pytest.raises(ValueError, match=r'shape \(layers, 3, 3\)'):
            plot_layer_graphs(bad, names)
    with pytest.raises(ValueError, match=r'\(layers, 2, 2\) \(got \(2, 3, 3'):
        plot_layer_graphs(scores, names[:2])
    for threshold in ([0.5], [0.5] * 3):
        with pytest.raises(ValueError, match='each of 2 layers'):
            plot_layer_graphs(scores, names, threshold)
    with pytest.raises(ValueError, match="'max_edges' must not be negative"):
        plot_layer_graphs(scores, names, max_edges=-1)
    with pytest.raises(ValueError, match=r"unknown fields \['z'\]"):
        plot_layer_graphs(scores, names, marks=[('a', 'z')])


@pytest.mark.parametrize(
    'names',
    [
        [f'I{i}' for i in range(1, 14)] + [f'C{i}' for i in range(1, 27)],
        [f'categorical_feature_{i}' for i in range(39)],
        ['gender', 'age', 'zip code', 'a very long name of a column indeed'],
        ['one'],
    ],
    ids=['39 fields', '39 long names', '4 fields', '1 field'],
)
def test_layer_graphs_are_readable(names):
    scores = np.random.default_rng(0).random((2, len(names), len(names)))
    figure = plot_layer_graphs(scores, names, marks=[names[:2]])
    figure.canvas.draw()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    for axis in figure.axes:
        assert len(axis.texts) == len(names)
        shapes = [corners(text) for text in axis.texts]
        for i, one in enumerate(shapes):
            assert all(apart(one, two) for two in shapes[:i])
            # Outside the circle:
            points = axis.transData.inverted().transform(one)
            assert np.linalg.norm(points, axis=1).min() > 1.03
        # Which is round:
        (a, b), (c, d) = np.abs(axis.transData.get_matrix()[:2, :2])
        assert (a, b, c) == (pytest.approx(d), 0, 0)
        # Nothing leaves the axes, or comes near the title and the legend:
        for text in axis.texts:
            box = text.get_window_extent()
            assert axis.bbox.x0 <= box.x0 < box.x1 <= axis.bbox.x1
            assert axis.bbox.y0 <= box.y0 < box.y1 <= axis.bbox.y1
        boxes += [axis.bbox.padded(-1), axis.title.get_window_extent()]
    assert not overlap(boxes)
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1

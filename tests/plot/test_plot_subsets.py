import numpy as np
import pytest
from matplotlib.colors import to_hex
from plot_parts import inside, labels, overlap

from pyg_featgraph.plot import (
    plot_orders,
    plot_subset_members,
    plot_subset_sizes,
)

TITLES = ['row 17: label 1, predicted 0.97', 'row 3: label 0, predicted 0.1']


def test_subset_members():
    shares = np.array([[0.5, 0.0], [1.0, 0.9], [0.25, 0.25]])
    figure = plot_subset_members(shares, list('abc'), marks='c')
    axis, bar = figure.axes
    (image,) = axis.images
    # The fields by their means, those of equal ones as they are:
    assert image.get_array().tolist() == shares[[1, 0, 2]].tolist()
    assert image.get_clim() == (0, 1)
    assert labels(axis.get_yticklabels()) == list('bac')
    assert labels(axis.get_xticklabels()) == ['1', '2']
    assert labels(axis.texts) == ['mean', '0.95', '0.25', '0.25']
    assert [text.xy[1] for text in axis.texts[1:]] == [0, 1, 2]
    assert bar.get_ylabel() == 'share of rows'
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == [
        'marked: mean 0.25',
        'others: mean 0.60',
    ]
    mark, other = (to_hex(x.get_facecolor()) for x in legend.get_patches())
    colours = [to_hex(x.get_color()) for x in axis.get_yticklabels()]
    assert colours == [other, other, mark]
    assert mark != other


def test_marks_of_all_fields_and_of_none():
    (legend,) = plot_subset_members([[0.5]], ['ab'], ['ab']).legends
    assert labels(legend.get_texts()) == ['marked: mean 0.50']
    assert not plot_subset_members([[0.5]], ['ab']).legends


def test_many_fields_are_side_by_side():
    shares = np.random.default_rng(0).random((400, 3))
    names = [str(i) for i in range(400)]
    axes = plot_subset_members(shares, names).axes[:-1]
    parts = [np.asarray(axis.images[0].get_array()) for axis in axes]
    assert [len(part) for part in parts] == [80] * 5
    order = np.argsort(-shares.mean(axis=1))
    assert (np.concatenate(parts) == shares[order]).all()
    ticks = [x for axis in axes for x in labels(axis.get_yticklabels())]
    assert ticks == [names[i] for i in order]
    # Rows are equally high, if one part has less of them:
    axes = plot_subset_members(shares[:81], names[:81]).axes[:-1]
    assert [len(axis.images[0].get_array()) for axis in axes] == [41, 40]
    assert {axis.get_ylim() for axis in axes} == {(40.5, -0.5)}


def test_bad_subset_members():
    for bad in (np.ones((2, 3)), np.ones(3), np.ones((3, 0))):
        with pytest.raises(ValueError, match=r'shape \(3, subsets\) \(got'):
            plot_subset_members(bad, list('abc'))
    with pytest.raises(ValueError, match=r"unknown fields \['x', 'z'\]"):
        plot_subset_members(np.ones((3, 2)), list('abc'), ['z', 'a', 'x'])


@pytest.mark.parametrize(
    ('n', 'num_subsets'), [(1, 1), (7, 40), (39, 10), (41, 1), (400, 4)]
)
def test_subset_members_are_readable(n, num_subsets):
    names = [f'C{i}' for i in range(n - 1)] + ['a very long name of a column']
    shares = np.random.default_rng(0).random((n, num_subsets))
    figure = plot_subset_members(shares, names, names[-1:] if n != 41 else ())
    figure.canvas.draw()
    boxes = [legend.get_window_extent() for legend in figure.legends]
    for axis in figure.axes[:-1]:
        texts = [x.get_window_extent() for x in axis.texts]
        assert not overlap(texts)
        for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
            assert not overlap([x.get_window_extent() for x in ticks])
        inside(figure, texts)
        boxes.append(axis.get_tightbbox())
    boxes.append(figure.axes[-1].get_tightbbox())
    assert not overlap(boxes)
    inside(figure, boxes)


def test_subset_sizes():
    sizes = [[4, 3, 0], [2, 4, 1]]
    figure = plot_subset_sizes(sizes, 4)
    assert [axis.get_title() for axis in figure.axes] == ['row 1', 'row 2']
    for axis, row in zip(figure.axes, sizes, strict=True):
        kept, pruned = axis.containers
        assert [bar.get_height() for bar in kept] == row
        assert [bar.get_y() for bar in pruned] == row
        assert [bar.get_height() for bar in pruned] == [4 - x for x in row]
        assert labels(axis.get_xticklabels()) == ['1', '2', '3']
        assert labels(axis.texts) == [f'{1 - x / 4:.0%}' for x in row]
        assert [x.get_position()[0] for x in axis.texts] == [1, 2, 3]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    (legend,) = figure.legends
    assert [to_hex(x.get_facecolor()) for x in legend.get_patches()] == [
        to_hex(bars[0].get_facecolor()) for bars in (kept, pruned)
    ]


def test_subset_sizes_of_rows_that_lack_fields():
    figure = plot_subset_sizes([[4, 1], [2, 1]], [5, 2], TITLES)
    shares = [labels(axis.texts) for axis in figure.axes]
    assert shares == [['20%', '80%'], ['0%', '50%']]
    assert [axis.get_title() for axis in figure.axes] == TITLES


def test_bad_subset_sizes():
    for bad in ([1, 2], [[[1]]], [[]]):
        with pytest.raises(ValueError, match=r'shape \(rows, subsets\)'):
            plot_subset_sizes(bad, 3)
    with pytest.raises(ValueError, match=r'one number or 1 \(got shape \(2,'):
        plot_subset_sizes([[1, 2]], [3, 3])
    for sizes, num_fields in (([[4]], 3), ([[-1]], 3), ([[0]], 0)):
        with pytest.raises(ValueError, match="from zero to 'num_fields'"):
            plot_subset_sizes(sizes, num_fields)
    with pytest.raises(ValueError, match=r"'titles' must be 1 \(got 2\)"):
        plot_subset_sizes([[1, 2]], 3, TITLES)


def test_orders():
    orders = np.array([[[1, 3], [0, 3]], [[2, 2], [2, 1]]])
    for values in (orders, list(orders)):
        figure = plot_orders(values)
        one, two = figure.axes
        assert [bar.get_height() for bar in one.patches] == [1, 0, 2]
        assert [bar.get_height() for bar in two.patches] == [1, 3, 0]
        for axis in figure.axes:
            middles = [x.get_x() + x.get_width() / 2 for x in axis.patches]
            assert middles == pytest.approx([1, 2, 3])
        assert one.get_title() == 'row 1\n4 combinations, 1 empty'
        assert two.get_title() == 'row 2\n4 combinations, 0 empty'
        assert one.get_xlim() == two.get_xlim()
        assert one.get_ylim() == two.get_ylim()


def test_orders_of_three_rows():
    # Of four places, one is empty:
    orders = [[[1]], [[2, 2]], [[0], [0]]]
    figure = plot_orders(orders, num_fields=5, titles=list('pqr'))
    assert [len(axis.patches) for axis in figure.axes] == [5] * 3
    assert [axis.get_title()[0] for axis in figure.axes] == list('pqr')
    assert figure.axes[2].get_title().endswith('2 combinations, 2 empty')
    figure.canvas.draw()
    for axis in figure.axes:
        assert any(x.get_visible() for x in axis.get_xticklabels())


def test_empty_orders():
    (axis,) = plot_orders([[[0, 0]]]).axes
    assert axis.get_title().endswith('2 combinations, 2 empty')
    for ticks in (axis.get_xticks(), axis.get_yticks()):
        assert all(tick.is_integer() for tick in ticks.tolist())
    assert axis.get_ylim() == (0, pytest.approx(1.05))


def test_bad_orders():
    for bad in ([], [[1, 2]], np.ones((2, 0, 3), dtype=int)):
        with pytest.raises(ValueError, match=r'\(rows, subsets, queries\)'):
            plot_orders(bad)
    for bad in ([[[-1]]], [[[0.5]]]):
        with pytest.raises(ValueError, match='whole numbers from zero'):
            plot_orders(bad)
    with pytest.raises(
        ValueError, match=r"'num_fields' must be .* 4 \(got 3\)"
    ):
        plot_orders([[[4]]], num_fields=3)
    with pytest.raises(
        ValueError, match=r"'num_fields' must be .* 1 \(got 0\)"
    ):
        plot_orders([[[0]]], num_fields=0)
    with pytest.raises(ValueError, match=r"'titles' must be 1 \(got 2\)"):
        plot_orders([[[4]]], titles=TITLES)


@pytest.mark.parametrize(
    ('n', 'num_subsets'), [(1, 1), (7, 10), (39, 40), (400, 10)]
)
def test_panels_are_readable(n, num_subsets):
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, n + 1, (2, num_subsets))
    sizes[:, 0] = 0
    orders = rng.integers(0, n + 1, (2, num_subsets, 16))
    for figure in (
        plot_subset_sizes(sizes, n, TITLES),
        plot_orders(orders, n, TITLES),
    ):
        figure.canvas.draw()
        boxes = [legend.get_window_extent() for legend in figure.legends]
        for axis in figure.axes:
            texts = [x.get_window_extent() for x in axis.texts]
            assert not overlap(texts)
            for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
                assert not overlap([x.get_window_extent() for x in ticks])
            # The shares are within the axes, the title is above:
            for box in texts:
                assert axis.bbox.y0 <= box.y0 < box.y1 <= axis.bbox.y1
            boxes.append(axis.get_tightbbox())
        assert not overlap(boxes)
        inside(figure, boxes)

import pytest
from plot_parts import inside, labels, overlap

from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.plot import plot_comparison


def ranking(*fields, source=''):
    return InteractionSet(
        Interaction(tuple(x), -i, source) for i, x in enumerate(fields)
    )


def sides(figure):
    return [labels(x.get_yticklabels()) for x in figure.axes]


def points(axis):
    return [([*x.get_xdata()], [*x.get_ydata()]) for x in axis.lines]


def test_comparison():
    one = ranking('ab', 'cd', 'ef', source='X')
    two = ranking('cd', 'gh', 'ij', 'ab', source='Y')
    figure = plot_comparison(one, two, top=2)
    left, right = figure.axes
    assert sides(figure) == [
        ['a x b (4 there)', 'c x d'],
        ['c x d', 'g x h (not there)'],
    ]
    line, alone = left.lines
    assert line.get_ydata().tolist() == [1, 0]
    assert (alone.get_xdata().tolist(), alone.get_ydata().tolist()) == (
        [0],
        [0],
    )
    (alone,) = right.lines
    assert (alone.get_xdata().tolist(), alone.get_ydata().tolist()) == (
        [1],
        [1],
    )
    for axis, expected in ((left, [True, False]), (right, [False, True])):
        ticks = axis.get_yticklabels()
        assert [x.get_color() != 'black' for x in ticks] == expected
        low, high = axis.get_ylim()
        assert low > 1 > 0 > high
    assert labels(left.get_xticklabels()) == ['pairs of X', 'pairs of Y']
    assert left.get_title() == '1 of the first 2 in common'
    figure = plot_comparison(one, two, top=9, titles=('p', 'q'))
    assert figure.axes[0].get_title() == '2 of the first 4 in common'
    assert labels(figure.axes[0].get_xticklabels()) == ['p', 'q']
    assert [len(x) for x in sides(figure)] == [3, 4]


def test_comparison_with_nothing():
    (axis,) = plot_comparison(ranking(), ranking()).axes
    assert labels(axis.texts) == ['no interactions found']
    figure = plot_comparison(ranking(), ranking('ab'))
    assert sides(figure) == [[], ['a x b (not there)']]
    with pytest.raises(ValueError, match='at least 1'):
        plot_comparison(ranking('ab'), ranking('ab'), top=0)


def test_comparisons_are_readable():
    names = [f'a_rather_long_name_of_a_column_{i}' for i in range(30)]
    one = ranking(*(names[i : i + 3] for i in range(25)))
    two = ranking(*(names[i : i + 3] for i in reversed(range(25))))
    figure = plot_comparison(one, two, 20, ('a rather long title ' * 3,) * 2)
    figure.canvas.draw()
    for axis in figure.axes:
        ticks = [x.get_window_extent() for x in axis.get_yticklabels()]
        assert not overlap(ticks)
        inside(figure, [*ticks, axis.get_tightbbox()])
    titles = [x.get_window_extent() for x in figure.axes[0].get_xticklabels()]
    assert not overlap(titles)
    assert figure.axes[0].bbox.width > 1.5 * figure.dpi

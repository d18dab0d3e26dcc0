import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from plot_parts import labels, overlap

from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.plot import plot_counts


def counts(*entries):
    return InteractionSet(
        Interaction(tuple(fields), score) for fields, score in entries
    )


FOUND = counts(('ab', 9), ('abc', 7), ('bc', 5), ('abcde', 3), ('abcd', 1))


def points(figure):
    return {
        group.get_label(): group.get_offsets().tolist()
        for group in figure.axes[0].collections
    }


def drawn(names, count, highlight, equal=False):
    # Pairs and larger interactions of the fields, with falling counts:
    rng = np.random.default_rng(0)
    figure = plot_counts(
        counts(
            *(
                (rng.permutation(names)[: 2 + i % 4], 700 - 5 * i * (not equal))
                for i in range(count)
            )
        ),
        highlight,
        significance=100,
    )
    figure.canvas.draw()
    return figure


def test_counts():
    figure = plot_counts(FOUND)
    (axis,) = figure.axes
    assert points(figure) == {
        'order 2': [[1, 9], [3, 5]],
        'order 3': [[2, 7]],
        'order 4 and above': [[4, 3], [5, 1]],
    }
    assert axis.get_title() == '5 of 5 interactions'
    assert not axis.texts
    assert not axis.lines
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == list(points(figure))
    colours = {to_hex(x.get_facecolor()[0]) for x in axis.collections}
    assert len(colours) == 3
    assert axis.get_ylim()[0] == 0


def test_counts_of_the_top():
    figure = plot_counts(FOUND, top=3)
    assert points(figure) == {
        'order 2': [[1, 9], [3, 5]],
        'order 3': [[2, 7]],
    }
    assert figure.axes[0].get_title() == '3 of 5 interactions'


def test_significance():
    figure = plot_counts(FOUND, significance=5)
    (line,) = figure.axes[0].lines
    assert {*line.get_ydata()} == {5}
    # As many are above, not at it:
    assert line.get_label() == 'significant above 5 (2)'
    assert labels(figure.legends[0].get_texts())[-1] == line.get_label()
    # One that none reaches is in the figure too:
    assert plot_counts(FOUND, significance=80).axes[0].get_ylim()[1] > 80


@pytest.mark.parametrize(
    ('highlight', 'names', 'share'),
    [
        (0, [], 'the first 0'),
        (2, ['a x b', 'a x b x c'], 'the first 2'),
        (9, None, 'the first 5'),
        ([('c', 'b'), ('a', 'd')], ['b x c'], '1 of 2 pairs'),
        (['bc', 'abcdef', 'abcd'], None, '1 of 1 pairs, 1 of 1 sets of 4'),
    ],
)
def test_highlight(highlight, names, share):
    (axis,) = plot_counts(FOUND, highlight).axes
    if names is None:
        assert len(axis.texts) == (5 if highlight == 9 else 2)
    else:
        assert {*labels(axis.texts)} == {*names}
    assert axis.get_title() == f'5 of 5 interactions\n{share} highlighted'
    for text in axis.texts:
        # The line ends at the point:
        rank, value = text.xy
        entry = FOUND[int(rank) - 1]
        assert (' x '.join(entry.fields), entry.score) == (
            text.get_text(),
            value,
        )


def test_no_counts():
    figure = plot_counts(InteractionSet(), highlight=3)
    figure.canvas.draw()
    assert not points(figure)
    assert not figure.legends
    assert labels(figure.axes[0].texts) == ['no interactions found']


def test_how_many_rows_were_counted():
    assert plot_counts(FOUND).axes[0].get_ylabel() == 'occurrence count'
    entry = Interaction(('a', 'b'), 3, detail={'rows': 1000})
    (axis,) = plot_counts([entry]).axes
    assert axis.get_ylabel() == 'occurrence count in 1,000 rows'


def test_bad_counts():
    with pytest.raises(ValueError, match=r'negative scores \(got -1'):
        plot_counts(counts(('ab', 2), ('bc', -1)))
    with pytest.raises(ValueError, match='entries of a single field'):
        plot_counts(counts(('ab', 2), ('c', 1)))
    for options in ({'top': -1}, {'highlight': -2}):
        with pytest.raises(ValueError, match='must not be negative'):
            plot_counts(FOUND, **options)


@pytest.mark.parametrize(
    ('names', 'count', 'highlight', 'equal'),
    [
        ([f'C{i}' for i in range(39)], 50, 5, False),
        ([f'C{i}' for i in range(39)], 50, 50, False),
        ([f'a_rather_long_name_of_a_column_{i}' for i in range(9)], 4, 4, True),
        ([f'C{i}' for i in range(400)], 300, 20, True),
    ],
    ids=['few', 'all', 'long names', 'equal counts'],
)
def test_counts_are_readable(names, count, highlight, equal):
    figure = drawn(names, count, highlight, equal)
    (axis,) = figure.axes
    # Those of the same fields are one:
    count = sum(len(x) for x in points(figure).values())
    assert len(axis.texts) == min(highlight, count)
    # Without the lines to the points, which belong to an annotation:
    boxes = [Text.get_window_extent(text) for text in axis.texts]
    assert not overlap(boxes)
    dots = np.concatenate([x.get_offsets() for x in axis.collections])
    dots = axis.transData.transform(dots)
    for box in boxes:
        assert axis.bbox.x0 <= box.x0 < box.x1 <= axis.bbox.x1
        assert axis.bbox.y0 <= box.y0 < box.y1 <= axis.bbox.y1
        assert not any(box.contains(*dot) for dot in dots)
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1

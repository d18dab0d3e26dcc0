from collections import namedtuple

import pytest
from matplotlib.colors import to_hex
from plot_parts import FOUND, labels, overlap

from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.plot import plot_interactions, save_figure


def test_interactions():
    figure = plot_interactions(FOUND, top=2, truth=[('e', 'd', 'c'), ('x',)])
    (axis,) = figure.axes
    assert labels(axis.get_yticklabels()) == ['a x b', 'c x d x e']
    assert [bar.get_width() for bar in axis.patches] == [3, 2]
    # The best is on top:
    low, high = axis.get_ylim()
    assert low > 1 > 0 > high
    (legend,) = figure.legends
    assert labels(legend.get_texts()) == [
        'planted (1 of 1 triples)',
        'not planted',
    ]
    colours = [to_hex(x.get_facecolor()) for x in legend.get_patches()]
    assert len(set(colours)) == 2
    assert [to_hex(bar.get_facecolor()) for bar in axis.patches] == colours[
        ::-1
    ]
    assert axis.get_title() == '2 of 3 interactions'


def test_any_entries_with_fields_and_scores():
    Entry = namedtuple('Entry', ['fields', 'score'])
    entries = [Entry(x.fields, x.score) for x in FOUND]
    for top in (0, 2, None):
        one, two = (
            plot_interactions(FOUND, top),
            plot_interactions(entries, top),
        )
        for figure in (one, two):
            figure.canvas.draw()
        assert one.canvas.buffer_rgba() == two.canvas.buffer_rgba()
    with pytest.raises(ValueError, match=r'must not be negative \(got -1\)'):
        plot_interactions(entries, -1)


def test_interactions_without_a_truth():
    figure = FOUND.plot(top=None)
    assert len(figure.axes[0].patches) == 3
    assert len({x.get_facecolor() for x in figure.axes[0].patches}) == 1
    assert not figure.legends


@pytest.mark.parametrize(
    ('orders', 'truth', 'text'),
    [
        ((2,), ['ab', 'cd', 'cde'], '1 of 2 pairs'),
        ((2, 3), ['ab', 'cd', 'cde'], '1 of 2 pairs, 1 of 1 triples'),
        ((3,), ['ab'], '0 of 0 triples'),
    ],
)
def test_only_orders_that_the_ranking_can_hold_count(orders, truth, text):
    figure = plot_interactions(FOUND.of_order(*orders), truth=truth)
    assert labels(figure.legends[0].get_texts())[0] == f'planted ({text})'


def test_what_the_scores_are():
    detail = {'unit': 'effect on the logit', 'rows': 1024}
    found = InteractionSet(
        Interaction(tuple(x), i, 'FM', detail)
        for i, x in enumerate(['ab', 'c'])
    )
    (axis,) = plot_interactions(found).axes
    assert axis.get_xlabel() == 'effect on the logit, 1,024 rows'
    assert axis.get_title() == '2 of 2 interactions of FM'
    (axis,) = plot_interactions(found.of_order(2)).axes
    assert axis.get_title() == '1 of 1 pairs of FM'
    mixed = InteractionSet([*found, Interaction(('x', 'y'), 1, 'X')])
    (axis,) = plot_interactions(mixed).axes
    assert axis.get_xlabel() == 'score'
    assert axis.get_title() == '3 of 3 interactions'


def test_no_interactions(tmp_path):
    figure = plot_interactions(InteractionSet(), truth=[('a', 'b')])
    (axis,) = figure.axes
    assert not axis.patches
    assert not figure.legends
    assert labels(axis.texts) == ['no interactions found']
    save_figure(figure, tmp_path / 'empty.png')
    (axis,) = plot_interactions(FOUND, top=0).axes
    assert labels(axis.texts) == ['0 of 3 interactions']


def test_intervals():
    found = InteractionSet(
        [*FOUND, Interaction(('a', 'c'), 2.5, detail={'interval': (2.0, 4.0)})]
    )
    (axis,) = found.plot().axes
    (line,) = axis.lines
    assert line.get_xdata().tolist() == [2.0, 4.0]
    # At its own bar:
    assert line.get_ydata().tolist() == [1, 1]
    assert labels(axis.get_yticklabels())[1] == 'a x c'
    assert axis.get_xlim()[1] > 4
    assert axis.get_xlabel() == 'score, lines: 95 % intervals'
    assert not FOUND.plot().axes[0].lines


@pytest.mark.parametrize('count', [1, 50])
def test_rankings_are_readable(count):
    names = [f'a_rather_long_name_of_a_column_{i}' for i in range(count + 2)]
    figure = plot_interactions(
        InteractionSet(
            Interaction(names[i : i + 3], i + 1) for i in range(count)
        ),
        top=None,
        truth=[names[:3]],
    )
    figure.canvas.draw()
    (axis,) = figure.axes
    assert axis.bbox.width > 2 * figure.dpi
    ticks = [x.get_window_extent() for x in axis.get_yticklabels()]
    assert len(ticks) == count
    assert not overlap(ticks)
    box = axis.get_tightbbox()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert 0 <= box.y0 < box.y1 <= figure.bbox.y1

from collections import namedtuple

import pytest
from matplotlib.colors import to_hex
from plot_parts import FOUND, labels

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
    assert labels(legend.get_texts()) == ['planted (1 of 2)', 'not planted']
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


def test_no_interactions(tmp_path):
    figure = plot_interactions(InteractionSet(), truth=[])
    assert not figure.axes[0].patches
    save_figure(figure, tmp_path / 'empty.png')


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
    assert not FOUND.plot().axes[0].lines

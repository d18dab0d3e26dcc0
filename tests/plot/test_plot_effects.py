"""Importance, waterfalls, pairs level by level."""

import pytest
from matplotlib.colors import to_hex
from plot_parts import ROW, importance, inside, labels, overlap, pair, row

from pyg_featgraph.plot import (
    plot_importance,
    plot_pair_effects,
    plot_waterfall,
)

LONG = [f'a_rather_long_name_of_a_column_{i}' for i in range(60)]


def test_importance():
    figure = plot_importance(
        importance([*'abc'], unit='effect', rows=1024), top=2
    )
    (axis,) = figure.axes
    assert labels(axis.get_yticklabels()) == ['a', 'b']
    assert [bar.get_width() for bar in axis.patches] == [3, 2]
    assert [x.get_xdata().tolist() for x in axis.lines] == [[1.5, 6], [1, 4]]
    assert axis.get_xlabel() == 'effect, 1,024 rows, lines: 95 % intervals'
    assert axis.get_title() == '2 of 3 fields, alone and with others'
    low, high = axis.get_ylim()
    assert low > 1 > 0 > high


def test_importance_of_any_frame():
    (axis,) = plot_importance(importance([*'abc']), top=None).axes
    assert len(axis.patches) == 3
    assert axis.get_xlabel() == 'score, lines: 95 % intervals'
    (axis,) = plot_importance(importance([])).axes
    assert labels(axis.texts) == ['no fields']
    with pytest.raises(ValueError, match='at least 1'):
        plot_importance(importance([*'abc']), top=0)


def bars(axis):
    return [
        (bar.get_x(), bar.get_x() + bar.get_width()) for bar in axis.patches
    ]


def test_waterfall():
    (axis,) = plot_waterfall(ROW, top=3).axes
    assert labels(axis.get_yticklabels()) == [
        'a',
        'b',
        'a x b',
        'other single fields (1)',
        'other pairs (1)',
        'rest: 3 or more fields',
    ]
    # From the mean to the output, each from the end of the one before:
    assert bars(axis) == [
        (1, 3),
        (3, 1.5),
        (1.5, 2),
        (2, 2.25),
        (2.25, 2),
        (2, 4),
    ]
    colours = [to_hex(x.get_facecolor()) for x in axis.patches]
    raises, lowers, summed = (
        to_hex(x.get_facecolor()) for x in axis.figure.legends[0].get_patches()
    )
    assert colours == [raises, lowers, raises, summed, summed, summed]
    assert len({*colours}) == 3
    assert labels(axis.texts) == ['+2', '-1.5', '+0.5', '+0.25', '-0.25', '+2']
    assert axis.get_title() == 'logit 4 of this row, 1 on average'
    # The interval of an effect lies at its end:
    ends = [[*x.get_xdata()] for x in axis.lines]
    assert [2.5, 3.75] in ends
    assert axis.texts[0].xy[0] == 3.75
    for value in (1, 4):
        assert [value, value] in ends


def test_waterfall_of_all_and_of_none():
    (axis,) = plot_waterfall(ROW, top=9).axes
    names = labels(axis.get_yticklabels())
    assert names[:5] == ['a', 'b', 'a x b', 'c', 'b x c']
    assert names[5:] == ['rest: 3 or more fields']
    (axis,) = plot_waterfall(ROW, top=0).axes
    assert bars(axis) == [(1, 1.75), (1.75, 2), (2, 4)]
    assert axis.get_xlabel() == 'logit, effects over 64 rows'
    with pytest.raises(ValueError, match='must not be negative'):
        plot_waterfall(ROW, top=-1)


def test_waterfall_with_values():
    values = {'a': 'red', 'b': 0.25, 'c': None}
    (axis,) = plot_waterfall(ROW, top=3, values=values).axes
    names = labels(axis.get_yticklabels())
    assert names[:3] == ['a = red', 'b = 0.25', 'a = red x b = 0.25']


def test_pair_effects():
    effects = pair(2, 3, [[12, 0, 1234], [9, 10, 11]])
    axis, above, beside, bar = plot_pair_effects(effects).figure.axes
    (image,) = axis.images
    assert (image.get_array() == effects.joint).all()
    low, high = image.get_clim()
    assert -low == high == abs(effects.joint).max()
    assert labels(axis.get_xticklabels()) == ['level 0', 'level 1', 'level 2']
    assert labels(axis.get_yticklabels()) == ['level 0', 'level 1']
    assert (axis.get_xlabel(), axis.get_ylabel()) == ('b', 'a')
    shown = [(*x.get_position()[::-1], x.get_text()) for x in axis.texts]
    assert shown == [
        (0, 0, '12'),
        (0, 1, '0'),
        (0, 2, '1,234'),
        (1, 0, '9'),
        (1, 1, '10'),
        (1, 2, '11'),
    ]
    # Those of fewer than ten rows:
    rare = [(x.get_y() + 0.5, x.get_x() + 0.5) for x in axis.patches]
    assert rare == [(0, 1), (1, 0)]
    assert all(x.get_hatch() for x in axis.patches)
    assert [x.get_height() for x in above.patches] == [*effects.alone[1]]
    assert [x.get_width() for x in beside.patches] == [*effects.alone[0]]
    assert bar.get_xlabel() == 'together, beyond both alone'
    figure = axis.figure
    title = 'a x b:\neffect on the logit, 256 rows'
    assert figure.get_suptitle() == title
    texts = labels(figure.legends[0].get_texts())
    assert texts == ['numbers: rows of the table', 'fewer than 10']


def test_rare_cells():
    effects = pair(1, 2, [[12, 0]])
    for least, count in ((0, 0), (12, 1), (13, 2)):
        figure = plot_pair_effects(effects, min_count=least)
        assert len(figure.axes[0].patches) == count
        assert len(figure.legends[0].get_texts()) == 1 + (count > 0)


@pytest.mark.parametrize(
    'figure',
    [
        lambda: plot_importance(importance(LONG[:31]), None),
        lambda: plot_importance(importance(['a'])),
        lambda: plot_waterfall(
            row(
                *(
                    (LONG[i : i + 2], (-1) ** i / (i + 1), {})
                    for i in range(15)
                ),
            ),
            30,
            dict.fromkeys(LONG, 'a value of some length'),
        ),
        lambda: plot_waterfall(row(max_order=1)),
        lambda: plot_pair_effects(pair(1, 1)),
        lambda: plot_pair_effects(pair(2, 10)),
        lambda: plot_pair_effects(pair(10, 2, level=LONG[0])),
    ],
    ids=[
        'importance of many',
        'importance of one',
        'waterfall',
        'empty waterfall',
        'a single cell',
        'a wide grid',
        'a high grid',
    ],
)
def test_effects_are_readable(figure):
    figure = figure()
    figure.canvas.draw()
    boxes = [x.get_window_extent() for x in figure.legends]
    if figure.get_suptitle():
        boxes.append(figure._suptitle.get_window_extent())
    for axis in figure.axes:
        for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
            assert not overlap([x.get_window_extent() for x in ticks])
        texts = [x.get_window_extent() for x in axis.texts]
        assert not overlap(texts)
        inside(figure, texts)
        boxes.append(axis.get_tightbbox())
    assert not overlap(boxes)
    inside(figure, boxes)

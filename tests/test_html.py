import math
import re
from pathlib import Path

import pytest

from pyg_featgraph.explain import GlobalInteractions
from pyg_featgraph.html import html_table
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.training import FitResult


def rows(html):
    """The texts of the cells."""
    return [
        [
            re.sub('<[^>]*>', '', cell)
            for cell in re.findall('<t[hd][^>]*>(.*?)</t[hd]>', row)
        ]
        for row in re.findall('<tr>(.*?)</tr>', html)
    ]


def widths(html):
    return [int(x) for x in re.findall(r'[^-]width:(\d+)px;background', html)]


def colours(html):
    return re.findall('background:(#[0-9A-F]+)', html)


def test_table():
    html = html_table('<i>', ['a&b', 'n'], [['<b>', 1.0]], note='x < y')
    assert rows(html) == [['a&amp;b', 'n'], ['&lt;b&gt;', '1']]
    assert html.startswith('<div><b>&lt;i&gt;</b><table>')
    assert html.endswith('</table><div>x &lt; y</div></div>')
    assert not widths(html)


def test_bars():
    html = html_table('', ['n'], [[2.0], [-1.0], [0.0]], bars=0)
    assert widths(html) == [120, 60, 0]
    up, down, zero = colours(html)
    assert up == zero != down
    assert widths(html_table('', ['n'], [[0.0]], bars=0)) == [0]


def test_interactions():
    found = InteractionSet(
        Interaction(
            ('<b>', str(i)), 60 - i, 'FM', {'unit': 'effect', 'rows': 1024}
        )
        for i in range(30)
    )
    html = found._repr_html_()
    head, first, *rest = rows(html)
    assert head == ['rank', 'fields', 'score']
    assert first == ['1', '0 x &lt;b&gt;', '60']
    assert len(rest) == 19
    assert widths(html)[0] == 120
    assert '<b>20 of 30 pairs of FM</b>' in html
    assert 'score: effect, 1,024 rows' in html
    some = Interaction(('a',), 70, detail={'interval': [1 / 3, 80]})
    head, first, second, *_ = rows(InteractionSet([some, *found])._repr_html_())
    assert head[3] == '95 % interval'
    assert (first[3], second[3]) == ('0.3333 to 80', '')
    assert 'score: ' not in InteractionSet([some])._repr_html_()


def test_nothing_found_is_said():
    html = InteractionSet()._repr_html_()
    assert html == '<div><b>no interactions found</b></div>'


@pytest.mark.parametrize('path', [Path('a<b'), None])
def test_fit_result(path):
    html = FitResult({'valid_auc': 0.71234}, [{}] * 3, None, path)._repr_html_()
    assert '<b>best of 3 epochs</b>' in html
    assert rows(html)[1:] == [['valid_auc', '0.7123']]
    assert ('model: a&lt;b' in html) == (path is not None)


def test_global_interactions():
    found = InteractionSet([Interaction(('a', 'b'), 3)])
    html = GlobalInteractions(found, found, 9, 2, math.nan)._repr_html_()
    assert rows(html)[1:4] == [
        ['rows', '9'],
        ['significant above', '2'],
        ['agreement of halves', 'nan'],
    ]
    assert rows(html)[-1] == ['1', 'a x b', '3']

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.plot import (
    plot_edge_weights,
    plot_interactions,
    save_figure,
)

entries = st.builds(
    Interaction,
    st.sets(st.sampled_from('abcdef'), min_size=1, max_size=4).map(tuple),
    st.floats(-10, 10),
    st.sampled_from(['x', 'y']),
)
sets = st.lists(entries, max_size=15).map(InteractionSet)


def make(*pairs):
    return InteractionSet(
        Interaction(tuple(fields), score) for fields, score in pairs
    )


def test_interaction():
    x = Interaction(('b', 'a'), 1, 'm', {'k': 1})
    assert x.fields == ('a', 'b')
    assert x.order == 2
    assert x == Interaction(('a', 'b'), 1.0, 'm')
    for fields, score in ((('a', 'a'), 1), ((), 1), (('a',), math.nan)):
        with pytest.raises(ValueError, match=r'must be finite|distinct'):
            Interaction(fields, score)
    with pytest.raises(TypeError, match='must be a tuple'):
        Interaction('ab', 1)


def test_ranking():
    found = make(('ab', 1), ('cd', 3), ('ba', 2), ('ce', 3))
    assert [x.fields for x in found] == [('c', 'd'), ('c', 'e'), ('a', 'b')]
    assert found[2].score == 2
    assert found[1:].top(1)[0].fields == ('c', 'e')
    assert found.of_order(3) == InteractionSet()
    assert found.to_pandas()['score'].tolist() == [3, 3, 2]
    assert 'c x d' in repr(found)


def test_from_matrix():
    weight = np.array([[9, 1, 2], [3, 9, 4], [0, 0, 9]])
    found = InteractionSet.from_matrix(weight, ['a', 'b', 'c'], 'm')
    got = {x.fields: x.score for x in found}
    assert got == {('a', 'b'): 2, ('a', 'c'): 1, ('b', 'c'): 2}
    with pytest.raises(ValueError, match='must have shape'):
        InteractionSet.from_matrix(weight, ['a'])


def test_scores_against_a_truth():
    found = make(('ab', 5), ('cd', 4), ('ef', 3), ('ace', 2))
    truth = [('b', 'a'), ('f', 'e'), ('a', 'd')]
    assert found.precision_at(2, truth) == 1 / 2
    assert found.precision_at(10, truth) == 2 / 10
    assert found.recall_at(3, truth) == 2 / 3
    assert math.isnan(found.recall_at(3, []))
    with pytest.raises(ValueError, match='positive'):
        found.precision_at(0, truth)


def test_prune():
    found = make(('ab', 5), ('abc', 4), ('bc', 3), ('de', 2), ('d', 1))
    pruned = found.prune()
    assert [x.fields for x in pruned] == [('a', 'b', 'c'), ('d', 'e')]


@given(sets)
def test_prune_leaves_no_nested_sets(found):
    pruned = [set(x.fields) for x in found.prune()]
    assert not any(a < b for a in pruned for b in pruned)
    # Every entry is inside one that is left, or contains none but replaced
    # ones; in particular nothing is lost without a reason:
    for x in found:
        fields = set(x.fields)
        assert any(fields <= p or p <= fields for p in pruned)


@given(sets, sets)
def test_merge_does_not_depend_on_order(one, two):
    merged = one.merge(two)
    assert {x.fields: pytest.approx(x.score) for x in merged} == {
        x.fields: x.score for x in two.merge(one)
    }
    assert {x.fields for x in merged} == {x.fields for x in [*one, *two]}
    for x in merged:
        expected = sum(
            1 / (61 + [y.fields for y in ranking].index(x.fields))
            for ranking in (one, two)
            if x.fields in [y.fields for y in ranking]
        )
        assert x.score == pytest.approx(expected)


@given(sets)
def test_json_round_trip(found):
    again = InteractionSet.from_json(found.to_json())
    assert again == found
    assert [x.detail for x in again] == [x.detail for x in found]


def test_files(tmp_path):
    found = make(('ab', 1))
    path = tmp_path / 'found.json'
    found.save(path)
    assert InteractionSet.load(path) == found
    assert list(tmp_path.iterdir()) == [path]
    for text, message in (
        ('no json', 'holds no interactions'),
        ('{"version": 7, "interactions": []}', 'version 7'),
        ('{"version": 1, "interactions": [{"fields": ["a"]}]}', 'score'),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message) as error:
            InteractionSet.load(path)
        assert 'found.json' in str(error.value)


def test_plot_interactions(tmp_path):
    found = make(('ab', 3), ('cd', 2), ('ef', 1))
    figure = plot_interactions(found, top=2, truth=[('d', 'c')])
    axis = figure.axes[0]
    labels = [t.get_text() for t in axis.get_yticklabels()]
    assert labels == ['a x b', 'c x d']
    plain, marked = (bar.get_facecolor() for bar in axis.patches)
    assert plain != marked
    path = tmp_path / 'figure.png'
    save_figure(figure, path)
    assert path.read_bytes()[:4] == b'\x89PNG'
    assert found.plot().axes[0].get_legend() is None


def test_plot_edge_weights():
    rng = np.random.default_rng(0)
    weights = [[rng.random((3, 3)) for _ in range(2)] for _ in range(4)]
    figure = plot_edge_weights(
        weights, list('abc'), list('pqrs'), ['1', '2'], [('a', 'c')]
    )
    maps = [axis for axis in figure.axes if axis.images]
    # Eight maps and a colour bar for each column:
    assert (len(maps), len(figure.axes)) == (8, 10)
    np.testing.assert_array_equal(maps[0].images[0].get_array(), weights[0][0])
    assert [t.get_text() for t in maps[0].get_xticklabels()] == list('abc')
    assert maps[0].get_title() == 'p\n1'
    assert list(maps[0].lines[0].get_xdata()) == [2, 0]

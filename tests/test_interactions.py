import itertools
import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, sealing
from pyg_featgraph.interactions import Interaction, InteractionSet

details = st.dictionaries(
    st.text(max_size=3),
    st.integers() | st.lists(st.text(max_size=3)),
    max_size=2,
)
field_sets = st.sets(st.sampled_from('abcdef'), min_size=1, max_size=4)
entries = st.builds(
    Interaction,
    field_sets.map(tuple),
    st.integers(-3, 3) | st.floats(-10, 10),
    st.sampled_from(['x', 'y']),
    details,
)
sets = st.lists(entries, max_size=10).map(InteractionSet)
truths = st.sets(field_sets.map(frozenset), max_size=8)


def make(*pairs, source=''):
    return InteractionSet(
        Interaction(tuple(fields), score, source) for fields, score in pairs
    )


def names(found):
    return [''.join(x.fields) for x in found]


def test_interaction():
    detail = {'k': 1}
    x = Interaction(('b', 'a'), np.float32(1), 'm', detail)
    detail['k'] = 2
    assert x.fields == ('a', 'b')
    assert x.order == 2
    assert type(x.score) is float
    assert x == Interaction(['a', 'b'], 1.0, 'm')
    assert len({x, Interaction(('a', 'b'), 1, 'm')}) == 1
    assert x != Interaction(('a', 'b'), 2, 'm')
    assert pickle.loads(pickle.dumps(x)).detail == {'k': 1}


@pytest.mark.parametrize(
    ('fields', 'score', 'source', 'error', 'message'),
    [
        (('a', 'a'), 1, '', ValueError, 'distinct'),
        ((), 1, '', ValueError, 'distinct'),
        (('a',), math.nan, '', ValueError, 'finite'),
        (('a',), -math.inf, '', ValueError, 'finite'),
        ('ab', 1, '', TypeError, "tuple of names.*'ab'"),
        (('a', 3), 1, '', TypeError, 'tuple of names'),
        (('a',), 1, None, TypeError, "'source' a name"),
        (('a',), '1', '', TypeError, 'real number'),
    ],
)
def test_bad_interaction(fields, score, source, error, message):
    with pytest.raises(error, match=message):
        Interaction(fields, score, source)


def test_ranking():
    found = make(('ab', 1), ('cd', 3), ('ba', 2), ('ce', 3), ('abc', 0))
    assert names(found) == ['cd', 'ce', 'ab', 'abc']
    assert found[2].score == 2
    assert names(found[1:]) == ['ce', 'ab', 'abc']
    assert names(found.top(2)) == ['cd', 'ce']
    assert found.top(None) == found == found.top(99)
    assert len(found.top(0)) == 0
    for method in (found.top, found.prune):
        with pytest.raises(ValueError, match="'k' must be at least 0"):
            method(-1)
    assert names(found.of_order(3)) == ['abc']
    assert found.of_order(2, 3) == found
    assert found != list(found)


@given(st.lists(entries, max_size=10))
def test_ranking_does_not_depend_on_the_order_of_entries(items):
    items += [Interaction(('a',), 11, 'y'), Interaction(('a',), 11, 'x')]
    found = InteractionSet(items)
    assert InteractionSet(items[::-1]) == found
    scores = [x.score for x in found]
    assert scores == sorted(scores, reverse=True)
    assert len(set(names(found))) == len(found)
    for x in items:
        best = max(y.score for y in items if y.fields == x.fields)
        assert [y.score for y in found if y.fields == x.fields] == [best]


def test_overlap():
    one = make(('ab', 3), ('cd', 2), ('ef', 1))
    two = make(('cd', 9), ('ab', 8), ('gh', 7))
    assert one.overlap_at(1, two) == 0
    assert one.overlap_at(2, two) == two.overlap_at(2, one) == 1
    assert one.overlap_at(3, two) == pytest.approx(2 / 3)
    assert one.overlap_at(4, two) == 0.5
    with pytest.raises(ValueError, match="'k' must be at least"):
        one.overlap_at(0, two)


def test_repr():
    found = InteractionSet(
        Interaction(('a', f'b{i}'), i / 8, 'mine') for i in range(12)
    )
    lines = repr(found).split('\n')
    assert lines[0] == 'InteractionSet(12)'
    assert lines[1].split() == ['1.', '1.375', 'a', 'x', 'b11', 'mine']
    assert lines[-1].split() == ['and', '2', 'more']
    assert len(lines) == 12
    empty = 'InteractionSet(0): no interactions found'
    assert repr(InteractionSet()) == empty


@pytest.mark.parametrize('convert', [np.array, torch.tensor, list])
def test_from_matrix(convert):
    weight = convert([[9.0, 1, 2], [3, 9, 4], [0, 0, 9]])
    found = InteractionSet.from_matrix(weight, ['c', 'b', 'a'], 'm')
    got = {x.fields: x.score for x in found}
    assert got == {('b', 'c'): 2, ('a', 'c'): 1, ('a', 'b'): 2}
    assert {x.source for x in found} == {'m'}
    found = InteractionSet.from_matrix(weight, 'cba', detail={'rows': 5})
    assert [x.detail for x in found] == [{'rows': 5}] * 3


def test_bad_matrix():
    with pytest.raises(ValueError, match=r'\(2, 3\), not \(2, 2\)'):
        InteractionSet.from_matrix(np.ones((2, 3)), ['a', 'b'])
    with pytest.raises(ValueError, match=r"'b', 'a'.*finite"):
        InteractionSet.from_matrix(np.full((2, 2), np.nan), ['a', 'b'])
    with pytest.raises(ValueError, match='distinct'):
        InteractionSet.from_matrix(np.ones((2, 2)), ['a', 'a'])


def test_scores_against_a_truth():
    found = make(('ab', 5), ('cd', 4), ('ef', 3), ('ace', 2))
    truth = [('b', 'a'), ('f', 'e'), ('a', 'd'), ('e', 'c', 'a')]
    assert found.precision_at(2, truth) == 1 / 2
    # Places that a short ranking leaves empty are no hits:
    assert found.precision_at(10, truth) == 3 / 10
    assert found.recall_at(3, truth) == 2 / 4
    assert found.recall_at(None, truth) == 3 / 4
    assert found.recall_per_order(truth) == {2: 2 / 3, 3: 1}
    assert found.recall_per_order(truth, k=1) == {2: 1 / 3, 3: 1}
    expected = (1 / 1 + 2 / 3 + 3 / 4) / 4
    assert found.average_precision(truth) == pytest.approx(expected)
    # The truth of planted data maps its interactions to their strengths:
    assert found.recall_at(3, dict.fromkeys(truth, 0.5)) == 2 / 4


def test_scores_without_a_truth():
    found = make(('ab', 5))
    assert found.precision_at(1, []) == 0
    assert math.isnan(found.recall_at(3, []))
    assert math.isnan(found.average_precision([]))
    assert found.recall_per_order([]) == {}
    with pytest.raises(ValueError, match="'k' must be at least 1"):
        found.precision_at(0, [('a', 'b')])
    with pytest.raises(TypeError, match='tuples of names'):
        found.precision_at(1, ('a', 'b'))


@given(sets, truths, st.integers(1, 20))
def test_scores_against_a_count(found, truth, k):
    hits = 0
    for x, fields in itertools.product(list(found)[:k], truth):
        hits += sorted(fields) == sorted(x.fields)
    assert found.precision_at(k, truth) == hits / k
    if truth:
        assert found.recall_at(k, truth) == hits / len(truth)
        precisions = [
            found.precision_at(rank, truth)
            for rank, x in enumerate(found, start=1)
            if set(x.fields) in truth
        ]
        assert found.average_precision(truth) == pytest.approx(
            sum(precisions) / len(truth)
        )
    per_order = found.recall_per_order(truth)
    total = sum(
        recall * sum(len(fields) == order for fields in truth)
        for order, recall in per_order.items()
    )
    assert total == pytest.approx(sum(set(x.fields) in truth for x in found))


def test_prune():
    found = make(('ab', 5), ('abc', 4), ('bc', 3), ('de', 2), ('d', 1))
    assert names(found.prune()) == ['abc', 'de']


def test_prune_stops_at_k():
    found = make(('ab', 5), ('cd', 4), ('abc', 3), ('ef', 2), ('efg', 1))
    assert names(found.prune(2)) == ['ab', 'cd']
    # The third entry replaces the first, which leaves room for a fourth:
    assert names(found.prune(3)) == ['cd', 'abc', 'ef']
    assert len(found.prune(0)) == 0


@given(sets, st.none() | st.integers(0, 8))
def test_prune_follows_the_rule(found, k):
    kept = []
    for x in found:
        if len(kept) == k:
            break
        if not any(set(x.fields) < set(y.fields) for y in kept):
            kept = [y for y in kept if not set(y.fields) < set(x.fields)]
            kept.append(x)
    pruned = found.prune(k)
    assert list(pruned) == kept
    for one, two in itertools.permutations(pruned, 2):
        assert not set(one.fields) < set(two.fields)
    assert pruned.prune() == pruned


@given(sets, sets, sets)
@settings(max_examples=50)
def test_merge_by_rank(one, two, three):
    merged = one.merge(two, three)
    for order in itertools.permutations([one, two, three]):
        assert order[0].merge(*order[1:]) == merged
    assert set(names(merged)) == {*names(one), *names(two), *names(three)}
    for x in merged:
        score, sources = 0, set()
        for ranking in (one, two, three):
            for rank, y in enumerate(ranking, start=1):
                if y.fields == x.fields:
                    score += 1 / (60 + rank)
                    sources.add(y.source)
        assert x.score == pytest.approx(score)
        assert x.source == '+'.join(sorted(sources))


def test_merge_scores_of_one_source():
    one = make(('ab', 4), ('cd', 2), source='m')
    two = make(('cd', 3), ('ab', 1), ('ef', 1), source='m')
    best = {x.fields: x.score for x in one.merge(two, method='max')}
    assert best == {('a', 'b'): 4, ('c', 'd'): 3, ('e', 'f'): 1}
    mean = one.merge(two, method='mean')
    assert mean == make(('ab', 2.5), ('cd', 2.5), ('ef', 0.5), source='m')
    detailed = InteractionSet([Interaction(('a',), 9, 'm', {'k': 1})])
    assert one.merge(detailed, method='max')[0].detail == {'k': 1}
    for method in ('max', 'mean'):
        with pytest.raises(ValueError, match=r"one unit.*\['', 'm'\]"):
            one.merge(make(('ab', 1)), method=method)
    with pytest.raises(ValueError, match="No 'method' named 'sum'"):
        one.merge(two, method='sum')
    with pytest.raises(ValueError, match="'k' must be at least 0"):
        one.merge(two, k=-1)


def test_merge_constant():
    one, two = make(('ab', 3), ('cd', 2), ('ef', 1)), make(('gh', 2), ('ef', 1))
    # A small constant favours the first of one ranking, a large one what
    # several agree on:
    assert names(one.merge(two, k=0))[0] == 'ab'
    assert names(one.merge(two))[0] == 'ef'


@given(sets)
@settings(max_examples=50)
def test_round_trips(found):
    for again in (
        InteractionSet.from_json(found.to_json()),
        InteractionSet.from_pandas(found.to_pandas()),
    ):
        assert again == found
        assert [x.detail for x in again] == [x.detail for x in found]


def test_parquet_round_trip(tmp_path):
    found = make(('ab', 1), ('abc', 2), source='m')
    frame = found.to_pandas()
    assert frame['order'].tolist() == [3, 2]
    frame.to_parquet(tmp_path / 'found.parquet')
    frame = pd.read_parquet(tmp_path / 'found.parquet')
    assert InteractionSet.from_pandas(frame) == found


def test_from_pandas():
    frame = pd.DataFrame({'fields': [('b', 'a'), ['c']], 'score': [1, 2]})
    assert InteractionSet.from_pandas(frame) == make(('c', 2), ('ab', 1))
    frame['source'] = ['m', None]
    assert [x.source for x in InteractionSet.from_pandas(frame)] == ['', 'm']
    with pytest.raises(DataError, match=r"Entry 0.*'score'"):
        InteractionSet.from_pandas(frame.drop(columns='score'))
    # A column of tuples comes out of a CSV file as one of strings:
    text = frame.assign(fields=frame['fields'].astype(str))
    with pytest.raises(DataError, match=r'Entry 0.*tuple of names'):
        InteractionSet.from_pandas(text)
    frame.loc[1, 'score'] = np.nan
    with pytest.raises(DataError, match='Entry 1'):
        InteractionSet.from_pandas(frame)


def test_details_of_numpy_and_torch():
    detail = {'n': np.int64(3), 'w': np.ones(2), 't': torch.tensor([1, 2])}
    found = InteractionSet([Interaction(('a',), 1, 'm', detail)])
    again = InteractionSet.from_json(found.to_json())
    assert again[0].detail == {'n': 3, 'w': [1, 1], 't': [1, 2]}


def test_files(tmp_path):
    found = make(('ab', 1), ('ö', 2))
    path = tmp_path / 'found.json'
    for _ in range(2):
        found.save(path)
        assert InteractionSet.load(path) == found
        assert list(tmp_path.iterdir()) == [path]
    # What cannot be written leaves the file as it was:
    bad = InteractionSet([Interaction(('a',), 1, 'm', {'k': {1}})])
    with pytest.raises(TypeError, match=r'\{1\} in a detail'):
        bad.save(path)
    assert InteractionSet.load(path) == found
    with pytest.raises(FileNotFoundError):
        InteractionSet.load(tmp_path / 'absent.json')


def entry(**changes):
    values = {'fields': ['a', 'b'], 'score': 1, 'source': 'm', 'detail': {}}
    return json.dumps({'version': 1, 'interactions': [values | changes]})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (b'\xff\xfe\xff', 'codec'),
        ('', 'No interactions'),
        ('no json', 'No interactions'),
        ('[' * 100_000, 'No interactions'),
        ('[1]', 'No interactions'),
        ('{}', "No interactions.*'version'"),
        ('{"version": 7, "rows": []}', 'version is 7, not 1'),
        ('{"version": 1}', "No interactions.*'interactions'"),
        ('{"version": 1, "interactions": 3}', 'No interactions'),
        ('{"version": 1, "interactions": [3]}', 'Entry 0'),
        ('{"version": 1, "interactions": [{"fields": ["a"]}]}', "'score'"),
        (entry(fields='ab'), "Entry 0.*tuple of names.*'ab'"),
        (entry(fields=['a', 1]), 'Entry 0.*tuple of names'),
        (entry(score='1'), 'Entry 0.*real number'),
        (entry(score=math.nan), 'Entry 0.*finite'),
        (entry(score=10**400), 'Entry 0'),
        (entry(source=3), "Entry 0.*'source'"),
        (entry(detail=3), 'Entry 0'),
    ],
)
def test_bad_texts(text, message, tmp_path):
    path = tmp_path / 'found.json'
    if isinstance(text, str):
        with pytest.raises(DataError, match=rf'(?s){message}'):
            InteractionSet.from_json(text)
        text = text.encode()
    with sealing(path) as temporary:
        temporary.write_bytes(text + f'"{SEAL}"'.encode())
    with pytest.raises(DataError, match=r"found\.json' holds no valid inter"):
        InteractionSet.load(path)


def test_edited_file(tmp_path):
    path = tmp_path / 'found.json'
    make(('ab', 1)).save(path)
    path.write_text(path.read_text().replace('"score": 1', '"score": 2'))
    with pytest.raises(DataError, match=r"found\.json' is damaged"):
        InteractionSet.load(path)
    # Its text is still what it says:
    assert InteractionSet.from_json(path.read_text()) == make(('ab', 2))

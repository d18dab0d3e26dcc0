import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_featgraph.nn import AdjacencyTensor, derive_interactions

MODES = ['soft', 'hard', 'straight_through']


def randomise(adjacency):
    torch.nn.init.normal_(adjacency.double().weight)
    return adjacency


def with_mode(adjacency, mode):
    adjacency.set_mode(mode)
    return adjacency.matrices()


def reference(adjacency):
    """Eqs. 6 to 8 entry by entry: scores, soft and binary edges."""
    n = adjacency.num_fields
    scores, soft, hard = [], [], []
    # Binary edges of the layer before, at first those of the identity:
    before = {i: [i] for i in range(n)}
    for h, threshold in zip(
        adjacency.weight, adjacency.threshold.tolist(), strict=True
    ):
        edges = {i: [] for i in range(n)}
        for i, c in itertools.product(range(n), repeat=2):
            score = edge = h.new_zeros(())
            if before[i] and (i != c or adjacency.self_loops):
                mean = [1 / (1 + (-h[j, c]).exp()) for j in before[i]]
                score = sum(mean) / len(mean)
                logit = (score / (1 - score)).log()
                edge = 1 / (1 + (-logit / adjacency.tau).exp())
                if score >= threshold:
                    edges[i].append(c)
            scores.append(score)
            soft.append(edge)
            hard.append(float(c in edges[i]))
        if adjacency.recursive:
            before = edges
    shape = adjacency.weight.shape
    return (
        torch.stack(scores).view(shape),
        torch.stack(soft).view(shape),
        torch.tensor(hard, dtype=torch.double).view(shape),
    )


@pytest.mark.parametrize('recursive', [True, False])
@pytest.mark.parametrize('self_loops', [True, False])
@pytest.mark.parametrize('threshold', [0.5, 0.75, [0.7, 0.2, 0.6]])
@pytest.mark.parametrize('tau', [1.0, 0.3])
def test_matches_the_equations(recursive, self_loops, threshold, tau):
    adjacency = AdjacencyTensor(
        4, 3, threshold, recursive, self_loops=self_loops
    )
    weight = randomise(adjacency).weight
    weight.data *= 2
    # A field without edges, and one that has some:
    weight.data[0, 1] -= 15
    weight.data[0, 0, :2] = 3
    adjacency.tau.fill_(tau)
    scores, soft, hard = reference(adjacency)
    assert 0 < hard.mean() < 1
    assert (hard[0, 1] == 0).all()
    assert (scores[1:, 1] == 0).all() == recursive

    torch.testing.assert_close(adjacency.scores(), scores)
    assert torch.equal(adjacency.edges(), hard == 1)
    assert torch.equal(with_mode(adjacency, 'hard'), hard)
    assert not adjacency.matrices().requires_grad
    assert torch.equal(with_mode(adjacency, 'straight_through'), hard)
    torch.testing.assert_close(with_mode(adjacency, 'soft'), soft)

    grad = torch.randn_like(soft)
    for out, expected in (
        (adjacency.scores(), scores),
        (with_mode(adjacency, 'soft'), soft),
        (with_mode(adjacency, 'straight_through'), soft),
    ):
        torch.testing.assert_close(
            torch.autograd.grad(out, weight, grad)[0],
            torch.autograd.grad(expected, weight, grad, retain_graph=True)[0],
        )


def test_invariants():
    adjacency = randomise(AdjacencyTensor(6, 4))
    weight = adjacency.weight
    scores, edges = adjacency.scores(), adjacency.edges()
    assert ((scores >= 0) & (scores <= 1)).all()
    torch.testing.assert_close(scores[0], weight[0].sigmoid())
    # A temperature of one changes nothing:
    torch.testing.assert_close(adjacency.matrices(), scores)
    # The recursion takes no gradient:
    for k in range(4):
        (grad,) = torch.autograd.grad(
            scores[k].sum(), weight, retain_graph=True
        )
        assert [(g != 0).any().item() for g in grad] == [
            k == layer for layer in range(4)
        ]
    # Neither does any entry depend on those of a later layer:
    with torch.no_grad():
        for k in range(4):
            other = randomise(AdjacencyTensor(6, 4))
            other.load_state_dict(adjacency.state_dict())
            other.weight[k] += torch.randn(6, 6)
            changed = (other.scores() != scores).any(2).any(1)
            assert changed.tolist() == [False] * k + [True] * (4 - k)
        perm = torch.randperm(6)
        moved = randomise(AdjacencyTensor(6, 4))
        moved.weight.copy_(weight[:, perm][:, :, perm])
        torch.testing.assert_close(moved.scores(), scores[:, perm][:, :, perm])
    assert torch.equal(edges, scores >= 0.5)
    # A score that equals its threshold is an edge:
    weight.data.zero_()
    assert (adjacency.scores() == 0.5).all()
    assert adjacency.edges().all()


@pytest.mark.parametrize('recursive', [True, False])
@pytest.mark.parametrize('self_loops', [True, False])
def test_low_temperatures_give_binary_edges(recursive, self_loops):
    adjacency = randomise(
        AdjacencyTensor(6, 3, recursive=recursive, self_loops=self_loops)
    )
    clear = (adjacency.scores() - 0.5).abs() > 1e-3
    assert clear.sum() > 90
    hard = with_mode(adjacency, 'hard')
    before = None
    for tau in (1.0, 0.3, 0.1, 0.02, 1e-5):
        adjacency.tau.fill_(tau)
        error = (with_mode(adjacency, 'soft') - hard).abs()
        assert before is None or (error <= before).all()
        before = error
    assert error[clear].max() < 1e-12


@given(
    weight=st.lists(
        st.sampled_from([-200.0, -20.0, -2.0, 0.0, 0.01, 20.0, 200.0])
        | st.floats(-200, 200, width=32),
        min_size=27,
        max_size=27,
    ),
    threshold=st.lists(
        st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1),
        min_size=3,
        max_size=3,
    ),
    tau=st.sampled_from([1.0, 0.1, 0.02]),
    recursive=st.booleans(),
    self_loops=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_finite_for_all_weights_and_thresholds(
    weight, threshold, tau, recursive, self_loops
):
    adjacency = AdjacencyTensor(3, 3, threshold, recursive, 'soft', self_loops)
    adjacency.weight.data = torch.tensor(weight).view(3, 3, 3)
    adjacency.tau.fill_(tau)
    scores, edges = adjacency.scores(), adjacency.edges()
    assert ((scores >= 0) & (scores <= 1)).all()
    soft = with_mode(adjacency, 'soft')
    hard = with_mode(adjacency, 'hard')
    through = with_mode(adjacency, 'straight_through')
    assert ((soft >= 0) & (soft <= 1)).all()
    assert torch.equal(hard, edges.float())
    assert torch.equal(through, hard)
    for out in (scores, soft, through):
        (grad,) = torch.autograd.grad(out.sum(), adjacency.weight)
        assert grad.isfinite().all()
    if recursive:
        empty = ~edges[:-1].any(2)
        assert (scores[1:][empty] == 0).all()
        assert (soft[1:][empty] == 0).all()
        assert not edges[1:][empty].any()
    if not self_loops:
        assert (soft.diagonal(dim1=1, dim2=2) == 0).all()
        assert not edges.diagonal(dim1=1, dim2=2).any()


def test_small_and_large_scores_keep_their_size():
    adjacency = AdjacencyTensor(3, 2).double()
    for logit in (-13.0, -9.0, 9.0, 13.0):
        adjacency.weight.data.fill_(logit)
        adjacency.weight.data[0] = 1.0
        soft = adjacency.matrices()
        torch.testing.assert_close(soft, adjacency.weight.sigmoid())
        (grad,) = torch.autograd.grad(soft.sum(), adjacency.weight)
        assert (grad != 0).all()


def test_a_single_field():
    adjacency = AdjacencyTensor(1, 2)
    adjacency.weight.data.abs_()
    torch.testing.assert_close(adjacency.matrices(), adjacency.weight.sigmoid())
    alone = AdjacencyTensor(1, 2, self_loops=False)
    for mode in MODES:
        out = with_mode(alone, mode)
        assert (out == 0).all()
        if mode != 'hard':
            (grad,) = torch.autograd.grad(out.sum(), alone.weight)
            assert (grad == 0).all()


def test_starts_with_edges_and_keeps_its_temperature():
    adjacency = AdjacencyTensor(8, 3)
    assert str(adjacency) == (
        "AdjacencyTensor(8, num_layers=3, recursive=True, mode='soft')"
    )
    assert adjacency.edges().any(2).all()
    adjacency.tau.fill_(0.02)
    other = AdjacencyTensor(8, 3, threshold=0.3)
    other.load_state_dict(adjacency.state_dict())
    assert torch.equal(other.matrices(), adjacency.matrices())
    adjacency.reset_parameters()
    assert adjacency.tau == 1
    assert (adjacency.weight != other.weight).all()


def test_is_an_edge_module():
    adjacency = randomise(AdjacencyTensor(3, 2, self_loops=False))
    last = adjacency.matrices()[1]
    x = torch.randn(2, 3, 5)
    assert torch.equal(adjacency(x), last)
    index, field = torch.tensor([[0, 1, 2], [1, 2, 2]]), torch.tensor([2, 0, 1])
    expected = torch.stack([last[0, 2], last[1, 0], last[1, 1]])
    assert torch.equal(adjacency(x[0], index, field), expected)
    assert last[1, 1] == 0
    with pytest.raises(ValueError, match="'field' is required"):
        adjacency(x[0], index)
    with pytest.raises(ValueError, match='edges for 3 fields'):
        adjacency(torch.randn(2, 4, 5))


def test_arguments():
    with pytest.raises(ValueError, match="'mode' must be"):
        AdjacencyTensor(3, 2, mode='other')
    with pytest.raises(ValueError, match="'mode' must be"):
        AdjacencyTensor(3, 2).set_mode('other')
    with pytest.raises(ValueError, match='one entry for each of 2 layers'):
        AdjacencyTensor(3, 2, [0.5])
    assert AdjacencyTensor(3, 2, 1).threshold.tolist() == [1, 1]


def scored(found):
    return {frozenset(x.fields): x.score for x in found}


def by_paths(scores, names, threshold):
    """All paths one by one: each of distinct fields gives its least score."""
    out = {}
    for i, depth in itertools.product(range(len(names)), range(len(scores))):
        for path in itertools.product(range(len(names)), repeat=depth + 1):
            steps = [scores[k][i][c] for k, c in enumerate(path)]
            reached = all(
                s >= t and s > 0 for s, t in zip(steps, threshold, strict=False)
            )
            fields = frozenset(names[c] for c in (i, *path))
            if reached and len(fields) == depth + 2:
                out[fields] = max(min(steps), out.get(fields, 0))
    return out


def test_derives_the_example_of_figure_2():
    scores = np.zeros((2, 4, 4))
    scores[0, 0, 3] = 0.9
    scores[0, 3, 1] = 0.8
    scores[1, 3, 2] = 0.7
    found = derive_interactions(scores, ['f1', 'f2', 'f3', 'f4'])
    assert [(x.fields, x.score) for x in found] == [
        (('f1', 'f4'), 0.9),
        (('f2', 'f4'), 0.8),
        (('f2', 'f3', 'f4'), 0.7),
    ]
    assert {x.source for x in found} == {'FIVES'}
    assert found[0].detail == {'unit': 'smallest edge score'}


@given(
    seed=st.integers(0, 2**32 - 1),
    layers=st.integers(1, 3),
    n=st.integers(1, 5),
    density=st.floats(0, 1),
    digits=st.sampled_from([1, 9]),
)
@settings(max_examples=150, deadline=None)
def test_derives_what_the_paths_spell_out(seed, layers, n, density, digits):
    generator = np.random.default_rng(seed)
    scores = generator.random((layers, n, n)).round(digits)
    scores *= generator.random(scores.shape) < density
    names = [f'f{i}' for i in range(n)]
    thresholds = generator.random(layers).round(digits).tolist()
    for argument, threshold in (
        (thresholds, thresholds),
        (0.3, [0.3] * layers),
    ):
        expected = by_paths(scores.tolist(), names, threshold)
        found = derive_interactions(scores, names, argument)
        assert scored(found) == expected
        assert len(found) == len(expected)
        assert [x.score for x in found] == sorted(expected.values())[::-1]
    # Single fields on top, with the score one:
    found = derive_interactions(scores, names, include_fields=True)
    pairs = by_paths(scores.tolist(), names, [0.5] * layers)
    assert scored(found) == pairs | {frozenset([x]): 1.0 for x in names}


def test_candidates_are_limited_for_each_order():
    generator = np.random.default_rng(0)
    scores, names = generator.random((3, 6, 6)), list('abcdef')
    every = derive_interactions(scores, names, 0.2)
    assert derive_interactions(scores, names, 0.2, 10_000) == every
    for limit in (1, 4, 9):
        found = derive_interactions(scores, names, 0.2, limit)
        assert [x for x in found if x.order == 2] == list(
            every.of_order(2).top(limit)
        )
        for order in (3, 4):
            assert len(found.of_order(order)) == limit
        best = scored(every)
        assert all(x.score <= best[frozenset(x.fields)] for x in found)
    # And on the way: 'abc' is made of 'ac', which has a lower score than 'ab':
    scores = np.zeros((2, 3, 3))
    scores[0, 0, 1], scores[0, 0, 2], scores[1, 0, 1] = 0.9, 0.8, 0.7
    for limit, orders in ((2, [2, 2, 3]), (1, [2])):
        found = derive_interactions(scores, names[:3], 0.5, limit)
        assert [x.order for x in found] == orders
    # Of equal scores the first fields stay:
    found = derive_interactions(np.ones((2, 4, 4)), names[:4], 0.5, 2)
    assert [''.join(x.fields) for x in found] == ['ab', 'abc', 'abd', 'ac']


def test_derivation_arguments():
    scores, names = np.full((2, 3, 3), 0.4), list('abc')
    assert len(derive_interactions(scores, names)) == 0
    assert len(derive_interactions(0 * scores, names, 0.0)) == 0
    found = derive_interactions(torch.tensor(scores), names, 0.4, source='me')
    assert {x.source for x in found} == {'me'}
    assert len(found) == 4
    assert len(derive_interactions(scores, names, [0.4, 0.5])) == 3
    for wrong in (scores[0], scores[:, :2], np.ones((2, 4, 4))):
        with pytest.raises(ValueError, match=r'shape \(layers, 3, 3\)'):
            derive_interactions(wrong, names)
    for thresholds in ([0.5], [0.5] * 3):
        with pytest.raises(ValueError, match='one entry for each of 2 layers'):
            derive_interactions(scores, names, thresholds)

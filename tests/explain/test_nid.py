from itertools import combinations, pairwise, permutations

import pytest
import torch
from torch.autograd.functional import hessian, jacobian

from pyg_featgraph.explain import (
    gradient_nid,
    input_hessian,
    nid,
    prune_redundant,
    r_precision,
)
from pyg_featgraph.nn import GroupedMLP

FULL = {'top': None, 'prune': False}


def random_weights(*sizes):
    """In the orientation of linear layers."""
    return [torch.randn(b, a, dtype=torch.double) for a, b in pairwise(sizes)]


def make_mlp(num_nets=3, d=5, hidden=(6, 4), activation='softplus', **kwargs):
    sizes = [d, *hidden, 1]
    mlp = GroupedMLP(sizes, num_nets, activation, **kwargs).double()
    for p in mlp.parameters():
        torch.nn.init.normal_(p, std=0.7)
    return mlp


def loop_nid(weights, max_order=None):
    """Unit by unit and prefix by prefix."""
    first, *rest = [w.abs() for w in weights]
    z = rest[0]
    for weight in rest[1:]:
        z = weight @ z
    z = z.sum(dim=0)
    strength = {}
    for u in range(len(first)):
        w = first[u].tolist()
        order = sorted(range(len(w)), key=lambda i: (-w[i], i))
        for k in range(2, (max_order or len(w)) + 1):
            members = tuple(sorted(order[:k]))
            value = float(z[u]) * min(w[i] for i in members)
            strength[members] = strength.get(members, 0.0) + value
    return {members: x for members, x in strength.items() if x > 0}


def loop_prune(ranking, top):
    """The rule as it is told, over all that came before."""
    live, out = [], []
    for members, strength in ranking:
        if len(out) == top:
            break
        if not any(set(members) < x for x in live):
            live = [x for x in live if not x < set(members)]
            live.append(set(members))
            out.append((members, strength))
    return out


def assert_ranking(ranking, expected):
    assert dict(ranking) == pytest.approx(expected)
    assert len(ranking) == len(expected)
    strengths = [strength for _, strength in ranking]
    assert strengths == sorted(strengths, reverse=True)


@pytest.mark.parametrize('max_order', [None, 2, 3])
@pytest.mark.parametrize(
    'sizes', [(6, 8, 1), (5, 7, 4, 1), (4, 9, 5, 3, 2), (2, 3, 1), (70, 4, 1)]
)
def test_nid_matches_the_loop(sizes, max_order):
    weights = random_weights(*sizes)
    if sizes[0] > 2:
        # Ties, and weights of zero:
        weights[0][0], weights[0][1, :2] = 0.5, 0
    if max_order is not None and max_order > sizes[0]:
        max_order = None
    ranking = nid(weights, max_order, **FULL)
    assert_ranking(ranking, loop_nid(weights, max_order))
    pruned = nid(weights, max_order, top=7)
    assert pruned == prune_redundant(ranking, 7) == loop_prune(ranking, 7)
    assert nid(weights, max_order, top=4, prune=False) == ranking[:4]


def test_nid_of_planted_units():
    first = torch.tensor(
        [
            [3.0, -2, 0, 1],
            [0, -5, 4, 0],
            [-1, 1, 0, 0],
            [0, 0, 0, 7],
        ]
    )
    last = torch.tensor([[-1.0, 2, 3, 9]])
    expected = [((1, 2), 8.0), ((0, 1), 5.0), ((0, 1, 3), 1.0)]
    assert nid([first, last], **FULL) == expected
    # The triple adds something to the pair inside it, which stays:
    assert nid([first, last]) == expected
    assert nid([first, last], top=1) == expected[:1]
    # The last weight counts for the absolute products of a further layer:
    middle = torch.diag(torch.tensor([2.0, 1, 1, 1]))
    expected = [((1, 2), 8.0), ((0, 1), 7.0), ((0, 1, 3), 2.0)]
    assert nid([first, middle, last], **FULL) == expected


def test_nid_of_a_batch_is_that_of_each_net():
    mlp = make_mlp(4, 6, (10, 5), 'relu')
    rankings = nid(mlp)
    assert len(rankings) == 4
    for r, ranking in enumerate(rankings):
        assert ranking == nid([w[r].t() for w in mlp.weights])
    assert nid(GroupedMLP([1, 3, 1], 2)) == [[], []]


def test_nid_invariants():
    weights = random_weights(6, 9, 4, 1)
    base = dict(nid(weights, **FULL))
    perm = torch.tensor([3, 0, 5, 1, 4, 2])
    moved = nid([weights[0][:, perm], *weights[1:]], **FULL)
    assert {
        tuple(sorted(perm[list(members)].tolist())): strength
        for members, strength in moved
    } == pytest.approx(base)
    for layer in (1, 2):
        scaled = [w * 3 if i == layer else w for i, w in enumerate(weights)]
        assert dict(nid(scaled, **FULL)) == pytest.approx(
            {members: 3 * strength for members, strength in base.items()}
        )
    flipped = [w * torch.randn_like(w).sign() for w in weights]
    assert dict(nid(flipped, **FULL)) == base
    weights[0][:, 2] = 0
    assert all(2 not in members for members, _ in nid(weights, **FULL))


def test_equal_strengths_put_small_sets_first():
    ranking = nid([torch.ones(1, 4), torch.ones(1, 1)], **FULL)
    sets = [(0, 1), (0, 1, 2), (0, 1, 2, 3)]
    assert ranking == [(members, 1.0) for members in sets]


def test_pruning_keeps_what_is_stronger_than_its_superset():
    sets = [(0, 1), (2, 3), (0, 1, 2), (0, 2), (1, 3), (0, 1), (2, 3, 4)]
    ranking = [(members, 9.0 - i) for i, members in enumerate(sets)]
    kept = [(0, 1), (2, 3), (0, 1, 2), (1, 3), (2, 3, 4)]
    assert [members for members, _ in prune_redundant(ranking)] == kept
    assert prune_redundant(ranking, 2) == ranking[:2]
    assert prune_redundant([]) == []


@pytest.mark.parametrize('linear', [False, True])
@pytest.mark.parametrize('hidden', [(6,), (6, 4), (7, 5, 3)])
def test_hessian_matches_autograd_and_differences(hidden, linear):
    mlp = make_mlp(3, 4, hidden, linear=linear)
    at = torch.randn(3, 4, dtype=torch.double)
    found = input_hessian(mlp, at)
    assert (found.abs() > 1e-4).any()
    torch.testing.assert_close(found, found.transpose(1, 2))
    for r in range(3):

        def net(x, r=r):
            return mlp(x.expand(3, 1, 4))[r, 0, 0]

        torch.testing.assert_close(found[r], hessian(net, at[r]))
        step = 1e-4 * torch.eye(4, dtype=torch.double)
        for i, j in combinations(range(4), 2):
            difference = sum(
                a * b * net(at[r] + a * step[i] + b * step[j])
                for a in (1, -1)
                for b in (1, -1)
            )
            assert found[r, i, j].item() == pytest.approx(
                difference.item() / 4e-8, abs=1e-5
            )
    ones = torch.ones(4)
    torch.testing.assert_close(input_hessian(mlp), input_hessian(mlp, ones))
    assert (input_hessian(mlp) - found).abs().max() > 1e-4


def test_curvature_survives_large_activations():
    mlp = make_mlp(1, 2, (1,))
    mlp.weights[0].data.fill_(1)
    mlp.weights[1].data.fill_(1)
    mlp.biases[0].data.fill_(28)
    slope = torch.tensor(30.0, dtype=torch.double).sigmoid()
    expected = slope * (-torch.tensor(30.0).double()).sigmoid()
    found = input_hessian(mlp)
    torch.testing.assert_close(
        found, expected.expand(1, 2, 2), rtol=1e-12, atol=0
    )


def test_additive_nets_have_no_interactions():
    mlp = make_mlp(2, 3, (6, 6))
    owner = torch.arange(6) // 2
    mlp.weights[0].data[:, torch.arange(3)[:, None] != owner] = 0
    mlp.weights[1].data[:, owner[:, None] != owner] = 0
    assert gradient_nid(mlp) == [[], []]
    assert gradient_nid(mlp, order=3) == [[], []]
    curved = input_hessian(mlp).diagonal(dim1=1, dim2=2)
    assert (curved.abs() > 1e-4).all()


def third_derivatives(mlp, r, at):
    def net(x):
        return mlp(x.expand(mlp.num_groups, 1, -1))[r, 0, 0]

    return jacobian(lambda x: hessian(net, x, create_graph=True), at)


def test_gradient_nid_ranks_squared_derivatives():
    mlp = make_mlp(3, 5, linear=True)
    at = torch.randn(5, dtype=torch.double)
    second = input_hessian(mlp, at)
    third = torch.stack([third_derivatives(mlp, r, at) for r in range(3)])
    for order, values in ((2, second), (3, third)):
        rankings = gradient_nid(mlp, at, order, top=None)
        for r, ranking in enumerate(rankings):
            expected = {
                members: values[r][members].item() ** 2
                for members in combinations(range(5), order)
            }
            assert_ranking(ranking, expected)
        assert gradient_nid(mlp, at, order, top=3) == [
            ranking[:3] for ranking in rankings
        ]
    tuples = [(4, 0, 2), (1, 3), (3, 1), (0, 2)]
    for r, ranking in enumerate(gradient_nid(mlp, at, tuples=tuples)):
        expected = {
            (0, 2, 4): third[r, 0, 2, 4].item() ** 2,
            (1, 3): second[r, 1, 3].item() ** 2,
            (0, 2): second[r, 0, 2].item() ** 2,
        }
        assert_ranking(ranking, expected)


def test_linear_terms_change_no_strength():
    mlp = make_mlp(2, 4, linear=True)
    before = gradient_nid(mlp)
    mlp.linear.data += 5
    assert gradient_nid(mlp) == before
    mlp.linear = None
    assert gradient_nid(mlp) == before


def test_derivatives_leave_the_net_as_it_is():
    mlp = make_mlp(2, 3).float()
    gradient_nid(mlp)
    gradient_nid(mlp, order=3)
    assert all(p.dtype == torch.float32 for p in mlp.parameters())
    assert all(p.grad is None for p in mlp.parameters())


def test_r_precision_skips_parts_of_what_is_true():
    truth = [(0, 1, 2)]
    for inside in permutations([(0, 1), (1, 2), (0, 2)], 2):
        assert r_precision([*inside, (0, 1, 2)], truth) == 1
    assert r_precision([(0, 1), (0, 3), (0, 1, 2)], truth) == 0
    assert r_precision([(0, 1, 2, 3), (0, 1, 2)], truth) == 0
    assert r_precision([], truth) == 0
    truth = [(0, 1), (4, 3, 2)]
    assert r_precision([(1, 0), (2, 3), (2, 3, 4), (7, 8)], truth) == 1
    assert r_precision([(1, 0), (7, 8), (2, 3, 4)], truth) == 0.5
    with pytest.raises(ValueError, match='holds no interaction'):
        r_precision([(0, 1)], [])


def test_bad_arguments():
    mlp = make_mlp(2, 3)
    with pytest.raises(ValueError, match="'max_order' must be at least 2"):
        nid(mlp, max_order=1)
    with pytest.raises(ValueError, match='needs a hidden layer'):
        nid([torch.ones(1, 3)])
    with pytest.raises(ValueError, match="'relu' has no curvature"):
        gradient_nid(GroupedMLP([3, 4, 1], 2))
    with pytest.raises(ValueError, match="'order' must be at least 2"):
        gradient_nid(mlp, order=1)
    with pytest.raises(ValueError, match="'at' must be"):
        gradient_nid(mlp, torch.ones(3, 3))
    with pytest.raises(ValueError, match='two or more distinct features'):
        gradient_nid(mlp, tuples=[(1, 1)])
    with pytest.raises(ValueError, match='not among 3 features'):
        gradient_nid(mlp, tuples=[(1, 3)])

from itertools import combinations
from math import comb

import pytest
import torch
from scipy.stats import binom

from pyg_featgraph.explain import (
    LocalInteractions,
    Perturbation,
    count_interactions,
    glider,
    significant_count,
)
from pyg_featgraph.interactions import Interaction, InteractionSet

NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
FAST = {
    'num_samples': (600, 100, 100),
    'hidden_channels': (64, 32),
    'max_epochs': 25,
    'l1': 1e-3,
    'progress': False,
}


class Planted(Perturbation):
    """All rows need a and b together, and even ones c and d as well."""

    def __init__(self, num_rows=8):
        self.num_rows = num_rows
        self.asked = set()

    def __len__(self):
        return self.num_rows

    def names(self, row):
        return NAMES

    def logits(self, row, masks):
        self.asked.add(row)
        x = masks.float()
        z = x.sum(dim=1) + 4 * x[:, 0] * x[:, 1]
        return z + (4 * x[:, 2] * x[:, 3] if row % 2 == 0 else 0)


def local(row, *found):
    return LocalInteractions(
        row,
        InteractionSet(
            Interaction(tuple(fields), len(found) - i, 'NID')
            for i, fields in enumerate(found)
        ),
        0.0,
        1.0,
    )


def test_counts_of_rows():
    rows = [
        local(0, 'ab', 'abcdef', 'cd'),
        local(1, 'cd', 'abc'),
        local(2),
        local(3, 'cd', 'abcdef'),
    ]
    counts = count_interactions(rows, 6)
    assert [(''.join(x.fields), x.score) for x in counts] == [
        ('cd', 3),
        ('ab', 1),
        ('abc', 1),
    ]
    assert {x.source for x in counts} == {'GLIDER (NID)'}


@pytest.mark.parametrize(
    ('num_rows', 'num_found', 'd'), [(1000, 100, 39), (50, 7.5, 12), (20, 3, 3)]
)
def test_significance_is_that_of_a_binomial_distribution(
    num_rows, num_found, d
):
    num_sets = comb(d, 2) + comb(d, 3)
    count = significant_count(num_rows, num_found, d)
    tail = binom(num_rows, num_found / num_sets)
    assert num_sets * tail.sf(count) < 0.05
    assert count == 0 or num_sets * tail.sf(count - 1) >= 0.05


def test_significance_of_random_rankings():
    generator = torch.Generator().manual_seed(0)
    sets = [c for k in (2, 3) for c in combinations(range(8), k)]
    limit, above = significant_count(100, 5, 8), 0
    for _ in range(200):
        counts = torch.zeros(len(sets))
        for _ in range(100):
            chosen = torch.randperm(len(sets), generator=generator)[:5]
            counts[chosen] += 1
        above += int(counts.max() > limit)
    # At most a twentieth of all trials, with some room for chance:
    assert above <= 20


def test_no_more_interactions_than_there_are():
    with pytest.raises(ValueError, match='cannot have 5 of 4 interactions'):
        significant_count(10, 5, 3)
    assert significant_count(10, 4, 3) == 10
    assert significant_count(10, 0, 3) == 0


def test_counts_what_rows_have_in_common():
    found = glider(Planted(), max_order=2, top=2, **FAST)
    assert found.num_rows == 8
    assert [x.fields for x in found.counts[:2]] == [('a', 'b'), ('c', 'd')]
    assert found.counts[0].score == 8
    assert 4 <= found.counts[1].score < 8
    total = sum(x.score for x in found.counts)
    assert found.significant_count == significant_count(8, total / 8, 6, 2)
    assert found.counts[0].score > found.significant_count
    assert found.interactions == found.counts.prune()
    again = glider(Planted(), 1, max_order=2, top=2, **FAST)
    assert again.counts == found.counts
    assert [x.fields for x in again.interactions] == [('a', 'b')]


def test_draws_rows():
    asked = {}
    for seed in (0, 0, 1):
        perturbation = Planted(50)
        options = {**FAST, 'num_samples': (100, 20, 20), 'max_epochs': 1}
        found = glider(perturbation, num_rows=5, seed=seed, **options)
        assert found.num_rows == len(perturbation.asked) == 5
        asked.setdefault(seed, perturbation.asked)
        assert asked[seed] == perturbation.asked
    assert asked[0] != asked[1]


def test_rows_need_the_same_features():
    perturbation = Planted(3)
    perturbation.names = lambda row: NAMES if row < 2 else NAMES[::-1]
    with pytest.raises(ValueError, match='Rows 0 and 2 have different'):
        glider(perturbation)

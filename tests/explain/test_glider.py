import sys
from itertools import combinations
from math import comb, isnan

import numpy as np
import pytest
import torch
from scipy.stats import binom

from pyg_featgraph.explain import (
    LocalInteractions,
    Perturbation,
    count_interactions,
    glider,
    significant_count,
    split_agreement,
)
from pyg_featgraph.interactions import Interaction, InteractionSet

# The package has the function under the name of its module:
MODULE = sys.modules[glider.__module__]
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


def test_counts_have_intervals():
    rng = np.random.default_rng(0)
    sets = [a + b for a, b in combinations('abcdef', 2)]
    shares = np.linspace(0.1, 0.8, len(sets))
    held = 0
    for seed in range(40):
        rows = [
            local(i, *(s for s, p in zip(sets, shares, strict=True) if x < p))
            for i, x in enumerate(rng.random(60))
        ]
        for x in count_interactions(rows, 6, seed):
            low, high = x.detail['interval']
            assert x.detail['unit'] == 'rows with the interaction'
            assert low <= x.score <= high
            share = shares[sets.index(''.join(x.fields))]
            held += low <= 60 * share <= high
    assert 0.9 < held / (40 * len(sets)) < 0.99


def test_agreement_of_halves():
    always = [local(i, 'ab', 'cd', *(['ef'] * (i % 3 == 0))) for i in range(30)]
    assert split_agreement(always, 6, 2) == 1
    # Of two that each half has and one of two that it has not:
    assert split_agreement(always, 6, 3) == 1
    never = [local(i, 'abcdef'[i % 6 :][:2] or 'af') for i in range(2)]
    assert split_agreement(never, 6, 1) == 0
    # Equal counts agree by chance: two of fifteen are two of two in 2 / 15.
    sets = [a + b for a, b in combinations('abcdef', 2)]
    equal = [local(i, *sets) for i in range(10)]
    by_chance = split_agreement(equal, 6, 2, num_splits=2000)
    assert by_chance == pytest.approx(2 / 15, abs=0.02)
    assert isnan(split_agreement(always[:1], 6))
    assert isnan(split_agreement([local(0), local(1)], 6))
    assert split_agreement(equal, 6, 2) == split_agreement(equal, 6, 2)
    assert split_agreement(equal, 6, 2, seed=1) != split_agreement(equal, 6, 2)


class ByChance:
    """In place of explanations: each row has pairs with their own shares."""

    def __init__(self, spread):
        self.sets = [''.join(x) for x in combinations('abcdef', 2)]
        self.shares = 0.5 + spread * np.linspace(-0.5, 0.5, len(self.sets))
        self.calls = []

    def __call__(self, perturbation, rows, *, seed, directory, **options):
        self.calls.append((list(rows), directory and directory.name, options))
        out = []
        for row in rows:
            x = np.random.default_rng([seed, row]).random(len(self.sets))
            out.append(local(row, *np.array(self.sets)[x < self.shares]))
        return out


def test_takes_as_many_rows_as_agree(monkeypatch, tmp_path):
    num_rows = {}
    for spread in (0.9, 0.5, 0.3):
        rows = ByChance(spread)
        monkeypatch.setattr(MODULE, 'madex', rows)
        options = {'agreement': 0.8, 'num_rows': 3000, 'directory': tmp_path}
        first, second = (
            glider(Planted(5000), 5, seed=seed, **options, resume=True)
            for seed in (0, 1)
        )
        num_rows[spread] = first.num_rows
        assert first.agreement >= 0.8
        # What it is for; those near the fifth place may change places:
        one, two = (
            {x.fields for x in run.counts[:5]} for run in (first, second)
        )
        assert len(one & two) >= 4
        # The rows double, each in a call and a folder of its own:
        calls = rows.calls[: len(rows.calls) // 2] if spread == 0.3 else []
        drawn = [row for asked, _, _ in calls for row in asked]
        assert len({*drawn}) == len(drawn)
        for i, (asked, folder, others) in enumerate(calls):
            start = 32 * 2 ** (i - 1) if i else 0
            assert folder == f'rows-{start}'
            assert len(asked) == (start or 32)
            assert others == {'top': 3, 'resume': True}
    assert num_rows[0.9] < num_rows[0.5] < num_rows[0.3] < 3000
    # What no number of rows tells apart takes all that there may be:
    monkeypatch.setattr(MODULE, 'madex', ByChance(0))
    found = glider(Planted(5000), 5, agreement=0.9, num_rows=300)
    assert (found.num_rows, found.agreement < 0.9) == (300, True)
    assert glider(Planted(50), 5, agreement=0.9).num_rows == 50
    # Without a wish all rows are taken at once:
    rows = ByChance(0.9)
    monkeypatch.setattr(MODULE, 'madex', rows)
    assert glider(Planted(5000), num_rows=300).num_rows == 300
    assert len(rows.calls) == 1


def test_rankings_of_rows_are_a_share_of_all_pairs(monkeypatch):
    rows = ByChance(0.9)
    monkeypatch.setattr(MODULE, 'madex', rows)
    for size, top in ((2, 1), (6, 3), (14, 13), (39, 100), (200, 100)):
        perturbation = Planted()
        names = [f'x{i}' for i in range(size)]
        perturbation.names = lambda row, names=names: names
        glider(perturbation)
        assert rows.calls[-1][2]['top'] == top
    glider(perturbation, top=7)
    assert rows.calls[-1][2]['top'] == 7


def test_wrong_agreement():
    for wrong in (0, -0.5, 1.5):
        with pytest.raises(ValueError, match=r"'agreement' must lie in \(0, 1"):
            glider(Planted(), agreement=wrong)


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
    with pytest.raises(ValueError, match=r'Rows 0 and \d have different'):
        glider(perturbation)

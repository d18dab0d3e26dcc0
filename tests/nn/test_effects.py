from itertools import combinations

import numpy as np
import pytest
import torch
from model_zoo import randomise
from terms import Terms, signs

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.intervals import bootstrap_intervals
from pyg_featgraph.nn import FM, LR, MulticlassHead, joint_effects


class Classes(Terms):
    """The same with a first class of zeros, and two of opposite sign."""

    def forward(self, batch):
        out = super().forward(batch)
        return torch.stack([0 * out, out, -out], dim=-1)


class Missing(torch.nn.Module):
    """Counts the fields that are there, and squares it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        size = batch.ptr.diff()
        return self.weight * size.square()


def test_effects_of_a_known_function():
    model = Terms({(0, 2): 3, (0,): 1})
    effects = joint_effects(model, signs(8000), num_rows=4000)
    effects = dict(
        zip(combinations(range(4), 2), effects.mean(-1).sqrt(), strict=True)
    )
    # 3 x_a x_c has standard deviation 3; the relative error is below 3 %:
    assert effects.pop((0, 2)) == pytest.approx(3, rel=0.1)
    assert max(effects.values()) < 1e-6


def test_effects_of_any_order_hold_those_above():
    model = Terms({(0, 1, 2): 2, (0, 1): 0.5, (3,): 4})
    sets = [(2, 0, 1), (0, 1), (0, 2), (0, 3), (0, 1, 2, 3), (3,)]
    effects = joint_effects(model, signs(16000), sets, num_rows=8000)
    assert effects.size() == (6, 8000)
    expected = [2, 4.25**0.5, 2, 0, 0, 4]
    torch.testing.assert_close(
        effects.mean(-1).sqrt(),
        torch.tensor(expected).double(),
        rtol=0.06,
        atol=1e-6,
    )


def test_effects_do_not_depend_on_other_sets_or_batches():
    model, table = Terms({(0, 1, 2): 2, (0, 1): 0.5}), signs(50)
    one = joint_effects(model, table, [(0, 1)], num_rows=9)
    both = joint_effects(
        model, table, [(0, 1, 2), (0, 1)], num_rows=9, batch_size=10
    )
    assert torch.equal(one[0], both[1])
    assert one.sum() > 0


def test_each_row_is_used_once():
    """So that effects of rows are independent, as intervals need them."""
    table = signs(20)
    table.slot_value[3] = 1000
    effects = joint_effects(Terms({(0, 1): 1}), table, [(0, 1)])
    assert effects.size() == (1, 10)
    assert (effects > 1000).sum() == 1


def test_effects_of_classes_are_means():
    terms, table = {(0, 1): 3}, signs(100)
    one = joint_effects(Terms(terms), table)
    several = joint_effects(Classes(terms), table)
    assert one.size() == several.size() == (6, 50)
    torch.testing.assert_close(several, one * 2 / 3)


def test_effects_of_a_model_of_classes(table):
    model = randomise(FM(table.info, 4, head=MulticlassHead(3)))
    found = model.interactions(table, num_rows=32)
    assert len(found) == 21
    assert found[0].detail['unit'] == 'effect on the logit of a class'
    sets = [[table.info.names.index(name) for name in found[0].fields]]
    effects = joint_effects(model, table, sets, num_rows=32)
    assert found[0].score == pytest.approx(float(effects.mean() ** 0.5))


def test_effects_leave_out_missing_fields(table):
    part = table.subset(slice(0, 200))
    assert (joint_effects(Missing(), part) == 0).all()
    part.drop_absent = True
    effects = joint_effects(Missing(), part).mean(-1)
    some = (~part.info.present(part.slot_index)).any(0)
    assert some.sum() >= 2
    pairs = combinations(some.tolist(), 2)
    can = torch.tensor([a and b for a, b in pairs])
    assert (effects[~can] == 0).all()
    assert (effects > 0).any()


def test_wrong_sets():
    table = signs(10)
    for fields in ((), (0, 0), (0, 4), (-1, 0)):
        with pytest.raises(ValueError, match='is no set of some of 4'):
            joint_effects(Terms({}), table, [fields])
    with pytest.raises(ValueError, match='Effects need two rows'):
        joint_effects(Terms({}), table.subset([0]))


def test_candidates(table):
    names = table.info.names
    model = randomise(FM(table.info, 4))
    candidates = InteractionSet(
        Interaction(x, 0, 'X', {'functions': ['inner']})
        for x in (names[:2], names[2:4], names[:3])
    )
    found = model.interactions(table, candidates=candidates, num_rows=32)
    # It has no terms of three fields:
    assert {x.fields for x in found} == {
        tuple(sorted(x)) for x in (names[:2], names[2:4])
    }
    assert {x.source for x in found} == {'FM'}
    assert all(x.detail['functions'] == ['inner'] for x in found)
    scores = {x.fields: x.score for x in found}
    for x in model.interactions(table, num_rows=32):
        assert scores.pop(x.fields, x.score) == x.score
    assert not scores
    unknown = InteractionSet([Interaction(('nothing',), 0)])
    with pytest.raises(DataError, match="the field 'nothing'"):
        model.interactions(table, candidates=unknown)


def test_intervals_of_a_model(table):
    model = randomise(FM(table.info, 4))
    found = model.interactions(table, num_rows=64)
    widths = {}
    for x in found:
        low, high = x.detail['interval']
        assert 0 <= low < x.score < high
        widths[x.fields] = high - low
    assert found == model.interactions(table, num_rows=64)
    again = model.interactions(table, num_rows=64)
    assert [x.detail for x in again] == [x.detail for x in found]
    assert InteractionSet.from_json(found.to_json()) == found
    assert 'interval' in found.to_pandas()['detail'][0]
    # Sixteen times the rows, a fourth of the width:
    more = model.interactions(table, num_rows=1024)
    narrow = np.mean(
        [np.ptp(x.detail['interval']) / widths[x.fields] for x in more]
    )
    assert 0.15 < narrow < 0.4
    (plain, *_) = model.interactions(table, num_rows=64, num_bootstraps=0)
    assert plain == found[0]
    assert plain.detail == {'unit': 'effect on the logit', 'rows': 64}
    assert len(LR(table.info).interactions(table)) == 0


def test_intervals_hold_the_truth():
    """Of a known function, in about 95 % of draws of rows."""
    model, table = Terms({(0, 2): 3}), signs(4000)
    held = 0
    for seed in range(200):
        effects = joint_effects(model, table, [(0, 2)], 100, seed=seed)
        ((low, high),) = bootstrap_intervals(effects)
        held += low <= 9 <= high
    assert 180 <= held <= 199


def test_bootstrap_intervals():
    rng = np.random.default_rng(0)
    values = rng.normal([[0], [5]], 1, (2, 400))
    ends = bootstrap_intervals(values, 2000)
    # Those of a normal mean, which this is:
    error = 1.96 * values.std(axis=1) / 20
    expected = values.mean(1)[:, None] + error[:, None] * [-1, 1]
    assert ends == pytest.approx(expected, abs=0.02)
    assert (bootstrap_intervals(values, 2000) == ends).all()
    assert (bootstrap_intervals(values, 2000, seed=1) != ends).any()
    inner = bootstrap_intervals(values, 2000, level=0.5)
    share = np.ptp(inner, 1) / np.ptp(ends, 1)
    assert share == pytest.approx(0.674 / 1.96, abs=0.03)
    # A row has the same weight in all means:
    both = bootstrap_intervals(values[:1].repeat(2, 0))
    assert (both[0] == both[1]).all()
    for options in ({'num_bootstraps': 0}, {'level': 1.0}):
        with pytest.raises(ValueError, match=r'draws|level'):
            bootstrap_intervals(values, **options)
    with pytest.raises(ValueError, match='of 0 rows'):
        bootstrap_intervals(values[:, :0])

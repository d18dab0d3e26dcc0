import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.data import Field, FieldBatch, FieldEncoder, FieldSchema
from pyg_featgraph.explain import FieldPerturbation
from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AutoInt,
    DeepFM,
    FiGNN,
    GraphFM,
)
from pyg_featgraph.nn.gates import gated

PAIRS = gated(
    {('number', 'word'): {'inner': 0.5}, ('word', 'tags'): {'outer': 1.0}}
)
MODELS = {
    'LR': LR,
    'FM': lambda info: FM(info, 4, embedding_std=0.5),
    'DNN': lambda info: DNN(info, 4, [8]),
    'DeepFM': lambda info: DeepFM(info, 4, [8]),
    'GraphFM': lambda info: GraphFM(info, 4, 8),
    'FIVES': lambda info: FIVES(info, 4),
    'FiGNN': lambda info: FiGNN(info, 4, 8),
    'AutoInt': lambda info: AutoInt(info, 4, 8),
    'AIM': lambda info: AIM(info, 4, interactions=PAIRS),
    'IPNN': lambda info: IPNN(info, 4, [8]),
}
NUM_ROWS = 30


@pytest.fixture(scope='module')
def tables():
    """The rows to explain, and others."""
    rng = np.random.default_rng(0)
    n = 2 * NUM_ROWS
    words = np.array(['a', 'b', 'c', 'd'], dtype=object)
    frame = pd.DataFrame(
        {
            'number': rng.normal(3, 2, n),
            'word': words[rng.integers(0, 4, n)],
            'tags': [
                '|'.join(words[rng.random(4) < 0.6].tolist()) for _ in range(n)
            ],
            'bucket': rng.normal(size=n),
            'rare': [f'w{i}' for i in range(n)],
            'square': rng.normal(size=n) * 30,
            'label': rng.integers(0, 2, n),
        }
    )
    frame.loc[[2, 7, NUM_ROWS + 1], ['number', 'word', 'bucket']] = None
    schema = FieldSchema(
        (
            Field('number', 'numeric', transform='standard'),
            Field('word', 'categorical'),
            Field('tags', 'multi'),
            Field('bucket', 'numeric', transform='quantile', bins=(3, 7)),
            Field('rare', 'categorical', min_count=2),
            Field('square', 'numeric', transform='log_square'),
        ),
        label='label',
    )
    encoded = FieldEncoder(schema).fit_transform(frame)
    return encoded.subset(slice(0, NUM_ROWS)), encoded.subset(
        slice(NUM_ROWS, None)
    )


def fill(model):
    """Parameters that are all different from zero."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def draw(d, n=25):
    masks = torch.rand(n, d) > 0.4
    masks[0], masks[1] = True, False
    return masks


def logits_in_a_loop(model, table, row, masks, means, names):
    """One sample at a time, slot by slot."""
    info, out = table.info, []
    for mask in masks.tolist():
        off = {name for on, name in zip(mask, names, strict=True) if not on}
        index = table.slot_index[row].tolist()
        value = table.slot_value[row].tolist()
        slot = 0
        for i, name in enumerate(info.names):
            for _ in range(info.slots[i]):
                if name in off and name in means:
                    index[slot] = info.offsets[i] + 1
                    value[slot] = means[name]
                elif name in off:
                    value[slot] = 0.0
                slot += 1
        batch = FieldBatch.from_rows(
            torch.tensor([index]),
            torch.tensor([value]),
            info,
            drop_absent=table.drop_absent,
        )
        with torch.no_grad():
            out.append(model(batch))
    return torch.cat(out)


def means_of(table):
    out = {}
    for slot, name in ((0, 'number'), (table.info.num_slots - 1, 'square')):
        i = table.info.names.index(name)
        values = [
            value
            for number, value in zip(
                table.slot_index[:, slot].tolist(),
                table.slot_value[:, slot].tolist(),
                strict=True,
            )
            if number == table.info.offsets[i] + 1
        ]
        out[name] = sum(values) / len(values)
    return out


@pytest.mark.parametrize('drop_absent', [False, True])
@pytest.mark.parametrize('name', MODELS)
def test_logits_match_a_loop(tables, name, drop_absent):
    table, background = tables
    table = table.subset(slice(None))
    table.drop_absent = drop_absent
    model = fill(MODELS[name](table.info)).eval()
    rows = FieldPerturbation(model, table, background)
    assert len(rows) == NUM_ROWS
    own = model(table.batch()).detach()
    means = means_of(background)
    for row in (0, 2):
        names = list(table.info.names)
        if drop_absent and row == 2:
            names = ['tags', 'rare', 'square']
        assert rows.names(row) == names
        masks = draw(len(names))
        out = rows.logits(row, masks)
        expected = logits_in_a_loop(model, table, row, masks, means, names)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(out[0], own[row])
        assert len(out.unique()) > 3


@pytest.mark.parametrize('name', MODELS)
def test_all_on_is_exactly_the_logit(tables, name):
    table, background = tables
    model = fill(MODELS[name](table.info)).eval()
    rows = FieldPerturbation(model, table, background)
    d = table.info.num_fields
    for row in (0, 2, 9):
        copies = table.batch([row] * 5)
        out = rows.logits(row, torch.ones(5, d, dtype=torch.bool))
        assert torch.equal(out, model(copies).detach())


def test_what_is_off_adds_nothing(tables):
    table, background = tables
    info, means = table.info, means_of(background)
    masks = draw(info.num_fields)
    lr, linear, fm = fill(LR(info)), LR(info), fill(FM(info, 4))
    linear.linear.load_state_dict(fm.linear.state_dict())
    with torch.no_grad():
        weights = lr.linear.table.weight[:, 0].double()
        vectors = fm.embedding.weight.double()
    slots = info.slot_field.tolist()
    for row in (0, 2):
        got = FieldPerturbation(lr, table, background).logits(row, masks)
        pairs = FieldPerturbation(fm, table, background).logits(row, masks)
        pairs -= FieldPerturbation(linear, table, background).logits(row, masks)
        for m, mask in enumerate(masks.tolist()):
            expected = float(lr.linear.bias.detach())
            x = [torch.zeros(4, dtype=torch.double) for _ in info.names]
            for slot, i in enumerate(slots):
                number = int(table.slot_index[row, slot])
                value = float(table.slot_value[row, slot])
                if not mask[i]:
                    if info.names[i] not in means:
                        continue
                    number = info.offsets[i] + 1
                    value = means[info.names[i]]
                expected += value * float(weights[number])
                x[i] = x[i] + value * vectors[number]
            assert float(got[m]) == pytest.approx(expected, rel=1e-5, abs=1e-5)
            expected = sum(
                float(x[i] @ x[j]) for i in range(len(x)) for j in range(i)
            )
            assert float(pairs[m]) == pytest.approx(
                expected, rel=1e-4, abs=1e-4
            )


def test_the_background_is_the_table_by_default(tables):
    table, background = tables
    model = fill(LR(table.info))
    masks = torch.zeros(1, table.info.num_fields, dtype=torch.bool)
    for known in (None, table, background):
        rows = FieldPerturbation(model, table, known)
        means = means_of(table if known is None else known)
        expected = logits_in_a_loop(
            model, table, 4, masks, means, table.info.names
        )
        torch.testing.assert_close(rows.logits(4, masks), expected)
    assert means_of(table) != pytest.approx(means_of(background), rel=1e-3)


def test_a_number_is_a_number_whatever_its_values():
    schema = FieldSchema(
        (
            Field('one', 'numeric', transform='log_square'),
            Field('never', 'numeric', transform='log_square'),
            Field('rare', 'categorical', min_count=99),
        )
    )
    frame = pd.DataFrame({'one': [1.0, None, 1.0], 'rare': list('abc')})
    encoder = FieldEncoder(schema).fit(frame.assign(never=[None, 9.0, 1000.0]))
    background = encoder.transform(frame.assign(never=None))
    table = encoder.transform(frame.assign(one=2.0, never=1000.0))
    assert table.info.sizes == (2, 2, 2)
    rows = FieldPerturbation(LR(table.info), table, background)
    batch = rows.perturb(0, torch.tensor([[False] * 3, [True] * 3]))
    # The mean of one, a number that the background never has, a category:
    assert batch.slot_value.tolist() == [[1.0, 0.0, 0.0], [2.0, 47.0, 1.0]]
    # A missing one becomes a number as well:
    rows = FieldPerturbation(LR(table.info), background)
    batch = rows.perturb(1, torch.tensor([[False] * 3, [True] * 3]))
    assert batch.slot_index[:, 0].tolist() == [1, 0]


def test_the_model_stays_in_training(tables):
    table, _ = tables
    model = DNN(table.info, 4, [8], dropout=0.5)
    rows = FieldPerturbation(model, table)
    masks = draw(table.info.num_fields)
    assert torch.equal(rows.logits(0, masks), rows.logits(0, masks))
    assert all(module.training for module in model.modules())


def test_another_layout_is_refused(tables, table):
    with pytest.raises(ValueError, match="have the fields of 'table'"):
        FieldPerturbation(LR(table.info), tables[0], table)

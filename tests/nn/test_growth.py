import numpy as np
import pandas as pd
import pytest
import torch
from model_zoo import MODELS

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.nn import DeepFM, GraphFM
from pyg_featgraph.training import fit, predict

NAMES = ('I1', 'I2', 'C1', 'C2', 'C3', 'C4', 'M')


def day(number, num_rows=300):
    """Rows of a day: some categories of each column are those of the last."""
    rng = np.random.default_rng(number)
    df = pd.DataFrame(
        {
            'I1': rng.normal(size=num_rows),
            'I2': rng.normal(size=num_rows),
            'M': rng.choice(['x|y', f'x|{number}', 'z'], num_rows),
            'y': rng.integers(0, 2, num_rows),
        }
    )
    for i in range(1, 5):
        ids = rng.integers(0, 8, num_rows) + 4 * number
        df[f'C{i}'] = [f'{x}' if x else None for x in ids]
    return df


def make_encoder(**options):
    schema = FieldSchema(
        (
            Field('I1', 'numeric', transform='standard'),
            Field('I2', 'numeric', bins=(5,)),
            *(Field(f'C{i}', 'categorical', 5) for i in range(1, 5)),
            Field('M', 'multi', 5),
        ),
        'y',
    )
    return FieldEncoder(schema, **options).fit(day(0))


@pytest.mark.parametrize('name', MODELS)
def test_no_logit_changes(name):
    encoder = make_encoder()
    torch.manual_seed(0)
    model = MODELS[name](encoder.info).eval()
    old, new = day(0), day(1)
    before = [predict(model, encoder.transform(df)) for df in (old, new)]
    sizes = encoder.info.sizes
    reused = encoder.update(new)
    assert len(reused) == 0
    grown = [b - a for a, b in zip(sizes, encoder.info.sizes, strict=True)]
    assert grown == [0, 0, 4, 4, 4, 4, 1]
    model.grow(encoder.info, reused)
    assert model.info == encoder.info
    tables = [encoder.transform(df) for df in (old, new)]
    assert not torch.equal(
        tables[1].slot_index.max(0).values, tables[0].slot_index.max(0).values
    )
    for table, expected in zip(tables, before, strict=True):
        assert torch.equal(predict(model, table), expected)
    # It is a whole model of the new size:
    again = MODELS[name](encoder.info)
    again.load_state_dict(model.state_dict())
    assert torch.equal(predict(again, tables[1]), before[1])


def test_a_grown_model_is_saved_and_learns_on(tmp_path):
    encoder = make_encoder()
    model = DeepFM(encoder.info, 4)
    encoder.update(day(1))
    model.grow(encoder.info)
    rows = day(1, 600)
    # A category of the new day says it all:
    rows['y'] = (rows['C1'] == '11').astype(int)
    table = encoder.transform(rows)
    before = model.embedding.weight.detach().clone()
    fit(
        model,
        table.subset(slice(0, 400)),
        table.subset(slice(400, None)),
        directory=tmp_path,
        lr=0.05,
        max_epochs=15,
    )
    p = predict(model, table.subset(slice(400, None)))
    is_it = table.y[400:] == 1
    assert p[is_it].min() > p[~is_it].max()
    found = encoder.info.offsets[2] + 2 + encoder.codecs[2].keys.get_loc('11')
    assert not torch.equal(model.embedding.weight[found], before[found])
    model.save(tmp_path / 'm.safetensors')
    again = DeepFM.load(tmp_path / 'm.safetensors')
    assert torch.equal(predict(again, table), predict(model, table))


def test_ids_that_change_hands():
    encoder = make_encoder()
    info, old_keys = encoder.info, encoder.codecs[2].keys
    torch.manual_seed(0)
    model = GraphFM(info, 4)
    kept = day(0).query("M != 'x|0'")
    for name in NAMES[2:6]:
        kept = kept[kept[name].isin([*'4567'])]
    new = day(1).query("C1 == '9'")
    before = [predict(model, encoder.transform(df)) for df in (kept, new)]
    reused = encoder.update(day(1), evict=1)
    # Three categories of each column are gone, and four have come; and one
    # member of lists:
    assert encoder.info.sizes[6] == info.sizes[6]
    assert encoder.info.sizes[2:6] == tuple(x + 1 for x in info.sizes[2:6])
    keys = encoder.codecs[2].keys
    assert set(keys) == set('4567') | {'8', '9', '10', '11'}
    changed = np.flatnonzero(keys[: len(old_keys)] != old_keys)
    assert set(old_keys[changed]) == set('123')
    offset = encoder.info.offsets[2] + 2
    of_field = reused[(reused >= offset) & (reused < encoder.info.offsets[3])]
    assert of_field.tolist() == (offset + changed).tolist()
    model.grow(encoder.info, reused)
    for df, expected in zip((kept, new), before, strict=True):
        assert torch.equal(predict(model, encoder.transform(df)), expected)
    # Those that have none any more are rare:
    gone = encoder.transform(day(0).query("C1 == '2'")).slot_index
    assert (gone[:, 2] == encoder.info.offsets[2] + 1).all()


def test_wrong_growth():
    encoder = make_encoder()
    model = GraphFM(encoder.info, 4)
    info = encoder.info
    for name, value, message in (
        ('names', tuple('abcdefg'), "'names' cannot change"),
        ('sizes', (2, 8, *info.sizes[2:]), "'I2' of the kind 'bucket' cannot"),
        (
            'sizes',
            (*info.sizes[:6], 2),
            "'M' of the kind 'multi' cannot have 2",
        ),
    ):
        changed = type(info)(**{**info.to_dict(), name: value})
        with pytest.raises(ValueError, match=message):
            model.grow(changed)

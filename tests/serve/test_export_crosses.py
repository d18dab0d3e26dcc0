"""Rows are scored without the columns that crosses have made of them."""

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import LR
from pyg_featgraph.serve import Scorer, ServingError, export
from pyg_featgraph.training import predict

PAIRS = [('age', 'city'), ('city', 'day', 'plan'), ('city', 'plan')]
SCHEMA = FieldSchema(
    (
        Field('city', 'categorical'),
        Field('plan', 'categorical'),
        Field('age', 'numeric', bins=(4,), interpolate=True),
        Field('day', 'numeric', column='when', part='weekday'),
    ),
    'y',
)


def make_frame(num_rows, seed, cities):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp('2024-01-01')
    df = pd.DataFrame(
        {
            'city': rng.choice(cities, num_rows),
            'plan': rng.choice(['a', 'b', '3'], num_rows),
            'age': rng.normal(40, 9, num_rows),
            'when': start + pd.to_timedelta(rng.integers(0, 9, num_rows), 'D'),
        }
    ).astype(object)
    df = df.mask(rng.random(df.shape) < 0.1, None)
    return df.assign(y=rng.integers(0, 2, num_rows))


OLD = make_frame(400, 0, ['Oslo', 'Rome', 'Bonn', 'Kyiv'])
NEW = make_frame(200, 1, ['Oslo', 'Rome', 'Bonn', 'new'])


def make(encode, tmp_path):
    """A folder, its encoder and its crosses."""
    crosses = CrossFeatures(PAIRS, encode=encode, bins=3, schema=SCHEMA)
    made = crosses.fit_transform(OLD, OLD['y'])
    encoder = FieldEncoder(crosses.extend(SCHEMA)).fit(OLD.join(made))
    torch.manual_seed(0)
    model = LR(encoder.info)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    folder = tmp_path / 'folder'
    export(model, encoder, folder, ['onnx'], crosses=crosses)
    table = encoder.transform(NEW.join(crosses.transform(NEW)))
    return Scorer(folder), table, model


@pytest.mark.parametrize('encode', ['ids', 'target', ('ids', 'count')])
def test_crosses_have_the_ids_and_values_of_tables(encode, tmp_path):
    scorer, table, model = make(encode, tmp_path)
    assert scorer.columns == ['city', 'plan', 'age', 'when']
    bare = NEW.drop(columns='y')
    index, value = scorer.encode(bare)
    np.testing.assert_array_equal(index, table.slot_index.numpy())
    np.testing.assert_array_equal(value, table.slot_value.numpy())
    # What a city that was never seen has with others is one and the same:
    entries = [*zip(index[:, -1], value[:, -1], strict=True)]
    new = {entries[i] for i in np.flatnonzero(NEW['city'] == 'new')}
    assert len(new) == 1 < len({*entries})
    for number, row in enumerate(bare.to_dict('records')[:50]):
        one, values = scorer.encode(row)
        np.testing.assert_array_equal(one[0], index[number])
        np.testing.assert_array_equal(values[0], value[number])
    expected = predict(model, table).numpy()
    np.testing.assert_allclose(scorer.score(bare), expected, atol=1e-6)


def test_wrong_entries_are_named(tmp_path):
    scorer, _, _ = make('ids', tmp_path)
    with pytest.raises(ServingError, match="Column 'age', row 0"):
        scorer.encode({'age': 'old'})


def test_a_column_that_is_only_crossed(tmp_path):
    crosses = CrossFeatures([('city', 'plan')]).fit(OLD)
    schema = FieldSchema((Field('plan', 'categorical'),), 'y')
    old = OLD.join(crosses.transform(OLD))
    encoder = FieldEncoder(crosses.extend(schema)).fit(old)
    folder = export(
        *(LR(encoder.info), encoder, tmp_path / 'a', ['onnx']), crosses=crosses
    )
    scorer = Scorer(folder)
    assert scorer.columns == ['plan', 'city']
    index, _ = scorer.encode(NEW)
    table = encoder.transform(NEW.join(crosses.transform(NEW)))
    np.testing.assert_array_equal(index, table.slot_index.numpy())


def test_crosses_without_a_field(tmp_path):
    crosses = CrossFeatures([('city', 'plan')]).fit(OLD)
    encoder = FieldEncoder(SCHEMA).fit(OLD)
    with pytest.raises(DataError, match=r'no fields for .*city x plan'):
        export(LR(encoder.info), encoder, tmp_path / 'a', crosses=crosses)

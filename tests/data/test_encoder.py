import json
import re
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_featgraph.data import Field, FieldEncoder, FieldInfo, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, sealing
from pyg_featgraph.nn import FieldEmbedding


def encode(column, test=None, label=None, **field):
    """The ids and values of one column, numbered from zero."""
    df = pd.DataFrame({'x': column})
    encoder = FieldEncoder(FieldSchema((Field('x', **field),))).fit(df)
    table = encoder.transform(df if test is None else pd.DataFrame({'x': test}))
    return table.slot_index.tolist(), table.slot_value.tolist(), encoder


@pytest.fixture
def df():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            'age': rng.normal(40, 10, 200).round(),
            'city': rng.choice(['a', 'b', 'c', None], 200),
            'tags': rng.choice(['x|y', 'z', '', 'x|y|z'], 200),
            'y': rng.integers(0, 2, 200),
        }
    )


def schema_of(df, **kwargs):
    return FieldSchema.infer(df, 'y', {'tags': {'kind': 'multi'}}, **kwargs)


def test_schema_infers_kinds(df):
    df['flag'] = df['age'] > 40
    df['list'] = [['a', 'b']] * len(df)
    schema = schema_of(df, min_count=3, transform='standard')
    kinds = {field.name: field.kind for field in schema}
    assert kinds == {
        'age': 'numeric',
        'city': 'categorical',
        'tags': 'multi',
        'flag': 'categorical',
        'list': 'multi',
    }
    assert schema.fields[0].transform == 'standard'
    assert all(field.min_count == 3 for field in schema)
    assert FieldSchema.from_dict(schema.to_dict()) == schema
    changed = schema.replace('age', transform='log1p')
    assert changed.fields[0].transform == 'log1p'
    with pytest.raises(KeyError, match='No field'):
        schema.replace('none', min_count=2)


def test_schema_rejects_nonsense(df):
    with pytest.raises(DataError, match=r"'none'.*not in the table"):
        FieldSchema.infer(df, 'none')
    with pytest.raises(TypeError, match="'minimum' is not an option"):
        FieldSchema.infer(df, 'y', minimum=3)
    for options, message in (
        ({'kind': 'text'}, "'kind' must be one of"),
        ({'kind': 'categorical', 'bins': (3,)}, 'are for numeric fields'),
        ({'kind': 'multi', 'interpolate': True}, 'are for numeric fields'),
        ({'kind': 'numeric', 'transform': 'cube'}, "'transform' must be one"),
        ({'kind': 'numeric', 'transform': 'log1p', 'bins': (3,)}, 'no meaning'),
        *(
            (
                {'kind': 'numeric', 'transform': x, 'interpolate': True},
                'no mean',
            )
            for x in ('auto', 'standard')
        ),
        ({'kind': 'numeric', 'transform': 'auto', 'bins': (3,)}, 'no meaning'),
        ({'kind': 'numeric', 'bins': (0,)}, 'must be positive'),
        ({'kind': 'numeric', 'min_count': 0}, 'at least 1'),
        ({'kind': 'multi', 'separator': ''}, "'separator' must be a text"),
    ):
        with pytest.raises(ValueError, match=message):
            Field('x', **options)
    with pytest.raises(ValueError, match='unique'):
        FieldSchema((Field('a', 'numeric'), Field('a', 'numeric')))


def test_categories():
    ids, values, encoder = encode(
        ['b', 'a', 'a', None, 'c', 'b', 'a'],
        ['a', 'b', 'c', 'new', None],
        kind='categorical',
        min_count=2,
    )
    # 0 missing, 1 rare or unseen, then by falling count:
    assert ids == [[2], [3], [1], [1], [0]]
    assert values == [[1.0]] * 5
    assert encoder.info.sizes == (4,)


@pytest.mark.parametrize(
    'again', [[1.0, np.nan, 30.0], ['1', None, '30'], [1, pd.NA, 30]]
)
def test_a_category_is_the_same_in_any_type(again):
    ids, _, _ = encode([1, 30, 1], again, kind='categorical')
    assert ids == [[2], [0], [3]]


def test_numbers():
    x = [1.0, 3.0, np.nan, 5.0]
    ids, values, _ = encode(x, kind='numeric', transform='standard')
    assert ids == [[1], [1], [0], [1]]
    std = np.std([1, 3, 5])
    np.testing.assert_allclose(
        np.ravel(values), [-2 / std, 0, 1, 2 / std], rtol=1e-6
    )
    _, values, _ = encode([-3.0, 0.0, 8.0], kind='numeric', transform='log1p')
    np.testing.assert_allclose(
        np.ravel(values), [-np.log(4), 0, np.log(9)], rtol=1e-6
    )
    _, values, _ = encode(
        [-1.0, 2.0, 3.0, 1000.0], kind='numeric', transform='log_square'
    )
    assert np.ravel(values).tolist() == [-1, 2, 1, 47]


def test_buckets():
    ids, values, _ = encode(
        [0.0, 1, 2, 3, 4, np.nan], [-9.0, 9.0], kind='numeric', bins=(5,)
    )
    assert ids == [[2], [6]]
    x = [0.0] * 4 + [10.0, np.nan]
    ids, values, encoder = encode(
        x, kind='numeric', transform='equal_width', bins=(2, 4), min_count=2
    )
    # One bucket of each granularity is seen often enough, the others are rare:
    assert ids == [[2, 3]] * 4 + [[1, 1], [0, 0]]
    assert values == [[0.5, 0.5]] * 5 + [[1.0, 0.0]]
    assert encoder.info.sizes == (4,)
    ids, _, _ = encode([7.0, 7.0], kind='numeric')
    assert len({i for (i,) in ids}) == 1


@pytest.mark.parametrize(
    'column',
    [['a|b', '', 'b', None, 'a|b'], [['a', 'b'], [], ['b'], None, ['a', 'b']]],
)
def test_several_categories(column):
    test = (
        ['a', 'c|a|b'] if isinstance(column[0], str) else [['a'], list('cab')]
    )
    ids, values, encoder = encode(column, test, kind='multi')
    assert encoder.info.slots == (2,)
    # The third member is beyond the longest list of the training rows:
    assert ids == [[3, 0], [1, 3]]
    assert values == [[1.0, 0.0], [0.5, 0.5]]
    ids, values, _ = encode(column, kind='multi')
    assert ids[1] == ids[3] == [0, 0]
    assert values[1] == [1.0, 0.0]


def test_vectors():
    column = [[1.0, 5.0], None, np.array([3.0, 5.0]), (5.0, 5.0)]
    test = [[7.0, 6.0], np.nan]
    ids, values, encoder = encode(column, test, kind='vector')
    assert encoder.info.sizes == (3,)
    assert ids == [[1, 2], [0, 0]]
    # Standardised, (7 - 3) / sqrt(8 / 3) and (6 - 5) / 1, by sqrt(2):
    np.testing.assert_allclose(values, [[3**0.5, 0.5**0.5], [1, 0]], 1e-6)
    for wrong, message in (
        ([1.0, 2.0, 3.0], r"'x', row 0: .* is no vector of 2 numbers"),
        ([1.0, np.nan], r"'x', row 0: .* is not finite"),
        ([1.0, 'a'], "'x' holds vectors that are not numbers"),
    ):
        with pytest.raises(DataError, match=message):
            encoder.transform(pd.DataFrame({'x': [wrong]}))
    with pytest.raises(DataError, match='holds no vector; leave it out'):
        encode([None, None], kind='vector')


def test_vectors_are_mapped_by_a_matrix(df, tmp_path):
    x = np.random.default_rng(1).normal(3, 2, (len(df), 4))
    df['image'] = list(x)
    schema = schema_of(df)
    assert schema.fields[-1].kind == 'vector'
    encoder = FieldEncoder(schema).fit(df)
    encoder.save(tmp_path / 'encoder.parquet')
    table = FieldEncoder.load(tmp_path / 'encoder.parquet').transform(df)
    embedding = FieldEmbedding(table.info, 5)
    out = embedding.embed(table.batch())[:, -1]
    matrix = embedding.weight[table.info.offsets[-1] + 1 :]
    standard = torch.from_numpy((x - x.mean(0)) / x.std(0) / 2).float()
    torch.testing.assert_close(out, standard @ matrix)


def test_only_training_rows_count(df):
    encoder = FieldEncoder(schema_of(df)).fit(df[:100])
    alone = encoder.transform(df[150:151])
    together = encoder.transform(df[100:])
    assert torch.equal(alone.slot_index[0], together.slot_index[50])
    assert torch.equal(alone.slot_value[0], together.slot_value[50])


def test_save_and_load(df, tmp_path):
    encoder = FieldEncoder(schema_of(df, min_count=2))
    with pytest.raises(RuntimeError, match=r'Call fit\(\)'):
        encoder.transform(df)
    table = encoder.fit_transform(df)
    path = tmp_path / 'encoder.parquet'
    encoder.save(path)
    loaded = FieldEncoder.load(path)
    assert [p.name for p in tmp_path.iterdir()] == ['encoder.parquet']
    assert loaded.info == encoder.info
    assert loaded.schema == encoder.schema
    again = loaded.transform(df)
    assert torch.equal(again.slot_index, table.slot_index)
    assert torch.equal(again.slot_value, table.slot_value)
    assert torch.equal(again.y, table.y)


def test_kinds_are_those_of_the_encoding(df, tmp_path):
    df['image'] = list(np.random.default_rng(1).normal(size=(len(df), 3)))
    df['income'] = df['age'] * 2
    schema = schema_of(df).replace('income', transform='log1p', bins=())
    encoder = FieldEncoder(schema).fit(df)
    kinds = dict(zip(schema.names, encoder.info.kinds, strict=True))
    assert kinds == {
        'age': 'bucket',
        'city': 'categorical',
        'tags': 'multi',
        'image': 'vector',
        'income': 'numeric',
    }
    info = encoder.transform(df).info
    assert FieldInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info
    encoder.save(tmp_path / 'encoder.parquet')
    assert FieldEncoder.load(tmp_path / 'encoder.parquet').info == info


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'kinds': ('categorical',)}, r'names, sizes, .* \(got \[2, 2, 2, 1\]'),
        ({'slots': (1, 1, 1)}, r'one entry for each field .* \[2, 2, 3, 2\]'),
        ({'kinds': ('categorical', 'number')}, "'b': the kind must be one of"),
        ({'sizes': (3, 0)}, "'b' needs at least one id and one slot"),
        ({'slots': (0, 1)}, "'a' needs at least one id and one slot"),
        ({'sizes': (3, 3)}, "'b' is numeric, so it has two ids and one slot"),
        ({'slots': (1, 2)}, "'b' is numeric, so it has two ids and one slot"),
    ],
)
def test_info_rejects_nonsense(changes, message):
    values = {
        'names': ('a', 'b'),
        'sizes': (3, 2),
        'slots': (1, 1),
        'kinds': ('categorical', 'numeric'),
    }
    assert FieldInfo(**values).num_slots == 2
    with pytest.raises(ValueError, match=message):
        FieldInfo(**{**values, **changes})


def test_load_rejects_other_files(df, tmp_path):
    path = tmp_path / 'x.parquet'
    path.write_text('no parquet')
    with pytest.raises(DataError, match=r'x\.parquet.* no checksum'):
        FieldEncoder.load(path)
    other = pa.table({'a': [1]}).replace_schema_metadata({'checksum': SEAL})
    with sealing(path) as temporary:
        pq.write_table(other, temporary)
    with pytest.raises(DataError, match=r'x\.parquet.* is no encoder'):
        FieldEncoder.load(path)
    encoder = FieldEncoder(schema_of(df)).fit(df)
    encoder.save(path)
    stored = pq.read_table(path)
    key = b'pyg_featgraph.encoder'
    for version in (2, 99):
        meta = json.loads(stored.schema.metadata[key]) | {'version': version}
        texts = {key: json.dumps(meta), 'checksum': SEAL}
        with sealing(path) as temporary:
            pq.write_table(stored.replace_schema_metadata(texts), temporary)
        with pytest.raises(DataError, match=rf'parquet.*version is {version}'):
            FieldEncoder.load(path)


def test_bad_input_is_named(df):
    encoder = FieldEncoder(schema_of(df)).fit(df)

    def changed(column, value):
        out = df.astype({column: object})
        out.loc[17, column] = value
        return out

    for column, value, message in (
        ('age', 'old', r"'age', row 17: 'old' is not a number"),
        ('age', np.inf, r"'age', row 17: inf is not finite"),
        ('y', 2, r"'y', row 17: 2 is none of the 2 classes \('0', '1'\)"),
        ('y', np.nan, r"'y', row 17: there is no value"),
    ):
        with pytest.raises(DataError, match=message):
            encoder.transform(changed(column, value))
    with pytest.raises(DataError, match=r"lacks the columns \['city'\]"):
        encoder.transform(df.drop(columns='city'))
    with pytest.raises(DataError, match='has no rows'):
        FieldEncoder(schema_of(df)).fit(df[:0])
    with pytest.raises(DataError, match="'y': all 200 labels are '1'"):
        FieldEncoder(schema_of(df)).fit(df.assign(y=1))
    # A single class is fine in rows that are not trained on, and so is none:
    assert encoder.transform(df.assign(y=1)).y.eq(1).all()
    assert encoder.transform(df.drop(columns='y')).y is None


def test_another_table_is_noticed(df):
    encoder = FieldEncoder(FieldSchema((Field('city', 'categorical'),)))
    encoder.fit(df)
    other = pd.DataFrame({'city': [f'town {i}' for i in range(20)]})
    with pytest.warns(UserWarning, match='is this the table'):
        encoder.transform(other)


def meaning(value):
    """The category of a value among the ones that are drawn below."""
    if isinstance(value, int | float):
        value = format(value, 'g')
    value = value.strip() if value else ''
    if re.fullmatch(r'-?(0|[1-9]\d*)(\.\d+)?', value):
        value = format(float(value) + 0, 'g')
    return value or None


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.text('ab01. -', max_size=3),
            st.integers(-3, 3),
            st.sampled_from([True, False, 1.0, 0.5]),
        ),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 3),
)
@settings(max_examples=200, deadline=None)
def test_any_column_encodes(values, min_count):
    df = pd.DataFrame({'x': pd.Series(values, dtype=object)})
    field = Field('x', 'categorical', min_count)
    encoder = FieldEncoder(FieldSchema((field,))).fit(df)
    ids = encoder.transform(df).slot_index.flatten().tolist()
    keys = [meaning(value) for value in values]
    count, seen = Counter(keys), {}
    for key, i in zip(keys, ids, strict=True):
        kept = key is not None and count[key] >= min_count
        assert i == 0 if key is None else (i >= 2) == kept
        if kept:
            assert seen.setdefault(key, i) == i
    assert len(set(seen.values())) == len(seen)


def test_whole_numbers_are_the_same_category_in_every_table():
    schema = FieldSchema((Field('a', 'categorical'),))
    train = pd.DataFrame({'a': [1.0, 2.0, 2.5, np.nan]})
    encoder = FieldEncoder(schema).fit(train)
    both = encoder.transform(pd.DataFrame({'a': [1.0, 2.5]})).slot_index
    whole = encoder.transform(pd.DataFrame({'a': [1.0, 2.0]})).slot_index
    integer = encoder.transform(pd.DataFrame({'a': [1, 2]})).slot_index
    assert both[0] == whole[0] == integer[0]
    assert whole[1] == integer[1] == encoder.transform(train).slot_index[1]
    assert len({int(both[0]), int(both[1]), int(whole[1]), 1}) == 4

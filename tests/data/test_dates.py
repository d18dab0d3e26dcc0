import datetime

import numpy as np
import pandas as pd
import pytest

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.data.dates import PARTS, date_part, varying_parts
from pyg_featgraph.errors import DataError

TEXTS = [
    *('2020-01-31 12:30:00.5', '2020-02-29T00:00:00', None, '1969-12-31'),
    *('2024-12-30 23:59:59', ''),
]
OBJECTS = [
    datetime.datetime(2020, 1, 31, 12, 30, 0, 500_000),
    pd.Timestamp('2020-02-29'),
    None,
    datetime.date(1969, 12, 31),
    np.datetime64('2024-12-30T23:59:59', 's'),
    pd.NaT,
]
TIMES = pd.to_datetime(pd.Series(TEXTS), format='ISO8601')
FORMS = {
    'text': pd.Series(TEXTS),
    'objects': pd.Series(OBJECTS, dtype=object),
    'ns': TIMES.astype('datetime64[ns]'),
    'us': TIMES.astype('datetime64[us]'),
    'arrow': TIMES.astype('timestamp[ms][pyarrow]'),
    'UTC': TIMES.dt.tz_localize('UTC'),
    'Tokyo': TIMES.dt.tz_localize('UTC').dt.tz_convert('Asia/Tokyo'),
    'text with a zone': TIMES.dt.tz_localize('UTC')
    .dt.tz_convert('Asia/Tokyo')
    .astype(str)
    .replace('NaT', ''),
    'categories': pd.Series(TEXTS).astype('category'),
}
EXPECTED = {
    'year': [2020, 2020, 1969, 2024],
    'month': [1, 2, 12, 12],
    'day': [31, 29, 31, 30],
    'weekday': [4, 5, 2, 0],
    'hour': [12, 0, 0, 23],
    'minute': [30, 0, 0, 59],
    'elapsed': [18292 + 45000.5 / 86400, 18321, -1, 20088 - 1 / 86400],
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('part', PARTS)
def test_parts(form, part):
    out = date_part(FORMS[form].rename('when'), part)
    assert out.dtype == float
    assert out.isna().tolist() == [False, False, True, False, False, True]
    assert out.dropna().tolist() == EXPECTED[part]


def test_all_centuries():
    days = pd.Series(['0001-01-01', '9999-12-31 23:59:59'])
    assert date_part(days, 'year').tolist() == [1, 9999]
    far = pd.Series(np.array([2**62], 'M8[s]'), name='when')
    with pytest.raises(DataError, match=r"'when' holds points in time .* far"):
        date_part(far, 'year')


@pytest.mark.parametrize(
    'value',
    [
        *('2020-13-01', '2020', 'today', 5, datetime.time(1), '20200131'),
        *('0001-01-01 00:00:00+01:00', '9999-12-31 23:59:59-01:00'),
        '2020-01-31 24:00',
    ],
)
def test_what_is_no_date(value):
    column = pd.Series(['2020-01-01', value], ['a', 'b'], object, 'when')
    with pytest.raises(
        DataError, match=r"'when', row 'b': .* no point in time"
    ):
        date_part(column, 'day')
    assert varying_parts(column) == []


def frame(rows=40):
    days = pd.date_range('2021-03-01 08:00', periods=rows, freq='7h')
    return pd.DataFrame(
        {
            'when': days,
            'text': days.strftime('%Y-%m-%d'),
            'same': '2021-03-01',
            'word': ['a', 'b'] * (rows // 2),
            'y': np.arange(rows) % 2,
        }
    )


def test_a_schema_has_the_parts_that_vary():
    df = frame()
    schema = FieldSchema.infer(df, 'y', {'same': {'min_count': 3}}, bins=(5,))
    assert schema.names == (
        *('when.day', 'when.weekday', 'when.hour', 'when.elapsed'),
        *('text.day', 'text.weekday', 'text.elapsed', 'same.elapsed', 'word'),
    )
    assert schema.columns == ('when', 'text', 'same', 'word')
    assert {field.kind for field in schema.fields[:-1]} == {'numeric'}
    assert schema.fields[0].bins == (5,)
    assert schema.fields[-2].min_count == 3
    assert FieldSchema.from_dict(schema.to_dict()) == schema
    # Told to be something else, it stays one field:
    other = FieldSchema.infer(
        df[['when', 'text']],
        overrides={
            'when': {'kind': 'categorical'},
            'text': {'kind': 'numeric', 'part': 'day'},
        },
    )
    assert [(x.name, x.kind, x.part) for x in other] == [
        ('when', 'categorical', None),
        ('text', 'numeric', 'day'),
    ]


def test_parts_are_encoded(tmp_path):
    df = frame()
    schema = FieldSchema.infer(df[['when', 'y']], 'y', bins=(50,))
    encoder = FieldEncoder(schema).fit(df)
    encoder.save(tmp_path / 'encoder.parquet')
    loaded = FieldEncoder.load(tmp_path / 'encoder.parquet')
    table = loaded.transform(df)
    hours = table.info.names.index('when.hour')
    ids = table.slot_index[:, table.info.first_slots[hours]]
    ids = ids.numpy() - table.info.offsets[hours]
    hour = df['when'].dt.hour
    # Each hour has its id, in their order:
    assert ids.tolist() == [2 + sorted(hour.unique()).index(h) for h in hour]
    # A text of it is the same, and a missing one is known as such:
    texts = df.assign(when=df['when'].astype(str))
    assert loaded.transform(texts).slot_index.equal(table.slot_index)
    none = loaded.transform(df.assign(when=pd.NaT))
    assert not none.info.present(none.slot_index).any()
    with pytest.raises(DataError, match=r"'when', row 0: 'soon' is no point"):
        loaded.transform(pd.DataFrame({'when': ['soon']}))
    with pytest.raises(DataError, match=r"lacks the columns \['when'\]"):
        loaded.transform(df[['y']])


def test_several_fields_of_one_column():
    df = pd.DataFrame({'a': [1.0, 2.0, 5.0], 'y': [0, 1, 1]})
    fields = (
        Field('a', 'numeric', bins=(3,)),
        Field('a as it is', 'numeric', transform='log1p', column='a'),
    )
    table = FieldEncoder(FieldSchema(fields, 'y')).fit_transform(df)
    assert table.slot_index.tolist() == [[2, 6], [3, 6], [4, 6]]
    np.testing.assert_allclose(table.slot_value[:, 1], np.log1p(df['a']), 1e-6)
    with pytest.raises(ValueError, match="label 'a' is also a field"):
        FieldSchema(fields[1:], 'a')


def test_nonsense_parts():
    with pytest.raises(ValueError, match=r"'part' must be one of .*'second'"):
        Field('x', 'numeric', part='second')
    with pytest.raises(ValueError, match="'part' of a date is numeric or"):
        Field('x', 'vector', part='day')

"""Rows have the same ids and values as the same entries in a table."""

import datetime
import uuid
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.crosses import make_codec
from pyg_featgraph.serve.scorer.entries import EntryError

ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
CATEGORIES = [
    *('a', 'a', 'b', 'b', 'ö', 'ö', '3', '3', '0.1', '0.1', '1', '0', '0'),
    *('2020-01-31', '2020-01-31', '2020-01-31 12:30:00.5', 'inf', '1e5'),
    *('2020-01-31 07:00:00+00:00', '2020-01-31 07:00:00+00:00', 'seldom'),
]
NUMBERS = [
    *(-5.5, -1, 0, 0, 0, 0.1, 0.25, 0.3, 1, 1, 1, 2.5, 3, 3, 10, 1e-9, 7),
    *(1e6, 2.0**24, 123456.789, 1e30),
]
DATES = ['2020-01-31', '2020-02-29 12:30:00', '1969-12-31 23:59:59.999999']
FIELDS = {
    'category': Field('x', 'categorical'),
    'rare': Field('x', 'categorical', min_count=2),
    'multi': Field('x', 'multi', min_count=2),
    'bars': Field('x', 'multi', separator=', '),
    'quantile': Field('x', 'numeric', transform='quantile', bins=(4,)),
    'buckets': Field('x', 'numeric', transform='equal_width', bins=(3, 9)),
    'rare bucket': Field(
        'x', 'numeric', min_count=3, transform='equal_width', bins=(9,)
    ),
    'linear': Field('x', 'numeric', bins=(4,), interpolate=True),
    'linear twice': Field('x', 'numeric', bins=(2, 8), interpolate=True),
    **{
        name: Field('x', 'numeric', transform=name)
        for name in ('standard', 'log1p', 'log_square')
    },
    'vector': Field('x', 'vector'),
    'weekday': Field('x', 'categorical', part='weekday'),
    'elapsed': Field('x', 'numeric', transform='standard', part='elapsed'),
    'hour': Field('x', 'numeric', transform='quantile', part='hour'),
}
TRAINING = {
    'multi': ['a|b|c', 'a', 'b', 'c|3|0.1', None, '3|0.1|nan'],
    'vector': [[1.0, 2.0], [0.5, -1.0], None],
}


def training(field):
    if field.kind in TRAINING:
        return TRAINING[field.kind]
    if field.part is not None:
        return DATES
    return NUMBERS if field.kind == 'numeric' else CATEGORIES


def fitted(name):
    column = pd.Series(training(FIELDS[name]), name='x', dtype=object)
    return FieldEncoder(FieldSchema((FIELDS[name],))).fit(column.to_frame())


ENCODERS = {name: fitted(name) for name in FIELDS}
SERVED = {
    name: make_codec(encoder.codecs[0].describe(), 0)
    for name, encoder in ENCODERS.items()
}

floats = st.floats() | st.floats(width=32) | st.sampled_from(NUMBERS)
moments = st.datetimes(timezones=st.none() | st.just(ZONE)) | st.dates()
# What means something, and what nearly does:
words = st.sampled_from(
    [
        *(*CATEGORIES, *DATES, '', ' ', 'nan', 'NaN', 'NAN', 'None', '<NA>'),
        *('true', 'TRUE', 'False', ' a ', '\ta\n', '\x1fa', '3.0', '03', '+3'),
        *('1e-1', '1E-01', '1e5', '1_000', '.5', '5.', '0x10', '-0', '-0.00'),
        *(
            '0.100000001490116119',
            '1e400',
            '-inf',
            'infinity',
            '\u0661',
            '\x00',
        ),
        *(
            'a|b',
            'b||a',
            '|',
            'a, b',
            'a|zzz|3.0',
            '3\x00',
            '\ud800',
            '1e',
            '-',
        ),
        *(
            '2020-01-31T12:30:00.50',
            '2020-01-31 12:30:00.5+05:30',
            '2020-13-31',
        ),
        *('2020-01-31 24:00', '2020-01-31 12:30+05', '2020-01-31T00:00:00Z'),
    ]
)
texts = (
    words
    | st.text(max_size=6)
    | floats.map(repr)
    | floats.map(lambda x: f'{x:.4f}')
    | st.integers().map(str)
    | moments.map(str)
    | moments.map(lambda x: x.isoformat())
)
numpy_scalars = st.one_of(
    st.integers(-128, 127).map(np.int8),
    st.integers(0, 2**64 - 1).map(np.uint64),
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(np.float16),
    st.floats().map(np.float64),
    st.booleans().map(np.bool_),
    st.integers(-(2**60), 2**60).map(lambda x: np.datetime64(x, 'ns')),
    st.integers(-(10**6), 10**6).map(lambda x: np.datetime64(x, 'h')),
    st.just(np.datetime64('NaT')),
)
scalars = st.one_of(
    texts,
    floats,
    st.integers(),
    st.sampled_from([2**53, -(2**63), 2**64, 10**30]),
    st.sampled_from([400, 5000]).map(lambda x: 10**x),
    st.integers(-(2**60), 2**60).map(float),
    st.booleans(),
    numpy_scalars,
    moments,
    st.decimals(allow_nan=False, min_value=-1000, max_value=1000),
    st.sampled_from(
        [
            *(
                None,
                pd.NA,
                pd.NaT,
                float('nan'),
                Decimal('nan'),
                Decimal('inf'),
            ),
            *(b'a', 1j, uuid.UUID(int=1), datetime.time(1, 2), object, {}),
            *(pd.Timestamp(1), pd.Timedelta(1), pd.Period('2020-01', 'M')),
            *(
                pd.Interval(0, 1),
                complex('nan'),
                np.array(1.0),
                np.float64(0.1),
            ),
        ]
    ),
)
lists = st.lists(scalars, max_size=4)
entries = st.one_of(
    scalars,
    lists,
    lists.map(tuple),
    st.lists(floats, min_size=2, max_size=2),
    st.lists(floats, min_size=2, max_size=2).map(np.array),
    st.lists(st.floats(width=32), max_size=2).map(np.float32),
    st.sets(words, max_size=3),
    st.just([[1.0], [2.0, 3.0]]),
)


def of_table(name, value):
    column = pd.Series([None], name='x', dtype=object)
    column.array[0] = value
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            table = ENCODERS[name].transform(column.to_frame())
        except DataError as error:
            return None, str(error)
    return (table.slot_index[0].tolist(), table.slot_value[0].tolist()), ''


def of_row(name, value):
    try:
        ids, values = SERVED[name].one(value)
    except EntryError as error:
        return None, str(error)
    return ([*ids], np.float32(values).tolist()), ''


def check(name, value):
    expected, why = of_table(name, value)
    found, what = of_row(name, value)
    assert found == expected, (what, why)


@pytest.mark.parametrize('name', FIELDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(value=entries)
def test_entries(name, value):
    check(name, value)


@pytest.mark.slow
@pytest.mark.parametrize('name', FIELDS)
@settings(max_examples=1500, deadline=None)
@given(value=entries)
def test_many_entries(name, value):
    check(name, value)

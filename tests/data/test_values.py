import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.data.texts import to_texts
from pyg_featgraph.data.values import shorten, to_numbers
from pyg_featgraph.errors import DataError

ZONE = datetime.timezone(datetime.timedelta(hours=2))
OLD_ZONE = datetime.timezone(datetime.timedelta(minutes=53, seconds=28))


def column(*values, dtype=object):
    index = range(5, 5 + len(values))
    return pd.Series(values, index, object, 'x').astype(dtype)


def text(value, dtype=object):
    codes, keys = to_texts(column(value, dtype=dtype))
    return None if codes[0] < 0 else keys[codes[0]]


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        *((x, None) for x in (None, np.nan, pd.NA, pd.NaT, '', ' ', 'nan')),
        *((x, '3') for x in (3, 3.0, '3', '3.0', ' 3.00', Decimal('3.0'))),
        *((x, x) for x in ('03', '+3', '3.', '.5', '1e5', '12E34', '1_0')),
        *((x, '0') for x in (0, -0.0, '-0', '-0.00', False, 'false', 'FALSE')),
        *((x, '1') for x in (True, np.True_, 1, 'True', 'true', 'TRUE')),
        *((x, '0.1') for x in (0.1, np.float32(0.1), '0.10', '1e-01', '1E-01')),
        *((x, '0.1') for x in (float(np.float32(0.1)), '0.100000001490116119')),
        *((x, '0.123456789012') for x in (0.123456789012, '0.1234567890120')),
        *((x, '0.00001') for x in (1e-5, '1e-05', '0.00001', Decimal('1E-5'))),
        *(
            (x, '10000000000')
            for x in (1e10, 10**10, '1e+10', np.float32(1e10))
        ),
        *((x, 'inf') for x in (np.inf, 'inf', Decimal('inf'))),
        (2**70, str(2**70)),
        ('1e+400', '1' + 400 * '0'),
        (datetime.date(2020, 1, 31), '2020-01-31'),
        (datetime.datetime(2020, 1, 31), '2020-01-31'),
        (pd.Timestamp('2020-01-31 12:30:00.50'), '2020-01-31 12:30:00.5'),
        (np.datetime64('2020-01-31T01', 'h'), '2020-01-31 01:00:00'),
        (pd.Timestamp(1), '1970-01-01 00:00:00.000000001'),
        ('2020-01-31T00:00:00.000', '2020-01-31'),
        ('2020-01-31T00:00:00Z', '2020-01-31 00:00:00+00:00'),
        ('2020-01-31 02:00:00.5+0200', '2020-01-31 00:00:00.5+00:00'),
        (
            datetime.datetime(2020, 1, 31, 1, tzinfo=ZONE),
            '2020-01-30 23:00:00+00:00',
        ),
        (
            datetime.datetime(1880, 1, 1, 1, tzinfo=OLD_ZONE),
            '1880-01-01 00:06:32+00:00',
        ),
        ('2020-13-31 00:00:00Z', '2020-13-31 00:00:00Z'),
        ('2020-01-31 99', '2020-01-31 99'),
        (pd.Period('2020-01', 'M'), '2020-01'),
        (pd.Interval(0, 1), '(0, 1]'),
        (datetime.time(1, 2), '01:02:00'),
        ('\ta b\n', 'a b'),
    ],
    ids=str,
)
def test_texts(value, expected):
    assert text(value) == expected
    # Also among entries of other types:
    codes, keys = to_texts(column('a', value, 7, None))
    found = None if codes[1] < 0 else keys[codes[1]]
    assert found == expected
    assert keys[codes[0]] == 'a'


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        (b'a', 'is a bytes, which has no text'),
        ((1, 2), 'is a tuple, which has no text'),
        (pd.Timedelta(1), 'is a Timedelta, which has no text'),
        (1j, 'is a complex, which has no text'),
        ([1], r'\[1\] is not a single value'),
        ({'a': 1}, 'is not a single value'),
        (np.ones(2), 'is not a single value'),
        ('\ud800', 'is no valid Unicode'),
        (datetime.datetime.min.replace(tzinfo=ZONE), 'has no time in UTC'),
        (10**5000, 'an entry of type int has too many digits'),
        (2.0**53, 'too large to be told from its neighbours'),
    ],
    ids=lambda x: type(x).__name__,
)
def test_no_text(value, message):
    with pytest.raises(DataError, match=rf"'x', row 6: .*{message}.*1 such of"):
        to_texts(column('a', value))


def test_single_precision_holds_fewer_integers():
    with pytest.raises(DataError, match='too large to be told'):
        to_texts(column(2**24, dtype=np.float32))
    assert text(2**24 - 1, np.float32) == '16777215'
    with pytest.raises(DataError, match='half precision is too coarse'):
        to_texts(column(0.1, dtype=np.float16))


@pytest.mark.parametrize(
    'values',
    [
        ('3.1', '3.10'),
        ('1', 'True'),
        ('false', 0),
        (0.1, float(np.float32(0.1))),
    ],
)
def test_what_cannot_be_told_apart(values):
    schema = FieldSchema((Field('x', 'categorical'),))
    df = column(*values).to_frame()
    with pytest.raises(DataError, match=r"'x'.* cannot be told apart.* alike"):
        FieldEncoder(schema).fit(df)
    # Either alone is fine, and the other one is then the same:
    encoder = FieldEncoder(schema).fit(df[:1])
    assert encoder.transform(df).slot_index.tolist() == [[2], [2]]


def test_what_means_the_same():
    same = [1, True, '1', 1.0, '1.0', ' 1', Decimal('1.00'), '1.000']
    codes, keys = to_texts(column(*same), strict=True)
    assert keys.tolist() == ['1']
    assert not codes.any()


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (
            [1, '2', ' 3.50 ', True, 'False', Decimal('.5')],
            [1, 2, 3.5, 1, 0, 0.5],
        ),
        ([None, '', 'nan', pd.NA, 1e-3], [np.nan] * 4 + [0.001]),
        ([np.float32(0.1), '0.1', 0.1], [0.1] * 3),
        (['1e5', '+3', '007'], [1e5, 3, 7]),
    ],
)
def test_numbers(values, expected):
    np.testing.assert_array_equal(to_numbers(column(*values)), expected)


@pytest.mark.parametrize(
    'value',
    [
        *('old', '1_0', 'NAN', '\uff11', '0x10', b'3', 1j, [1], {}),
        *(pd.Timestamp(0), pd.Timedelta(0), 10**5000),
    ],
    ids=lambda x: type(x).__name__,
)
def test_no_number(value):
    with pytest.raises(DataError, match=r"'x', row 7: .* is not a number"):
        to_numbers(column(1.0, '2', value))


@pytest.mark.parametrize(
    'value', [np.inf, '-inf', 1e39, '1e39', -1e300, '1e400']
)
def test_numbers_beyond_single_precision(value):
    for transform in ('standard', 'log1p', 'log_square', 'quantile'):
        schema = FieldSchema((Field('x', 'numeric', transform=transform),))
        df = column(1.0, 2.0, 3e38).to_frame()
        encoder = FieldEncoder(schema).fit(df)
        assert encoder.transform(df).slot_value.isfinite().all()
        df = column(1.0, value).to_frame()
        with pytest.raises(DataError, match=r'row 6.* not finite in single'):
            encoder.transform(df)


def test_far_from_the_training_rows():
    schema = FieldSchema((Field('x', 'numeric', transform='standard'),))
    encoder = FieldEncoder(schema).fit(column(1.0, 1.0001).to_frame())
    with pytest.raises(DataError, match=r'row 5: 1e\+37 is too far from'):
        encoder.transform(column(1e37).to_frame())


def test_columns_that_are_no_numbers():
    for values in ([np.datetime64('NaT', 'ns')], [1 + 0j]):
        with pytest.raises(DataError, match=r"'x' holds .* no number; turn"):
            to_numbers(pd.Series(values, name='x'))


def test_the_shortest_decimal_number():
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-30, 6, 20_000)
    single = (rng.normal(size=20_000) * scale).astype(np.float32)
    expected = [float(str(x)) for x in single]
    np.testing.assert_array_equal(shorten(single.astype(float)), expected)
    double = rng.normal(size=1000)
    np.testing.assert_array_equal(shorten(double), double)


def test_columns():
    df = pd.DataFrame([[1, 2, 0], [3, 4, 1]], columns=['a', 'a', 'y'])
    for make in (
        lambda: FieldSchema.infer(df, 'y'),
        lambda: FieldEncoder(FieldSchema((Field('a', 'numeric'),))).fit(df),
    ):
        with pytest.raises(DataError, match=r"distinct \(got.*'a', 'a', 'y'"):
            make()
    df.columns = ['y', 'a', 'y']
    encoder = FieldEncoder(FieldSchema((Field('a', 'numeric'),), 'y'))
    with pytest.raises(DataError, match='must be distinct'):
        encoder.fit(df)
    with pytest.raises(DataError, match=r'got list\)'):
        encoder.fit([1])


@pytest.mark.parametrize('kind', ['numeric', 'multi', 'vector'])
def test_save_without_vocabulary(kind, tmp_path):
    values = [1.0, 2.0] if kind == 'numeric' else [[1.0], [2.0]]
    df = pd.DataFrame({'x': values})
    encoder = FieldEncoder(FieldSchema((Field('x', kind, 9),))).fit(df)
    encoder.save(tmp_path / 'x')
    again = FieldEncoder.load(tmp_path / 'x').transform(df)
    assert torch.equal(again.slot_value, encoder.transform(df).slot_value)


@pytest.mark.parametrize(
    'value',
    [np.ones((2, 2)), [[1.0, 2.0]], [[1.0], [2.0, 3.0]], 1.0, {'a': 1}, []],
    ids=str,
)
def test_no_vector(value):
    df = pd.DataFrame({'x': [[1.0, 2.0], None]})
    encoder = FieldEncoder(FieldSchema((Field('x', 'vector'),))).fit(df)
    df.at[1, 'x'] = value
    with pytest.raises(DataError, match=r"(?s)'x', row 1: .* no vector of 2"):
        encoder.transform(df)


def test_vectors_of_complex_numbers():
    df = pd.DataFrame({'x': [np.array([1j, 2])]})
    with pytest.raises(DataError, match=r"'x' holds vectors.*complex"):
        FieldEncoder(FieldSchema((Field('x', 'vector'),))).fit(df)

"""The same entries in other clothes: training and serving must agree."""

import datetime
import os
import pickle
import random
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.data import Field, FieldEncoder, FieldSchema
from pyg_featgraph.datasets.reader import read_text
from pyg_featgraph.datasets.text import BadLines, TextFormat

WHOLE = [3, 0, -4, 17, 1, 2**20, None, 3]
LARGE = [2**53 - 1, -(2**40), 1234567890123, 5, None, 5]
TRUTH = [True, False, None, True]
FRACTIONS = [0.1, 0.7, -2.5, 3.0, 1e-5, 123.456, 0.1, None, 1e-20, 2.5e6]
TEXTS = ['a', 'b c', 'ö', '007', '1e5', '12e34', 'none', '+3', None, 'a']
HASHES = ['68fd1e64', '12345e67', '123450e66', '1', None, '1']
DAYS = ['2020-01-31', '1999-12-01', '2020-02-29', None, '2020-01-31']
TIMES = ['2020-01-31 12:30:00', '2020-01-31', '2021-07-01 00:00:01.25', None]
ZONED = ['2020-01-31 12:30:00+00:00', '2020-07-01 00:00:00+00:00', None]


def as_type(dtype):
    return lambda values: pd.Series(values, dtype=dtype)


def as_objects(convert):
    def make(values):
        values = [None if x is None else convert(x) for x in values]
        return pd.Series(values, dtype=object)

    return make


def as_texts(convert=str, dtype='str'):
    return lambda values: as_objects(convert)(values).astype(dtype)


def as_times(dtype):
    def make(values):
        times = pd.to_datetime(pd.Series(values), format='ISO8601')
        return times.astype(dtype)

    return make


def as_categories(make):
    return lambda values: make(values).astype('category')


def arrow(type_):
    return as_type(pd.ArrowDtype(type_))


NUMBERS = {
    'object': as_type(object),
    'float64': as_type(np.float64),
    'Float64': as_type('Float64'),
    'texts': as_texts(),
    'objects of texts': as_objects(str),
    'texts with spaces': as_texts(lambda x: f' {x} '),
    'categories': as_categories(as_type(np.float64)),
    'categories of texts': as_categories(as_texts()),
    'decimals': as_objects(lambda x: Decimal(repr(x))),
    'arrow float': arrow(pa.float64()),
    'NumPy': as_objects(np.float64),
}
INTEGERS = NUMBERS | {
    'Int64': as_type('Int64'),
    'arrow int': arrow(pa.int64()),
    'with a fraction': as_texts(lambda x: f'{x}.0'),
    'categories of integers': as_categories(as_type('Int64')),
}
SMALL = INTEGERS | {
    'float32': as_type(np.float32),
    'Float32': as_type('Float32'),
    'Int32': as_type('Int32'),
}
SINGLE = {
    'float32': as_type(np.float32),
    'Float32': as_type('Float32'),
    'arrow float32': arrow(pa.float32()),
    'objects of float32': as_objects(np.float32),
    # As single rows of a frame of several types are:
    'from float32': lambda x: as_type(np.float32)(x).astype(np.float64),
    'more digits': as_texts(lambda x: f'{x:.30f}'[:25].ljust(25, '0')),
}
WORDS = {
    'object': as_type(object),
    'str': as_type('str'),
    'string': as_type('string'),
    'arrow': arrow(pa.string()),
    'arrow dictionary': arrow(pa.dictionary(pa.int8(), pa.string())),
    'categories': as_type('category'),
    'with spaces': as_texts(lambda x: f'\t{x} '),
}
MOMENTS = WORDS | {
    'ns': as_times('datetime64[ns]'),
    'us': as_times('datetime64[us]'),
    'ms': as_times('datetime64[ms]'),
    'Timestamp': as_objects(pd.Timestamp),
    'datetime': as_objects(datetime.datetime.fromisoformat),
    'NumPy': as_objects(np.datetime64),
    'categories of times': as_categories(as_times('datetime64[ns]')),
    'with a T': as_texts(lambda x: x.replace(' ', 'T')),
    'arrow time': lambda x: arrow(pa.timestamp('us'))(
        as_objects(pd.Timestamp)(x)
    ),
}
DATES = MOMENTS | {
    's': as_times('datetime64[s]'),
    'date': as_objects(datetime.date.fromisoformat),
    'at midnight': as_texts(lambda x: f'{x} 00:00:00'),
    'arrow date': lambda x: arrow(pa.date32())(
        as_objects(datetime.date.fromisoformat)(x)
    ),
}
INSTANTS = WORDS | {
    'UTC': as_times('datetime64[ns, UTC]'),
    'Tokyo': as_times('datetime64[us, Asia/Tokyo]'),
    'Timestamp': as_objects(pd.Timestamp),
    'datetime': as_objects(datetime.datetime.fromisoformat),
    'as a Z': as_texts(lambda x: x.replace(' ', 'T').replace('+00:00', 'Z')),
}
LOGICAL = SMALL | {
    'boolean': as_type('boolean'),
    'arrow bool': arrow(pa.bool_()),
    'integers': as_objects(int),
    'lower case': as_texts(lambda x: str(x).lower()),
    'upper case': as_texts(lambda x: str(x).upper()),
    'NumPy': as_objects(np.bool_),
    'decimals': as_objects(lambda x: Decimal(int(x))),
    'with a fraction': as_texts(lambda x: f'{int(x)}.0'),
}
POOLS = {
    'whole': (WHOLE, SMALL),
    'large': (LARGE, INTEGERS),
    'truth': (TRUTH, LOGICAL),
    'fractions': (FRACTIONS[:-2], NUMBERS | SINGLE),
    'small fractions': (FRACTIONS, NUMBERS),
    'texts': (TEXTS, WORDS),
    'hashes': (HASHES, WORDS),
    'days': (DAYS, DATES),
    'times': (TIMES, MOMENTS),
    'instants': (ZONED, INSTANTS),
}
FIELDS = {
    'categorical': {'kind': 'categorical'},
    'standard': {'kind': 'numeric', 'transform': 'standard'},
    'log1p': {'kind': 'numeric', 'transform': 'log1p'},
    'log_square': {'kind': 'numeric', 'transform': 'log_square'},
    'auto': {'kind': 'numeric'},
    'quantile': {'kind': 'numeric', 'bins': (3,)},
    'interpolated': {'kind': 'numeric', 'bins': (3,), 'interpolate': True},
    'equal_width': {'kind': 'numeric', 'transform': 'equal_width'},
}
CASES = [
    (pool, field)
    for pool in POOLS
    for field in FIELDS
    if field == 'categorical'
    or pool in ('whole', 'large', 'truth', 'fractions', 'small fractions')
]


# A few of the types for each case, and all of them:
SHARES = [2, pytest.param(None, marks=pytest.mark.slow)]


def some(types, share, case):
    names = sorted(types)
    return random.Random(case).sample(names, share) if share else names


def encoded(encoder, column):
    table = encoder.transform(column.to_frame('x'))
    return table.slot_index, table.slot_value


def agree(one, two):
    return all(map(torch.equal, one, two))


def from_file(column, folder):
    """The entries as the reader of text files returns them."""
    path = folder / 'x.csv'
    lines = ['' if pd.isna(x) else str(x) for x in column.astype(object)]
    path.write_text('\n'.join(f'{x},0' for x in lines) + '\n')
    parts = read_text(path, TextFormat(('x', 'y'), (), 'y'), BadLines())
    return pd.concat(parts, ignore_index=True)['x']


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize(('pool', 'field'), CASES)
def test_every_type_gives_the_same_ids(pool, field, share, tmp_path):
    values, types = POOLS[pool]
    columns = {name: make(values) for name, make in types.items()}
    columns['file'] = from_file(columns['object'], tmp_path)
    for name in some(columns, share, pool + field):
        column = columns[name]
        schema = FieldSchema((Field('x', **FIELDS[field]),))
        encoder = FieldEncoder(schema).fit(column.to_frame('x'))
        expected = encoded(encoder, column)
        if field == 'categorical':
            # Entries that differ have ids that differ, none is "rare":
            distinct = set(zip(values, expected[0].flatten(), strict=True))
            assert len({*map(int, expected[0])} - {1}) == len({*values})
            assert len({(x, int(i)) for x, i in distinct}) == len({*values})
        for other, entries in columns.items():
            assert agree(encoded(encoder, entries), expected), (name, other)


@pytest.mark.parametrize('share', SHARES)
@pytest.mark.parametrize(('pool', 'field'), CASES)
def test_one_row_or_many(pool, field, share, tmp_path):
    values, types = POOLS[pool]
    for name in some(types, share, field + pool):
        df = types[name](values).to_frame('x')
        # A row of a frame of several types is one of objects:
        df['other'] = 'text'
        schema = FieldSchema((Field('x', **FIELDS[field]),))
        encoder = FieldEncoder(schema).fit(df)
        encoder.save(tmp_path / 'encoder')
        loaded = FieldEncoder.load(tmp_path / 'encoder')
        expected = encoded(encoder, df['x'])
        for i in range(len(df)):
            for row in (
                df[i : i + 1],
                pd.DataFrame([df.iloc[i]]),
                pd.DataFrame([df.iloc[i].to_dict()]),
            ):
                found = encoded(loaded, row['x'])
                assert agree(found, [x[i : i + 1] for x in expected]), name


def test_lists_in_any_type(tmp_path):
    lists = [['b', 'a', '3.0'], ['a'], [], None, ['nan', 'b', '']]
    texts = [None if x is None else '|'.join(x) for x in lists]
    forms = [
        pd.Series(lists, dtype=object),
        pd.Series([x and tuple(x) for x in lists], dtype=object),
        pd.Series([x if x is None else np.array(x, object) for x in lists]),
        pd.Series(lists, dtype=pd.ArrowDtype(pa.list_(pa.string()))),
        *(pd.Series(texts, dtype=d) for d in (object, 'str', 'category')),
        pd.Series([texts[0], *lists[1:]], dtype=object),
        pd.Series([['b', 'a', 3], ['a'], [], None, [None, 'b', np.nan]]),
    ]
    schema = FieldSchema((Field('x', 'multi'),))
    for fitted in forms:
        encoder = FieldEncoder(schema).fit(fitted.to_frame('x'))
        encoder.save(tmp_path / 'encoder')
        encoder = FieldEncoder.load(tmp_path / 'encoder')
        ids, value = encoded(encoder, forms[0])
        assert ids.tolist() == [
            [3, 2, 4],
            [2, 0, 0],
            *2 * [[0, 0, 0]],
            [3, 0, 0],
        ]
        for column in forms:
            assert agree(encoded(encoder, column), (ids, value))
            for i in range(5):
                row = encoded(encoder, column[i : i + 1])
                assert agree(row, (ids[i : i + 1], value[i : i + 1]))


OTHER = """
import pickle, sys
for path, kind, frame in pickle.load(open(sys.argv[1], 'rb')):
    if kind == 'crosses':
        from pyg_featgraph.crossing import CrossFeatures
        out = CrossFeatures.load(path).transform(frame)
    else:
        from pyg_featgraph.data import FieldEncoder
        table = FieldEncoder.load(path).transform(frame)
        out = table.slot_index.numpy(), table.slot_value.numpy()
    pickle.dump(out, sys.stdout.buffer)
"""


def test_another_process(tmp_path):
    sets = [{*'pqrs'}, {*'abcdefghijklmnop'}, {'t'}, set()]
    frame = pd.DataFrame({'x': sets, 'a': WHOLE[:4], 'b': TEXTS[:4]})
    schema = FieldSchema.infer(frame, kind='categorical').replace(
        'x', kind='multi'
    )
    encoder = FieldEncoder(schema).fit(frame)
    crosses = CrossFeatures([('a', 'b'), ('b',)], min_count=1).fit(frame)
    jobs = []
    for kind, fitted in (('encoder', encoder), ('crosses', crosses)):
        fitted.save(tmp_path / kind)
        jobs.append((tmp_path / kind, kind, frame))
    (tmp_path / 'jobs').write_bytes(pickle.dumps(jobs))
    command = [sys.executable, '-c', OTHER, str(tmp_path / 'jobs')]
    # Sets of texts have another order there:
    env = {**os.environ, 'PYTHONHASHSEED': str(hash('a') % 1000)}
    out = subprocess.run(
        command, capture_output=True, check=True, env=env
    ).stdout
    with open(tmp_path / 'out', 'w+b') as file:
        file.write(out)
        file.seek(0)
        ids, value = pickle.load(file)
        table = encoder.transform(frame)
        assert (ids == table.slot_index.numpy()).all()
        assert (value == table.slot_value.numpy()).all()
        pd.testing.assert_frame_equal(
            pickle.load(file), crosses.transform(frame)
        )


def test_crosses_in_any_type():
    make = POOLS['whole'][1]
    frames = [
        pd.DataFrame({'a': POOLS['whole'][1][name](WHOLE), 'b': TEXTS[:8]})
        for name in make
    ]
    schema = FieldSchema.infer(frames[0], kind='categorical')
    for fitted in frames:
        crosses = CrossFeatures([('a', 'b')], min_count=1, schema=schema)
        expected = crosses.fit_transform(fitted)
        assert expected.squeeze().nunique() == 8
        for frame in frames:
            pd.testing.assert_frame_equal(crosses.transform(frame), expected)

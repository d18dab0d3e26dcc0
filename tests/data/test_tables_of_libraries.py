"""Tables of any library become the same data frame, with the same ids."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
import torch
from torch_frame import TensorFrame, stype
from torch_frame.data import Dataset

from pyg_featgraph.data import Field, FieldEncoder, FieldSchema, to_frame
from pyg_featgraph.errors import DataError

BERLIN = dt.timezone(dt.timedelta(hours=2))
DAYS = [dt.date(2020, 1, 31), None, dt.date(2021, 5, 2)]
TIMES = [
    dt.datetime(2020, 1, 31, 23, 30, tzinfo=BERLIN),
    None,
    dt.datetime(2021, 5, 2, 4, tzinfo=BERLIN),
]
COLUMNS = {
    'number': [1.5, None, -2.25],
    'integer': [3, 4, 3],
    'identifier': [2**60 + 1, None, 2**60],
    'truth': [True, None, False],
    'text': ['a', None, ' b'],
    'day': DAYS,
    'time': TIMES,
    'tags': [['x', 'y'], None, []],
    'codes': [[1, 2], [2**60 + 1, 3], None],
    'vector': [[0.5, 1.5], [2.0, 3.0], [1.0, 1.0]],
}
KINDS = dict.fromkeys(COLUMNS, 'categorical') | {
    'number': 'numeric',
    'tags': 'multi',
    'codes': 'multi',
    'vector': 'vector',
}
SCHEMA = FieldSchema(
    (
        *(Field(name, kind) for name, kind in KINDS.items()),
        Field('time.hour', 'numeric', column='time', part='hour'),
    )
)


def arrow():
    # Arrow has times of a zone, polars too, and lists of Python may:
    zone = pa.timestamp('us', 'Europe/Berlin')
    columns = {x: COLUMNS[x] for x in COLUMNS if x != 'time'}
    times = pa.array([t and t.astimezone(dt.UTC) for t in TIMES], zone)
    return pa.table({**columns, 'time': times}).select([*COLUMNS])


def pandas():
    frame = pd.DataFrame(
        {x: pd.Series(COLUMNS[x], dtype=object) for x in COLUMNS}
    )
    return frame.astype(
        {'identifier': 'Int64', 'integer': 'int32', 'truth': 'boolean'}
    )


TABLES = {
    'pandas with PyArrow': lambda: arrow().to_pandas(
        types_mapper=pd.ArrowDtype
    ),
    'pyarrow': arrow,
    'a batch': lambda: arrow().combine_chunks().to_batches()[0],
    'polars': lambda: pl.from_arrow(arrow()),
    'a lazy table': lambda: pl.from_arrow(arrow()).lazy(),
    'rows': lambda: [
        {x: COLUMNS[x][i] for x in COLUMNS if COLUMNS[x][i] is not None}
        for i in range(3)
    ],
    'columns': lambda: COLUMNS,
    'columns of arrays': lambda: {
        **COLUMNS,
        'integer': np.array([3, 4, 3]),
        'identifier': pa.array(COLUMNS['identifier']),
        'truth': pl.Series(COLUMNS['truth']),
        'text': pd.Series(COLUMNS['text']),
        'number': torch.tensor([1.5, np.nan, -2.25]),
    },
    'an array of objects': lambda: _array_of_objects(),
}


def _array_of_objects():
    array = np.empty((3, len(COLUMNS)), object)
    for j, column in enumerate(COLUMNS.values()):
        for i, value in enumerate(column):
            array[i, j] = value
    return array


@pytest.mark.parametrize('kind', TABLES)
def test_equal_ids(kind):
    expected = FieldEncoder(SCHEMA).fit_transform(pandas())
    frame = to_frame(TABLES[kind]())
    if kind == 'an array of objects':
        assert [*frame] == [f'x{i}' for i in range(len(COLUMNS))]
        frame = frame.set_axis([*COLUMNS], axis=1)
    assert {*frame} == {*COLUMNS}
    kinds = {x.name: x.kind for x in FieldSchema.infer(frame)}
    assert kinds == {x.name: x.kind for x in FieldSchema.infer(pandas())}
    found = FieldEncoder(SCHEMA).fit_transform(frame)
    assert found.info == expected.info
    assert torch.equal(found.slot_index, expected.slot_index)
    assert torch.equal(found.slot_value, expected.slot_value)


@pytest.mark.parametrize('seed', range(3))
def test_random_tables(seed):
    rng = np.random.default_rng(seed)
    rows = 200
    holes = rng.random((rows, 4)) < 0.2
    columns = [
        (rng.normal(size=rows) * 10.0 ** rng.integers(-3, 6)).tolist(),
        rng.integers(0, 2 ** rng.integers(2, 62), rows).tolist(),
        rng.choice(['a', '1', '2', 'x', ' x ', ''], rows).tolist(),
        rng.integers(0, 2, rows).astype(bool).tolist(),
    ]
    names = ['number', 'integer', 'text', 'truth']
    data = {
        name: [
            None if hole else x for x, hole in zip(column, empty, strict=True)
        ]
        for name, column, empty in zip(names, columns, holes.T, strict=True)
    }
    schema = FieldSchema(
        (
            Field('number', 'numeric', bins=(7,)),
            *(Field(name, 'categorical', 2) for name in names[1:]),
        )
    )
    polars = pl.DataFrame(data, strict=False)
    as_category = polars.with_columns(pl.col('text').cast(pl.Categorical))
    tables = [polars, as_category, polars.to_arrow(), data]
    found = [
        FieldEncoder(schema).fit_transform(to_frame(table)) for table in tables
    ]
    expected = FieldEncoder(schema).fit_transform(
        pd.DataFrame({x: pd.Series(data[x], dtype=object) for x in data})
    )
    for table in found:
        assert table.info == expected.info
        assert torch.equal(table.slot_index, expected.slot_index)


def test_data_frames_stay():
    frame = pd.DataFrame({'a': [1]}, index=['row'])
    assert to_frame(frame) is frame
    assert to_frame(pa.Table.from_pandas(frame)).equals(frame)


def test_complete_columns_keep_their_types():
    frame = to_frame(pl.DataFrame({'a': [1, 2], 'b': [True, False]}))
    assert frame.dtypes.tolist() == [np.int64, np.bool_]
    frame = to_frame({'a': [1, 2], 'b': (0.5, None)})
    assert frame.dtypes.tolist() == [np.int64, np.float64]


def test_arrays():
    frame = to_frame(np.array([[1, 2], [3, 4]], np.int8))
    assert frame.to_dict('list') == {'x0': [1, 3], 'x1': [2, 4]}
    assert {*frame.dtypes} == {np.dtype('int8')}
    pairs = np.array([(1, 'a'), (2, 'b')], [('n', 'i4'), ('t', 'U1')])
    assert to_frame(pairs).to_dict('list') == {'n': [1, 2], 't': ['a', 'b']}
    with pytest.raises(DataError, match=r'two dimensions.*\(2, 2, 2\)'):
        to_frame(np.zeros((2, 2, 2)))


def test_names():
    frame = pd.DataFrame([[1, 2]])
    assert [*to_frame(frame)] == ['0', '1']
    assert [*frame] == [0, 1]
    assert [*to_frame({2: [1], 'a': [3]})] == ['2', 'a']
    with pytest.raises(DataError, match=r"called \['0'\] as a text.*rename"):
        to_frame(frame.set_axis([0, '0'], axis=1))


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ('a,b', r'is a data frame.*got str\)'),
        ([1, 2], r'got list\)'),
        ([], r'got list\)'),
        (torch.ones(2, 2), r'got torch\.Tensor\)'),
        (pd.Series([1]), r'pandas\.\S*Series is no table'),
        (pl.Series([1]), r'polars\.\S*Series is no table'),
        ({'a': 1, 'b': 'two'}, r"columns of one length.*'a': 'int'"),
        ({'a': [1], 'b': [1, 2]}, r"'b': 'list'"),
        ({'a': 'two'}, "'two' is no column"),
    ],
)
def test_other_objects(table, message):
    with pytest.raises(DataError, match=message):
        to_frame(table)


def dataset():
    frame = pd.DataFrame(
        {
            'left out': [0, 0, 0],
            'age': [30.0, np.nan, 41.0],
            'job': [7, 7, 9],
            'genres': pd.Series(['a|b', None, 'b'], dtype=object),
            'when': ['31.01.2020 12:30', None, '01.02.2021 00:00'],
            'embedding': [[0.5, 1.0], [1.5, 2.0], [2.5, 3.0]],
            'y': [0, 1, 1],
        }
    )
    kinds = {
        'age': stype.numerical,
        'job': stype.categorical,
        'genres': stype.multicategorical,
        'when': stype.timestamp,
        'embedding': stype.embedding,
        'y': stype.categorical,
    }
    return Dataset(
        frame,
        kinds,
        target_col='y',
        col_to_sep='|',
        col_to_time_format='%d.%m.%Y %H:%M',
    )


WHEN = [pd.Timestamp('2020-01-31 12:30'), pd.NaT, pd.Timestamp('2021-02-01')]


def test_dataset():
    data = dataset()
    frame = to_frame(data)
    assert [*frame] == ['age', 'job', 'genres', 'when', 'embedding', 'y']
    assert frame['job'].dtype == 'category'
    assert frame['genres'].tolist()[::2] == [['a', 'b'], ['b']]
    assert frame['when'].tolist() == WHEN
    kinds = {x.name: x.kind for x in FieldSchema.infer(frame, 'y')}
    assert kinds['job'] == 'categorical'
    assert kinds['genres'] == 'multi'
    assert kinds['when.year'] == 'numeric'
    assert kinds['embedding'] == 'vector'


def test_tensor_frame():
    data = dataset().materialize()
    frame = to_frame(data.tensor_frame)
    assert {*frame} == {'age', 'job', 'genres', 'when', 'embedding'}
    assert frame['age'].isna().tolist() == [False, True, False]
    assert frame['job'].astype(int).tolist() == [0, 0, 1]
    assert [*map(type, frame['genres'])] == [list, type(None), list]
    assert [len(x) for x in frame['genres'].dropna()] == [2, 1]
    assert frame['when'].tolist() == WHEN
    np.testing.assert_array_equal(frame['embedding'][1], [1.5, 2.0])
    kinds = {x.name: x.kind for x in FieldSchema.infer(frame)}
    assert kinds['job'] == 'categorical'
    assert kinds['genres'] == 'multi'
    assert kinds['embedding'] == 'vector'
    assert 'when.hour' in kinds


def test_tensor_frame_of_tokens():
    tokens = TensorFrame(
        {stype.sequence_numerical: torch.zeros(2, 1)},
        {stype.sequence_numerical: ['words']},
    )
    with pytest.raises(DataError, match=r"'words'.*'sequence_numerical'"):
        to_frame(tokens)


@pytest.mark.data
@pytest.mark.filterwarnings('ignore:Columns are left out')
@pytest.mark.parametrize(
    ('name', 'label'),
    [('telco/telco.csv', 'Churn'), ('diamonds/diamonds.csv', 'price')],
)
def test_real_tables(real_data, name, label):
    path = real_data / name
    frames = [
        pd.read_csv(path),
        pl.read_csv(path),
        pl.scan_csv(path),
        pacsv.read_csv(path),
    ]
    schemas = [FieldSchema.infer(x, label, bins=(9,)) for x in frames]
    assert all(schema == schemas[0] for schema in schemas)
    encoder = FieldEncoder(schemas[0]).fit(frames[1])
    tables = [encoder.transform(x) for x in frames]
    for table in tables:
        assert torch.equal(table.slot_index, tables[0].slot_index)
        assert torch.equal(table.y, tables[0].y)

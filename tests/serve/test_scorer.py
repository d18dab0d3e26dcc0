"""Rows in any form, and folders that are not what they should be."""

import importlib.util
import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

import pyg_featgraph.serve.exporting as exporting
from pyg_featgraph.data import Field, FieldEncoder, FieldInfo, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import write_json
from pyg_featgraph.nn import LR, MulticlassHead
from pyg_featgraph.serve import Scorer, ServingError, export
from pyg_featgraph.training import predict

FRAME = pd.DataFrame(
    {
        'city': ['Oslo', 'Rome', 'Oslo', None, '7'],
        'age': [31.0, np.nan, 45.5, 60.0, 0.1],
        'count': [1, 2, 3, 1, 1],
        'tags': ['a|b', 'b', None, 'c|a|b', ''],
        'y': ['no', 'yes', 'no', 'yes', 'yes'],
    }
)
FIELDS = (
    Field('city', 'categorical'),
    Field('age', 'numeric', bins=(3,), interpolate=True),
    Field('count', 'numeric', transform='standard'),
    Field('tags', 'multi'),
)
ENCODER = FieldEncoder(FieldSchema(FIELDS, 'y')).fit(FRAME)
INDEX = ENCODER.transform(FRAME).slot_index.numpy()
VALUE = ENCODER.transform(FRAME).slot_value.numpy()
ROWS = FRAME.astype(object).where(FRAME.notna(), None).to_dict('records')


def make_model(head='binary'):
    model = LR(ENCODER.info, head=head)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return export(make_model(), ENCODER, tmp_path_factory.mktemp('a') / 'lr')


@pytest.fixture(scope='module')
def scorer(folder):
    return Scorer(folder)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / 'copied')


@pytest.mark.parametrize(
    'table',
    [
        FRAME,
        FRAME.convert_dtypes(),
        FRAME.astype({'city': 'category', 'age': 'float32', 'count': 'int8'}),
        FRAME[['tags', 'count', 'age', 'city']].set_index('city', drop=False),
        pl.from_pandas(FRAME),
        pa.Table.from_pandas(FRAME),
        ROWS,
        [{k: v for k, v in row.items() if v is not None} for row in ROWS],
        {name: FRAME[name].tolist() for name in FRAME},
        {name: FRAME[name].to_numpy() for name in FRAME},
        {**dict(FRAME), 'tags': [['a', 'b'], 'b', None, ('c', 'a', 'b'), []]},
    ],
    ids=lambda x: type(x).__name__,
)
def test_tables(table, scorer):
    index, value = scorer.encode(table)
    np.testing.assert_array_equal(index, INDEX)
    np.testing.assert_array_equal(value, VALUE)
    assert index.dtype == np.int64
    assert value.dtype == np.float32
    assert scorer.score(table).shape == (5,)


def test_a_row(scorer):
    for i, row in enumerate(ROWS):
        index, value = scorer.encode({**row, 'other': 1})
        np.testing.assert_array_equal(index, INDEX[i : i + 1])
        np.testing.assert_array_equal(value, VALUE[i : i + 1])
    # A list may be the entry of one field:
    row = {'city': 'Oslo', 'tags': ['a', 'b']}
    index, _ = scorer.encode(row)
    np.testing.assert_array_equal(index[0, -3:], INDEX[0, -3:])
    assert scorer.score(row).shape == ()
    assert scorer.score([]).shape == (0,)


def test_columns_of_numbers_as_one_by_one(scorer):
    rng = np.random.default_rng(0)
    for values in (
        rng.normal(size=500).astype(np.float32) * 50,
        [*rng.normal(50, 50, 500), None, 0.1, 2**70, True, float('nan'), 31.0],
        rng.integers(-100, 100, 50),
    ):
        rows = [{'age': x, 'count': x} for x in values]
        one_by_one = [scorer.encode(row) for row in rows]
        index, value = scorer.encode(rows)
        for found, parts in zip(
            (index, value), zip(*one_by_one, strict=True), strict=True
        ):
            np.testing.assert_array_equal(found, np.concatenate(parts))


def test_rows_go_in_parts(folder, scorer):
    parts = Scorer(folder, threads=2, batch_size=2)
    np.testing.assert_allclose(parts.score(ROWS), scorer.score(ROWS), atol=1e-6)
    assert parts.score([]).shape == (0,)


@pytest.mark.parametrize(
    ('rows', 'message'),
    [
        ({'age': 'old'}, r"^Column 'age', row 0: 'old' is not a number\. Corr"),
        ([{'age': 1}, {'age': np.inf}], r"'age', row 1: inf is not finite"),
        ([{'age': 1}, {'age': 10**5000}], 'row 1: an entry of type int is not'),
        (
            {'age': [1.0, 1e39], 'count': [1, 1], 'city': 'aa', 'tags': 'aa'},
            "'city' of a table is no list but a str",
        ),
        ([{'city': {}}], r"'city', row 0: \{\} is not a single value"),
        ([{'city': b'a'}], 'is a bytes, which has no text as a category'),
        ({'city': 2.0**60, 'tags': 'a'}, 'too large to be told'),
        ([{'tags': ['a', [1]]}], r"row 0: \['a', \[1\]\] is not a single"),
        (
            [{'count': 1e38}, {'count': -3e38}],
            r'row 1: -3e\+38 is too far from',
        ),
        ([{'city': 'a'}, ['Oslo']], 'Row 1 is no dictionary but a list'),
        (
            [{'city': 'a'}, {'town': 'a'}],
            r"Row 1 has none of the columns \['city'.*names are \['town'\]\)",
        ),
        ('Oslo', r'Rows are a dictionary, a list .* \(got str\)'),
        (
            FRAME[['city', 'age']],
            r"lacks the columns \['count', 'tags'\]; it has \['city', 'age'\]",
        ),
        (
            FRAME[['city', 'city', 'age', 'count', 'tags']],
            r"columns \['city'\] twice",
        ),
        (
            {**dict(FRAME), 'age': [1.0]},
            r"differ in length: \{'city': 5, 'age': 1",
        ),
        (
            FRAME.assign(city=np.float32(2**24)),
            r"'city', row 0: 16777216\.0 is too large",
        ),
        (
            FRAME.assign(city=FRAME['age'].astype(np.float16)),
            "'city': half precision",
        ),
        (
            FRAME.assign(age=np.datetime64('NaT', 'ns')),
            r"'age' holds datetime64.*no number",
        ),
    ],
    ids=lambda x: '' if isinstance(x, str) else type(x).__name__,
)
def test_wrong_rows(rows, message, scorer):
    with pytest.raises(ServingError, match=message):
        scorer.score(rows)


def test_what_a_folder_says(folder, scorer):
    manifest = json.loads((folder / 'manifest.json').read_text())
    assert manifest['classes'] == ['no', 'yes']
    assert (manifest['model'], manifest['head']) == ('LR', 'BinaryHead')
    assert manifest['inputs']['slot_index'] == ['int64', ['rows', 7]]
    assert sorted(manifest['files']) == [
        *('encoder.json', 'model.onnx', 'model.pt2'),
        *('scorer/__init__.py', 'scorer/codecs.py', 'scorer/crosses.py'),
        *('scorer/entries.py', 'scorer/scorer.py'),
    ]
    assert scorer.classes == ('no', 'yes')
    assert scorer.columns == ['city', 'age', 'count', 'tags']


@pytest.mark.parametrize(
    'name', ['encoder.json', 'model.onnx', 'manifest.json']
)
def test_damage(name, copied):
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    with pytest.raises(ServingError, match=f"{name}' is damaged.*another copy"):
        Scorer(copied)
    (copied / name).unlink()
    with pytest.raises(ServingError, match=f'{name}'):
        Scorer(copied)


def test_another_version(copied):
    manifest = json.loads((copied / 'manifest.json').read_text())
    del manifest['checksum']
    write_json(copied / 'manifest.json', {**manifest, 'version': 99})
    with pytest.raises(ServingError, match=r'has the version 99 .* reads 1'):
        Scorer(copied)


def test_formats(tmp_path):
    export(make_model(), ENCODER, tmp_path / 'a', formats=['pt2'])
    assert not (tmp_path / 'a' / 'model.onnx').exists()
    with pytest.raises(ServingError, match=r'holds no model\.onnx: export'):
        Scorer(tmp_path / 'a')
    for formats in ((), ('onnx', 'pickle')):
        with pytest.raises(ValueError, match=r"'formats' must be some of"):
            export(make_model(), ENCODER, tmp_path / 'b', formats)
    assert [x.name for x in tmp_path.iterdir()] == ['a']


def test_a_folder_takes_the_place_of_another(copied, monkeypatch):
    export(make_model(), ENCODER, copied, formats=['pt2'])
    assert not (copied / 'model.onnx').exists()
    before = (copied / 'model.pt2').read_bytes()

    def fail(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(exporting, '_copy_scorer', fail)
    with pytest.raises(OSError, match='what was there before stays'):
        export(make_model(), ENCODER, copied, formats=['pt2'])
    assert (copied / 'model.pt2').read_bytes() == before
    assert [x.name for x in copied.parent.iterdir()] == ['copied']


def test_no_place_for_a_folder(tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'thesis.tex').write_text('all of it')
    (tmp_path / 'file').write_text('')
    for name in ('mine', 'file'):
        with pytest.raises(FileExistsError, match=f"something else.*{name}'"):
            export(make_model(), ENCODER, tmp_path / name)
    with pytest.raises(FileNotFoundError, match='no such folder; make it'):
        export(make_model(), ENCODER, tmp_path / 'no' / 'folder')
    assert (tmp_path / 'mine' / 'thesis.tex').read_text() == 'all of it'


def test_what_does_not_go_together(tmp_path):
    info = FieldInfo(['city'], [5], [1], ['categorical'])
    with pytest.raises(DataError, match='has other fields than the model'):
        export(LR(info), ENCODER, tmp_path / 'a')
    with pytest.raises(DataError, match=r'tells 3 classes apart, but .* 2'):
        export(make_model(MulticlassHead(3)), ENCODER, tmp_path / 'a')


def test_weights_that_one_file_cannot_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, '_LARGEST_FILE', 10)
    model = make_model()
    scorer = Scorer(export(model, ENCODER, tmp_path / 'a', formats=['onnx']))
    assert 'model.onnx.data' in scorer.manifest['files']
    expected = predict(model, ENCODER.transform(FRAME))
    np.testing.assert_allclose(scorer.score(FRAME), expected, atol=1e-6)
    (tmp_path / 'a' / 'model.onnx.data').unlink()
    with pytest.raises(ServingError, match=r"onnx\.data' is missing"):
        Scorer(tmp_path / 'a')


def test_over_http(folder, scorer):
    path = Path(__file__).parents[2] / 'examples' / 'serve_http.py'
    spec = importlib.util.spec_from_file_location('serve_http', path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with (
        example.Server(example.make_app(folder)) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        health = client.get('/health').json()
        assert health['columns'] == ['city', 'age', 'count', 'tags']
        assert health['classes'] == ['no', 'yes']
        rows = [{k: v for k, v in row.items() if k != 'y'} for row in ROWS]
        answer = client.post('/score', json={'rows': rows})
        assert answer.status_code == 200
        expected = scorer.score(ROWS)
        np.testing.assert_allclose(answer.json()['scores'], expected, atol=1e-6)
        for body, message in (
            ({'rows': [{'age': 'old'}]}, "'age', row 0: 'old' is not a number"),
            ({'rows': [{'town': 'a'}]}, 'Row 0 has none of the columns'),
            ({'rows': []}, 'at least 1 item'),
            ({'rows': [1]}, 'valid dictionary'),
            ({}, 'Field required'),
        ):
            answer = client.post('/score', json=body)
            assert answer.status_code == 422
            assert message in json.dumps(answer.json())

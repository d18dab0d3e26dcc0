import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from pyg_featgraph.data import (
    Field,
    FieldCounts,
    FieldEncoder,
    FieldSchema,
    FieldTable,
    RowFiles,
    row_files,
    shards,
    streams,
    tallies,
)
from pyg_featgraph.data.texts import hash_texts
from pyg_featgraph.datasets import Criteo, PlantedInteractions
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.crosses import make_codec
from pyg_featgraph.serve.scorer.entries import hash_text


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(row_files, '_BLOCK_ROWS', 70)
    monkeypatch.setattr(row_files, '_BLOCK_BYTES', 4096)
    monkeypatch.setattr(shards, 'BLOCK_ROWS', 32)
    monkeypatch.setattr(shards, 'SHARD_ROWS', 128)
    monkeypatch.setattr(tallies, '_FEW', 100)


def make_frame(num_rows=1000, seed=0, users=150):
    rng = np.random.default_rng(seed)
    codes = rng.integers(1, users, num_rows) ** 2 // 50
    y = (rng.random(num_rows) < 0.2 + 0.5 * (codes % 3 == 0)).astype(int)
    texts = np.array(['a ', 'B', '3.0', '3', 'true', '', '007', 'é'])
    df = pd.DataFrame(
        {
            'user': [f'u{x}' for x in codes],
            'word': rng.choice(texts, num_rows),
            'code': pd.array(codes, 'Int64'),
            'tags': rng.choice(['x|y', 'z', None, 'y| x|w', '|'], num_rows),
            'price': rng.lognormal(size=num_rows).round(2),
            'clicks': pd.array(rng.poisson(2, num_rows), 'Int64'),
            'mark': rng.normal(size=num_rows),
            'when': pd.Timestamp('2024-03-01')
            + pd.to_timedelta(rng.integers(0, 10**7, num_rows), 's'),
            'weight': rng.random(num_rows),
            'y': y,
        }
    )
    df.loc[rng.random(num_rows) < 0.1, ['price', 'clicks', 'code']] = None
    return df


SCHEMA = FieldSchema(
    (
        Field('user', 'categorical', 4),
        Field('hashed', 'categorical', column='user', hash_size=40),
        Field('word', 'categorical', 2),
        Field('code', 'categorical', 3),
        Field('tags', 'multi', 2),
        Field('price', 'numeric'),  # 'auto'
        Field('tree', 'numeric', transform='tree', column='price'),
        Field('clicks', 'numeric', transform='log_square'),
        Field('mark', 'numeric', bins=(4, 16)),
        Field('curve', 'numeric', bins=(8,), interpolate=True, column='mark'),
        Field('scale', 'numeric', transform='standard', column='mark'),
        Field('hour', 'numeric', part='hour', bins=(6,), column='when'),
    ),
    'y',
    'weight',
)


def write(df, path):
    if path.suffix == '.parquet':
        df.to_parquet(path, row_group_size=111, index=False)
    elif path.suffix == '.arrow':
        table = pa.Table.from_pandas(df)
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, 333)
    else:
        sep = '\t' if 'tsv' in path.name else ','
        text = df.to_csv(index=False, sep=sep).encode()
        if path.suffix in ('.gz', '.zst'):
            kind = {'.gz': 'gzip', '.zst': 'zstd'}[path.suffix]
            with pa.CompressedOutputStream(str(path), kind) as file:
                file.write(text)
        else:
            path.write_bytes(text)


def same(one, other):
    assert one.info == other.info
    for name in ('slot_index', 'slot_value', 'y', 'sample_weight'):
        torch.testing.assert_close(
            getattr(one, name), getattr(other, name), rtol=0, atol=0
        )


@pytest.mark.parametrize(
    'name',
    ['t.csv', 't.csv.gz', 't.tsv.zst', 't.parquet', 't.arrow'],
)
def test_files_become_what_they_are_in_memory(name, tmp_path):
    train, test = make_frame(600), make_frame(300, seed=1, users=300)
    write(train, tmp_path / f'train_{name}')
    write(test, tmp_path / f'test_{name}')
    memory, files = FieldEncoder(SCHEMA).fit(train), FieldEncoder(SCHEMA)
    assert files.fit(str(tmp_path / f'train_{name}')) is files
    pd.testing.assert_frame_equal(files.report(), memory.report())
    for k, df in (('train', train), ('test', test)):
        found = files.transform(tmp_path / f'{k}_{name}', tmp_path / k)
        same(found, memory.transform(df))
        same(FieldTable.open(tmp_path / k), found)
        assert len([*(tmp_path / k).glob('*.arrow')]) == -(-len(df) // 128)
    unseen = memory.transform(test).slot_index[:, 0] == 1
    assert unseen.float().mean() > 0.1
    # And so does a table in memory that goes to a folder:
    same(memory.transform(train, tmp_path / 'train'), memory.transform(train))


def test_text_of_criteo(tmp_path):
    planted = PlantedInteractions(400, {2: 3})
    for i in (2, 10, 1):  # They are read as days 1, 2, 10.
        planted.write_criteo(tmp_path / f'day_{i}')
    data = Criteo(tmp_path)
    schema = data.schema(min_count=3)
    df = data.frame()
    memory = FieldEncoder(schema).fit(df)
    lines = (tmp_path / 'day_1').read_text().splitlines()
    assert lines[0].count('\t') == 39
    for source in (data, data.files()):
        encoder = FieldEncoder(schema).fit(source)
        folder = tmp_path / type(source).__name__
        same_without_weights(encoder.transform(source, folder), memory, df)
    assert [x.name for x in data.files().paths] == ['day_1', 'day_2', 'day_10']
    assert [x.name for x in data.files([10, 1]).paths] == ['day_1', 'day_10']
    with pytest.raises(DataError, match=r'no days \[3\] in .*\[1, 2, 10\]'):
        data.files([2, 3])


def same_without_weights(table, encoder, df):
    expected = encoder.transform(df)
    assert table.info == expected.info
    assert torch.equal(table.slot_index, expected.slot_index)
    assert torch.equal(table.slot_value, expected.slot_value)
    assert torch.equal(table.y, expected.y)


def test_rows_that_look_at_the_label_are_a_sample(tmp_path, monkeypatch):
    df = make_frame(2000)
    write(df, tmp_path / 't.parquet')
    monkeypatch.setattr(streams, 'SAMPLE_ROWS', 300)
    import pyg_featgraph.data.encoder as module

    monkeypatch.setattr(module, 'SAMPLE_ROWS', 300)
    counts = FieldEncoder(SCHEMA).count(tmp_path / 't.parquet')
    rows, labels = counts.rows
    assert len(rows) == len(labels) == 300
    assert [*rows.columns] == ['price']
    # From everywhere, each once:
    at = df['price'].dropna().drop_duplicates(keep=False)
    kept = at[at.isin(rows['price'])].index
    assert kept.min() < 200
    assert kept.max() > 1800
    again = FieldEncoder(SCHEMA).count(RowFiles(tmp_path / 't.parquet'))
    pd.testing.assert_frame_equal(again.rows[0], rows)
    # All others are counted exactly:
    exact = FieldEncoder(SCHEMA).fit(df)
    found = FieldEncoder(SCHEMA).learn(counts)
    for i in (0, 3, 4, 8, 9, 10):
        assert found.codecs[i].describe() == exact.codecs[i].describe()
    assert found.codecs[6].edges != exact.codecs[6].edges


def test_counts_of_parts_are_merged():
    df = make_frame(900).astype({'code': 'str'})
    whole = FieldEncoder(SCHEMA).fit(df)
    encoder = FieldEncoder(SCHEMA)
    counts = encoder.count(df[:100])
    for part in (df[100:450], df[450:]):
        counts.merge(encoder.count(part))
    same(encoder.learn(counts).transform(df), whole.transform(df))
    other = FieldSchema((Field('user', 'categorical'),))
    with pytest.raises(ValueError, match='different schemas'):
        counts.merge(FieldCounts(other))


def test_vectors_of_parts():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 2, (300, 3))
    df = pd.DataFrame({'v': [*x], 'w': 1.0})
    df.loc[4, 'v'] = None
    schema = FieldSchema((Field('v', 'vector'),))
    encoder = FieldEncoder(schema)
    counts = encoder.count(df[:4])
    for part in (df[4:5], df[5:100], df[100:]):
        counts.merge(encoder.count(part))
    encoder.learn(counts)
    known = np.delete(x, 4, axis=0)
    np.testing.assert_allclose(encoder.codecs[0].mean, known.mean(axis=0))
    np.testing.assert_allclose(encoder.codecs[0].std, known.std(axis=0))
    counts.merge(encoder.count(pd.DataFrame({'v': [None, None]})))
    assert encoder.learn(counts).codecs[0].missing == 3 / 302
    with pytest.raises(DataError, match='vectors of 3 and of 2 numbers'):
        counts.merge(encoder.count(pd.DataFrame({'v': [[1.0, 2.0]]})))


def test_too_many_numbers_are_rounded_whatever_their_order(monkeypatch):
    rng = np.random.default_rng(0)
    x = np.append(rng.normal(size=5000), [0.0, -0.0, 7.5] * 100)
    exact = tallies.NumberTally(Field('x', 'numeric', bins=(4,)))
    exact.add(pd.Series(x))
    np.testing.assert_array_equal(exact.counts()[0], np.unique(x))
    monkeypatch.setattr(tallies, 'MAX_NUMBERS', 1000)
    found = []
    for order in (np.arange(len(x)), rng.permutation(len(x))):
        parts = np.array_split(x[order], 7)
        tally, rest = (
            tallies.NumberTally(Field('x', 'numeric', bins=(4,)))
            for _ in range(2)
        )
        for part in parts[:4]:
            tally.add(pd.Series(part))
        for part in parts[4:]:
            rest.add(pd.Series(part))
        tally.merge(rest)
        found.append(tally.counts())
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    values, counts = found[0]
    assert 500 < len(values) <= 1000
    assert counts.sum() == len(x)
    assert counts[values == 0] == 200
    assert counts[values == 7.5] == 100
    nearest = values[np.abs(x[:, None] - values).argmin(axis=1)]
    assert (np.abs(nearest - x) <= 2**-4 * np.abs(x)).all()


@pytest.mark.parametrize('name', ['t.csv', 't.parquet'])
def test_wrong_rows_are_named(name, tmp_path):
    df = make_frame(300)
    df['price'] = df['price'].astype(object)
    df.loc[250, 'price'] = 'dear'
    df['price'] = df['price'].astype('str')
    write(df, tmp_path / name)
    encoder = FieldEncoder(SCHEMA)
    with pytest.raises(
        DataError, match=rf"'.*{name}': Column 'price', row 250: 'dear' is not"
    ):
        encoder.fit(tmp_path / name)
    encoder.fit(make_frame(300))
    with pytest.raises(DataError, match='row 250'):
        encoder.transform(tmp_path / name, tmp_path / 'out')
    assert sorted(x.name for x in tmp_path.iterdir()) == [name]


def test_wrong_files_are_named(tmp_path):
    encoder = FieldEncoder(SCHEMA)
    for paths, message in (
        ('nowhere', "no file or folder 'nowhere'"),
        (tmp_path, 'no files to read'),
    ):
        with pytest.raises(DataError, match=message):
            encoder.fit(paths)
    df = make_frame(300)
    write(df, tmp_path / 'a.csv')
    with pytest.raises(DataError, match='Files are encoded to a folder'):
        encoder.fit(df).transform(tmp_path / 'a.csv')
    with open(tmp_path / 'a.csv', 'a') as file:
        file.write('x,y\n')
    with pytest.raises(DataError, match=r"a\.csv' cannot be read.* got 2"):
        encoder.fit(tmp_path / 'a.csv')
    write(df.drop(columns='user'), tmp_path / 'a.csv')
    with pytest.raises(DataError, match=r"lacks the columns \['user'\]"):
        encoder.fit(tmp_path / 'a.csv')
    write(df, tmp_path / 'a.csv')
    write(df.drop(columns='y'), tmp_path / 'b.csv')
    with pytest.raises(DataError, match=r"Some files have the label 'y'"):
        encoder.fit(tmp_path)
    encoder.fit(df)
    with pytest.raises(DataError, match='Some files have labels'):
        encoder.transform(tmp_path, tmp_path / 'out')
    df['y'] = 1
    write(df, tmp_path / 'c.csv')
    with pytest.raises(DataError, match='all 300 labels are'):
        encoder.fit(tmp_path / 'c.csv')
    three = [tmp_path / f'{i}.csv' for i in range(3)]
    for i, path in enumerate(three):
        write(df.assign(y=i), path)
    with pytest.raises(DataError, match=r"labels are \['0', '1', '2'\], but"):
        encoder.fit(three)
    df[:0].to_csv(tmp_path / 'c.csv', index=False)
    with pytest.raises(DataError, match='no rows'):
        encoder.fit(tmp_path / 'c.csv')


def test_texts_that_look_different_in_different_blocks(tmp_path):
    texts = ['1.5'] * 2000 + ['1.50'] * 2000
    pd.DataFrame({'x': texts}).to_csv(tmp_path / 't.csv', index=False)
    encoder = FieldEncoder(FieldSchema((Field('x', 'categorical'),)))
    with pytest.raises(DataError, match=r"'1.5' and '1.50' cannot be told"):
        encoder.fit(tmp_path / 't.csv')


def test_files_of_a_folder(tmp_path):
    for name in ('b/2.csv', 'b/10.csv', 'a/3.csv', '_SUCCESS', '.x/1.csv'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'name,"of,what"\n{name},1\nNA,"2,3"\n')
    files = RowFiles(tmp_path)
    found = pd.concat(files.blocks())
    assert found['name'].dropna().tolist() == ['a/3.csv', 'b/2.csv', 'b/10.csv']
    assert found['of,what'].tolist() == ['1', '2,3'] * 3
    assert files.head(3)['of,what'].tolist() == ['1', '2,3', '1']
    assert [*next(files.blocks(['name', 'none'])).columns] == ['name']
    plain = RowFiles(
        tmp_path / 'b' / '2.csv', names=['a', 'b'], quoted=False, missing=['1']
    )
    (tmp_path / 'b' / '2.csv').write_text('"1;1\nNA;2\n')
    plain.delimiter = ';'
    expected = {'a': ['"1', 'NA'], 'b': [None, '2']}
    block = next(plain.blocks())
    assert (
        block.astype(object).where(block.notna(), None).to_dict('list')
        == expected
    )


def test_numbers_in_texts_are_those_of_python():
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 10, (3000, 25)).astype(str)
    texts = []
    for i, row in enumerate(digits):
        text = ''.join(row[: 1 + i % 24]).lstrip('0') or '0'
        cut = i % (len(text) + 1)
        text = f'{text[:cut] or "0"}.{text[cut:] or "0"}'
        texts.append(f'{"-" * (i % 2)}{text}e{i % 30 - 20}')
    from pyg_featgraph.data.values import shorten, to_numbers

    found = to_numbers(pd.Series(texts, dtype='str'))
    np.testing.assert_array_equal(found, shorten(np.array(texts, float)))
    for odd, value in (('nan', np.nan), (' 3 ', 3), ('True', 1), ('', np.nan)):
        column = pd.Series(['1.5', odd, None], dtype='str')
        np.testing.assert_array_equal(to_numbers(column), [1.5, value, np.nan])
    for odd in ('NAN', 'inf', '-nan', '1_0', '0x1', '٣'):
        with pytest.raises(DataError, match='row 1'):
            to_numbers(pd.Series(['1.5', odd], dtype='str'))


def test_hashed_fields(tmp_path):
    df = pd.DataFrame({'x': [f'k{i}' for i in range(5000)] + [None, '3', 'k1']})
    field = Field('x', 'categorical', hash_size=100)
    encoder = FieldEncoder(FieldSchema((field,))).fit(df)
    assert encoder.info.sizes == (102,)
    ids = encoder.transform(df).slot_index.ravel()
    assert ids[5000] == 0
    assert ids[-1] == ids[1]
    # About as even as chance makes it:
    count = np.bincount(ids[:5000], minlength=102)[2:]
    assert 50 < ((count - 50) ** 2 / 50).sum() < 160
    encoder.save(tmp_path / 'e.parquet')
    again = FieldEncoder.load(tmp_path / 'e.parquet')
    new = pd.DataFrame({'x': [3, 3.0, 'never seen', ' k1 ']})
    table = again.transform(new)
    assert torch.equal(table.slot_index, encoder.transform(new).slot_index)
    assert (table.slot_index[:2] == ids[-2]).all()
    assert table.slot_index[3] == ids[1]
    # Where a model is served, too:
    scorer = make_codec(again.codecs[0].describe(), 0)
    found = [scorer.one(x)[0][0] for x in new['x']]
    assert found == table.slot_index.ravel().tolist()
    assert scorer.one(None)[0] == [0]
    for options in (
        {'kind': 'categorical', 'min_count': 2},
        {'kind': 'numeric'},
        {'kind': 'categorical', 'hash_size': -3},
    ):
        with pytest.raises(ValueError, match="'hash_size' is a number of ids"):
            Field('x', **{'hash_size': 5, **options})


@pytest.mark.parametrize('dtype', ['str', object])
def test_hashed_texts_that_are_missing(dtype):
    df = pd.DataFrame({'x': ['a', ' nan ', '', None, 'NaN', 'None']})
    field = Field('x', 'categorical', hash_size=9)
    codec = FieldEncoder(FieldSchema((field,))).fit(df.astype(dtype)).codecs[0]
    assert codec.missing == 4 / 6
    assert (codec.encode(df['x'])[0].ravel() == 0).mean() == 4 / 6


def test_hashed_members_of_lists():
    df = pd.DataFrame({'x': ['a|b', 'c', None, 'a|nan|d']})
    field = Field('x', 'multi', hash_size=50)
    encoder = FieldEncoder(FieldSchema((field,))).fit(df)
    assert encoder.info.sizes == (52,)
    assert encoder.codecs[0].missing == 0.25
    table = encoder.transform(df)
    one = encoder.transform(pd.DataFrame({'x': ['a', 'b', 'd']})).slot_index
    assert table.slot_index[0].tolist() == [one[0, 0], one[1, 0]]
    assert table.slot_index[3].tolist() == [one[0, 0], one[2, 0]]
    scorer = make_codec(encoder.codecs[0].describe(), 0)
    for text, ids in zip(df['x'], table.slot_index.tolist(), strict=True):
        text = None if pd.isna(text) else text
        assert [*scorer.one(text)[0]] == ids


def test_hashes_do_not_change():
    # Encoders and exported models of older versions rely on them:
    schema = FieldSchema((Field('x', 'categorical', hash_size=1000),))
    df = pd.DataFrame({'x': ['a', 'B', 'é', 12]})
    found = FieldEncoder(schema).fit(df).transform(df).slot_index.ravel()
    expected = [0xE8B7BE43, 0x4AD0CF31, 0x0E048D3E, 0x4F5344CD]
    assert found.tolist() == [2 + x % 1000 for x in expected]


@pytest.mark.parametrize('longest', [64, 65, 300])
def test_hashes_of_many_texts(longest):
    rng = np.random.default_rng(longest)
    length = rng.integers(0, 20, 500).tolist()  # Of up to three bytes.
    texts = [*(''.join(rng.choice([*'abé0日'], n)) for n in length)]
    texts += ['', 'x' * longest]
    index = pd.Index(texts, dtype='str')
    for size in (1, 1000, 2**32):
        expected = [hash_text(x, size) for x in texts]
        assert hash_texts(index, size).tolist() == expected
        assert hash_texts(index[7:], size).tolist() == expected[7:]
    assert hash_texts(index[:0], 5).tolist() == []


@pytest.mark.parametrize('num_keys', [8, 200, 2000])
def test_texts_next_to_vocabularies_of_any_size(num_keys):
    # Arrow looks up few keys, pandas many:
    keys = [*map(str, range(num_keys)), 'word']
    field = Field('x', 'categorical')
    codec = FieldEncoder(FieldSchema((field,))).fit({'x': keys}).codecs[0]
    id_of = {x: 2 + i for i, x in enumerate(codec.keys)}
    texts = ['3', ' 3', '3.0', None, '', 'nan', 'word ', 'no', '03', 'True']
    expected = [id_of['3']] * 3 + [0] * 3 + [id_of['word'], 1, 1, id_of['1']]
    for times in (1, 100):
        for dtype in ('str', object):
            column = pd.Series(texts * times, dtype=dtype)
            ids = codec.encode(column)[0]
            assert ids.ravel().tolist() == expected * times


def test_manifest(tmp_path):
    df = make_frame(300)
    table = FieldEncoder(SCHEMA).fit_transform(df, folder=tmp_path / 't')
    manifest = json.loads((tmp_path / 't' / 'manifest.json').read_text())
    assert manifest['rows'] == 300
    assert [x['rows'] for x in manifest['shards']] == [128, 128, 44]
    assert manifest['extras'] == ['y', 'sample_weight']
    batch = pa.ipc.open_file(tmp_path / 't' / '000001.arrow').get_batch(0)
    for name, slots in manifest['slots'].items():
        assert batch[name].type.list_size == len(slots)
        assert batch[name].type.value_type == name.removeprefix('ids_')
    assert [*manifest['slots']] == ['ids_uint8']  # all are small
    # What is there for one only is not stored:
    assert len(manifest['valued']) < table.info.num_slots
    assert set(manifest['valued']).isdisjoint(range(4))

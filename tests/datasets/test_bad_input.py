import gzip
import zipfile

import pandas as pd
import pyarrow as pa
import pytest

from pyg_featgraph.datasets import (
    Adult,
    Avazu,
    BankMarketing,
    Criteo,
    Diamonds,
    EmployeeAccess,
    GiveMeSomeCredit,
    MovieLens1M,
    Nursery,
    TelcoChurn,
    reader,
)
from pyg_featgraph.datasets.avazu import COLUMNS as AVAZU
from pyg_featgraph.datasets.bank import COLUMNS as BANK
from pyg_featgraph.datasets.employee import COLUMNS as EMPLOYEE
from pyg_featgraph.errors import DataError

NAMES = [
    'label',
    *(f'I{i}' for i in range(1, 14)),
    *(f'C{i}' for i in range(1, 27)),
]


def line(label='0', **changes):
    row = dict.fromkeys(NAMES, '') | {'label': label, 'C1': 'ab'} | changes
    return '\t'.join(row.values())


def write(path, lines, end='\n'):
    path.write_text('\n'.join(lines) + end, newline='')
    return path


def employee(tmp_path, *rows):
    return write(tmp_path / 'train.csv', [','.join(EMPLOYEE), *rows])


def test_lines_and_chunks_across_blocks(tmp_path, monkeypatch):
    lines = [line(I5=str(i)) for i in range(1, 201)]
    good = Criteo(write(tmp_path / 'good.txt', lines)).frame()
    monkeypatch.setattr(reader, '_BLOCK', 700)
    bad = {6: '0\t1', 77: line(I3='x'), 78: line(C2='a') + '\t', 199: line('3')}
    for number, text in bad.items():
        lines[number - 1] = text
    path = write(tmp_path / 'bad.txt', lines)
    data = Criteo(path, on_bad_lines='skip')
    with pytest.warns(UserWarning, match='4 bad lines.*line 6: 2 columns'):
        df = data.frame()
    assert data.skipped == 4
    kept = good.drop(index=[number - 1 for number in bad])
    pd.testing.assert_frame_equal(df, kept.reset_index(drop=True))
    with pytest.warns(UserWarning, match='4 bad lines'):
        chunks = list(data.chunks(30))
    assert [len(chunk) for chunk in chunks] == [30] * 6 + [16]
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), df)
    for number, text in ((77, "column 'I3': 'x'"), (199, "'label': '3'")):
        broken = [line()] * 200
        broken[number - 1] = bad[number]
        path = write(tmp_path / 'one.txt', broken)
        with pytest.raises(DataError, match=rf'one\.txt.*{number}.*{text}'):
            Criteo(path).frame()


def test_the_first_bad_line_of_several_is_named(tmp_path):
    lines = [line(), line(I9='x'), line('2'), '0\t1']
    with pytest.raises(DataError, match="line 2, column 'I9': 'x'"):
        Criteo(write(tmp_path / 'a.txt', lines)).frame()


@pytest.mark.parametrize('block', [700, 2**20])
def test_empty_lines_are_passed_over_only_at_the_end(
    block, tmp_path, monkeypatch
):
    monkeypatch.setattr(reader, '_BLOCK', block)
    end = '\n' * 1500
    path = write(tmp_path / 'a.txt', [line()] * 30, end)
    data = Criteo(path)
    assert len(data.frame()) == 30
    assert data.skipped == 0
    path = write(tmp_path / 'b.txt', [line()] * 30, end + line() + '\n')
    with pytest.raises(DataError, match=r'line 31(:|,).*on_bad_lines'):
        Criteo(path).frame()
    data = Criteo(path, on_bad_lines='skip')
    with pytest.warns(UserWarning, match='1499 bad lines.*line 31'):
        assert len(data.frame()) == 31


def test_unusual_but_good_text(tmp_path):
    numbers = {
        'nan': None,
        'NaN': None,
        ' ': None,
        '+5': 5,
        ' 5': 5,
        '1e3': 1e3,
    }
    lines = [line(I3=text) for text in numbers]
    path = write(tmp_path / 'a.txt', ['\ufeff' + lines[0], *lines[1:]], '\r\n')
    df = Criteo(path).frame()
    expected = pd.Series(numbers.values(), dtype=float, name='I3')
    pd.testing.assert_series_equal(df['I3'], expected)
    # A part may have a single class: only training needs both.
    assert df['label'].unique().tolist() == [0]
    assert df['label'].dtype == 'int8'
    assert df['I1'].dtype == 'float64'


def test_text_that_is_not_utf8(tmp_path):
    path = tmp_path / 'a.txt'
    text = '\n'.join([line(), line(C3='\xe9'), line(I2='\xe9'), line()])
    path.write_bytes(text.encode('latin-1'))
    with pytest.raises(DataError, match=r"2, column 'C3'.*xe9' is not UTF-8"):
        Criteo(path).frame()
    data = Criteo(path, on_bad_lines='skip')
    with pytest.warns(UserWarning, match='2 bad lines'):
        assert len(data.frame()) == 2


def test_damaged_and_compressed_files(tmp_path):
    lines = [line(I5=str(i * 977 % 1000)) for i in range(500)]
    text = ('\n'.join(lines) + '\n').encode()
    with pa.output_stream(str(tmp_path / 'a.txt.zst')) as file:
        file.write(text)
    assert len(Criteo(tmp_path / 'a.txt.zst').frame()) == 500
    (tmp_path / 'two.gz').write_bytes(gzip.compress(text) * 2)
    assert len(Criteo(tmp_path / 'two.gz').frame()) == 1000
    with zipfile.ZipFile(tmp_path / 'b.zip', 'w', 8) as archive:
        archive.writestr('train.txt', text)
    raw = bytearray((tmp_path / 'b.zip').read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 50] = bytes(50)
    (tmp_path / 'b.zip').write_bytes(raw)
    (tmp_path / 'c.zip').write_bytes(b'PK nothing')
    (tmp_path / 'd.gz').write_bytes(b'not compressed')
    for name in ('b.zip', 'c.zip', 'd.gz'):
        with pytest.raises(DataError, match=rf"{name}' cannot be read"):
            Criteo(tmp_path / name).frame()
    with zipfile.ZipFile(tmp_path / 'e.zip', 'w') as archive:
        archive.writestr('a.txt', text)
        archive.writestr('b.txt', text)
    with pytest.raises(DataError, match=r"e\.zip' must hold one file"):
        Criteo(tmp_path / 'e.zip').frame()


def test_csv_with_header(tmp_path):
    good = '1,2,3,4,5,6,7,8,9,10'
    for row, message in (
        ('1,2', 'line 3: 2 columns instead of 10'),
        (f'{good},11', 'line 3: 11 columns instead of 10'),
        ('7' + good[1:], "line 3, column 'ACTION': '7' is no label"),
    ):
        path = employee(tmp_path, good, row)
        with pytest.raises(DataError, match=rf'train\.csv.*{message}'):
            EmployeeAccess(path).frame()
    with pytest.raises(DataError, match='has no rows'):
        EmployeeAccess(employee(tmp_path)).frame()
    write(tmp_path / 'train.csv', ['ACTION,OTHER', '1,2'])
    with pytest.raises(DataError, match=r'line 1: the columns are .*expected'):
        EmployeeAccess(tmp_path).frame()
    with pytest.raises(DataError, match=r"'train\.csv' is not in.*kaggle"):
        EmployeeAccess(tmp_path / 'nowhere').frame()


def test_skipped_survives_other_uses(tmp_path):
    path = employee(tmp_path, '1,2', '1,2,3,4,5,6,7,8,9,10')
    data = EmployeeAccess(path, on_bad_lines='skip')
    with pytest.warns(UserWarning, match='1 bad lines'):
        data.frame(nrows=1)
    data.schema()
    assert data.skipped == 1
    with pytest.warns(UserWarning, match='has 2 rows, but 32769 were'):
        data.frame()
    write(path, [','.join(EMPLOYEE), '1,2'])
    with (
        pytest.warns(UserWarning, match='1 bad lines'),
        pytest.raises(DataError, match='no rows that can be used'),
    ):
        data.frame()


def test_arguments(tmp_path):
    data = EmployeeAccess(employee(tmp_path, '1,2,3,4,5,6,7,8,9,10'))
    assert len(data.frame(nrows=0)) == 0
    with pytest.raises(ValueError, match="'nrows' must not be negative"):
        data.frame(nrows=-1)
    with pytest.raises(ValueError, match="'chunk_rows' must be at least 1"):
        next(data.chunks(0))


def test_schemas_need_no_files(tmp_path):
    for dataset, numeric, total in (
        (Adult, 6, 14),
        (Avazu, 0, 23),
        (BankMarketing, 10, 20),
        (Criteo, 13, 39),
        (Diamonds, 6, 9),
        (EmployeeAccess, 0, 9),
        (GiveMeSomeCredit, 10, 10),
        (MovieLens1M, 1, 7),
        (Nursery, 0, 8),
        (TelcoChurn, 3, 19),
    ):
        schema = dataset(tmp_path / 'nowhere').schema()
        assert sum(field.kind == 'numeric' for field in schema) == numeric
        assert len(schema) == total
        assert schema.label == dataset.label
    for dataset in (Adult, BankMarketing):
        data = dataset(tmp_path)
        plain, paper = data.schema(), data.schema(transform='equal_width')
        assert plain.fields[0].transform == 'auto'
        assert paper.fields[0].bins == (10, 100, 1000)
        assert plain.fields[0].min_count == paper.fields[0].min_count == 5
    schema = MovieLens1M(tmp_path, form='ids').schema(min_count=3)
    assert schema.names[:2] == ('user_id', 'movie_id')
    assert schema.fields[0].min_count == 3


def test_adult_as_uci_has_it(tmp_path):
    row = '39, Private, 7, HS, 9, Never, Sales, Wife, White, Male, 1, 0, 40, ?'
    # Both files of UCI end with an empty line:
    write(tmp_path / 'adult.data', [f'{row}, <=50K', f'{row}, >50K'], '\n\n')
    rows = ['|1x3 Cross validator', f'{row}, <=50K.']
    write(tmp_path / 'adult.test', rows, '\n\n')
    with pytest.warns(UserWarning, match='3 rows, but 48842'):
        assert Adult(tmp_path).frame()['income'].tolist() == [0, 1, 0]
    with pytest.raises(DataError, match='several: pass their folder'):
        Adult(tmp_path / 'adult.data').frame('train')


def test_avazu_hours(tmp_path):
    def lines(hour):
        row = dict.fromkeys(AVAZU, 'v') | {'click': '0', 'hour': hour}
        return [','.join(AVAZU), ','.join(row.values())]

    path = write(tmp_path / 'a.csv', [*lines('14102107'), lines('')[1]])
    df = Avazu(path).frame()
    assert df['weekday'].tolist()[0] == '1'
    assert df[['hour', 'weekday']].isna().all(axis=1).tolist() == [False, True]
    path = write(tmp_path / 'a.csv', lines('14139907'))
    with pytest.raises(
        DataError, match="2, column 'hour': '14139907' is not a"
    ):
        Avazu(path).frame()
    assert len(Avazu(path, split_hour=False).frame()) == 1


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        (
            'users.dat',
            '1::F::1::1::1\n1::M::1::1::1',
            "2, column 'user_id': '1'",
        ),
        ('users.dat', '1::F::1::1', 'line 1: 4 columns instead of 5'),
        ('users.dat', '', 'is empty'),
        ('movies.dat', '10::A (1995)', 'line 1: 2 columns instead of 3'),
        ('ratings.dat', '1::10::5::1\n1::10::5', '2: 3 columns instead of 4'),
        ('ratings.dat', '1::10::6::1', "line 1, column 'rating': '6'"),
        ('ratings.dat', '1::10::5::x', "column 'timestamp': 'x'"),
    ],
)
def test_movielens(name, text, message, tmp_path):
    files = {
        'users.dat': '1::F::1::1::1\n',
        'movies.dat': '10::Caf\xe9: A Film (1919)::Drama\n\n',
        'ratings.dat': '1::10::5::1\n2::10::1::1\n',
    }
    for key, content in files.items():
        (tmp_path / key).write_bytes(content.encode('latin-1'))
    with pytest.warns(UserWarning, match='2 rows, but 1000209'):
        df = MovieLens1M(tmp_path).frame()
    assert df['gender'].isna().tolist() == [False, True]
    (tmp_path / name).write_bytes(text.encode('latin-1'))
    with pytest.raises(DataError, match=rf'{name}.*{message}'):
        MovieLens1M(tmp_path).frame()


def test_bank_archives(tmp_path):
    header = ';'.join(f'"{name}"' for name in BANK)
    row = ';'.join(['1'] * 20 + ['"yes"'])
    small = tmp_path / 'bank-additional.zip'
    with zipfile.ZipFile(small, 'w') as archive:
        for folder in ('', '__MACOSX/'):
            name = f'{folder}bank-additional/bank-additional'
            archive.writestr(f'{name}-full.csv', f'{header}\n{row}\n')
            archive.writestr(f'{name}.csv', 'another')
    outer = tmp_path / 'other' / 'bank+marketing.zip'
    outer.parent.mkdir()
    with zipfile.ZipFile(outer, 'w') as archive:
        archive.writestr('bank.zip', _zip(tmp_path, 'bank.csv'))
        archive.write(small, small.name)
    for root in (small, outer, tmp_path, outer.parent):
        with pytest.warns(UserWarning, match='1 rows, but 41188'):
            df = BankMarketing(root).frame()
        assert df['y'].tolist() == [1]
        assert df.columns.tolist() == list(BANK)


def _zip(folder, name):
    with zipfile.ZipFile(folder / 'inner', 'w') as archive:
        archive.writestr(name, 'text')
    return (folder / 'inner').read_bytes()


def test_fetched_files_are_checked(tmp_path, monkeypatch):
    source = tmp_path / 'source.zip'
    source.write_bytes(_zip(tmp_path, 'ml-1m/ratings.dat'))
    url = source.as_uri()
    root = tmp_path / 'root'
    urls = {'ratings.dat': f'{url}#ml-1m/ratings.dat'}
    monkeypatch.setattr(MovieLens1M, 'urls', urls)
    monkeypatch.setattr(MovieLens1M, 'sha256', {url: '0' * 64})
    with pytest.raises(DataError, match=r'source\.zip.*SHA-256 is .*instead'):
        MovieLens1M(root, download=True)
    assert not list(root.iterdir())
    monkeypatch.setattr(MovieLens1M, 'sha256', {})
    monkeypatch.setattr(MovieLens1M, 'urls', {'a': f'{url}#absent', **urls})
    with pytest.raises(DataError, match='no item named'):
        MovieLens1M(root, download=True)
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DataError, match='not a zip file'):
        MovieLens1M(root, download=True)
    assert not list(root.iterdir())
    # What is there, also compressed, is not fetched again:
    (root / 'ratings.dat.gz').write_bytes(b'')
    monkeypatch.setattr(MovieLens1M, 'urls', urls)
    MovieLens1M(root, download=True)

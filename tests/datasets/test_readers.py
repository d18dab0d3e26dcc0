import bz2
import gzip
import urllib.error
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from pyg_featgraph.data import FieldEncoder
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
    PlantedInteractions,
    TelcoChurn,
)
from pyg_featgraph.datasets.adult import COLUMNS as ADULT_COLUMNS
from pyg_featgraph.datasets.avazu import COLUMNS as AVAZU_COLUMNS
from pyg_featgraph.datasets.bank import COLUMNS as BANK_COLUMNS
from pyg_featgraph.datasets.diamonds import GRADES
from pyg_featgraph.datasets.employee import COLUMNS as EMPLOYEE_COLUMNS
from pyg_featgraph.datasets.nursery import COLUMNS as NURSERY_COLUMNS
from pyg_featgraph.datasets.telco import COLUMNS as TELCO_COLUMNS
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import DeepFM
from pyg_featgraph.nn.logits import logits_of

HEADER = [
    'label',
    *(f'I{i}' for i in range(1, 14)),
    *(f'C{i}' for i in range(1, 27)),
]


def criteo_line(label='0', **changes):
    row = dict.fromkeys(HEADER, '') | {'label': label, 'I1': '7', 'C1': 'ab'}
    row |= changes
    return '\t'.join(row.values())


LINES = [criteo_line(), criteo_line('1', I2='-1', C26='ff'), criteo_line()]


def write(path, lines, end='\n'):
    path.write_text('\n'.join(lines) + end)
    return path


def test_criteo(tmp_path):
    data = Criteo(write(tmp_path / 'train.txt', LINES))
    df = data.frame()
    assert list(df.columns) == HEADER
    assert df['label'].tolist() == [0, 1, 0]
    assert df['I1'].tolist() == [7.0] * 3
    assert df['I2'].isna().tolist() == [True, False, True]
    assert df['C26'].isna().tolist() == [True, False, True]
    assert data.skipped == 0
    pd.testing.assert_frame_equal(Criteo(tmp_path).frame(), df)
    pd.testing.assert_frame_equal(data.frame(nrows=2), df[:2])
    schema = data.schema()
    assert schema.names == tuple(HEADER[1:])
    assert schema.fields[0].transform == 'auto'
    assert schema.fields[-1].min_count == 11


def test_criteo_suits_models_without_norms(tmp_path):
    PlantedInteractions(1000).write_criteo(tmp_path / 'train.txt')
    data = Criteo(tmp_path / 'train.txt')
    biggest = {}
    for name, options in {
        'default': {},
        'graphfm': {'transform': 'log_square'},
    }.items():
        encoder = FieldEncoder(data.schema(**options))
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='.* were published')
            table = encoder.fit_transform(data.frame())
        torch.manual_seed(0)
        biggest[name] = float(logits_of(DeepFM(table.info), table).abs().max())
    assert biggest['default'] < 3
    assert biggest['graphfm'] > 100  # What those models normalise.


def test_criteo_variants(tmp_path):
    expected = Criteo(write(tmp_path / 'a.txt', LINES)).frame()
    text = ('\n'.join(LINES) + '\n').encode()
    (tmp_path / 'b.txt.gz').write_bytes(gzip.compress(text))
    (tmp_path / 'c.txt.bz2').write_bytes(bz2.compress(text))
    with zipfile.ZipFile(tmp_path / 'd.zip', 'w') as archive:
        archive.writestr('train.txt', text)
    commas = [','.join(HEADER), *(x.replace('\t', ',') for x in LINES)]
    write(tmp_path / 'e.csv', commas)
    floats = [x.replace('\t7\t', '\t7.0\t') for x in LINES]
    write(tmp_path / 'f.txt', floats, end='')
    for name in ('b.txt.gz', 'c.txt.bz2', 'd.zip', 'e.csv', 'f.txt'):
        got = Criteo(tmp_path / name).frame()
        pd.testing.assert_frame_equal(got, expected)


def test_criteo_days_and_chunks(tmp_path):
    for day in (0, 2, 10):
        lines = [criteo_line(I1=str(100 * day + i)) for i in range(7)]
        write(tmp_path / f'day_{day}', lines)
    data = Criteo(tmp_path)
    df = data.frame()
    assert df['I1'].tolist() == [
        100 * day + i for day in (0, 2, 10) for i in range(7)
    ]
    chunks = list(data.chunks(4))
    assert [len(chunk) for chunk in chunks] == [4, 4, 4, 4, 4, 1]
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), df)


BAD = {
    'too few columns': (
        '1\t2\t3',
        r"train\.txt', line 3: 3 columns instead of 40.*'1\\t2\\t3'",
    ),
    'too many columns': (criteo_line() + '\tx', 'line 3: 41 columns'),
    'empty line': ('', "line 3, column 'label': '' is no label"),
    'text in a number': (
        criteo_line(I5='many'),
        r"line 3, column 'I5': 'many' is not a finite number",
    ),
    'infinite': (criteo_line(I5='inf'), r"line 3, column 'I5': 'inf'"),
    'label': (criteo_line('2'), r"line 3, column 'label': '2' is no label"),
    'no label': (criteo_line(''), r"line 3, column 'label': '' is no label"),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_lines(name, tmp_path):
    line, message = BAD[name]
    path = write(tmp_path / 'train.txt', [*LINES[:2], line, *LINES])
    with pytest.raises(DataError, match=message) as error:
        Criteo(path).frame()
    assert "on_bad_lines='skip'" in str(error.value)

    data = Criteo(path, on_bad_lines='skip')
    with pytest.warns(UserWarning, match=r'1 bad lines.*line 3'):
        df = data.frame()
    assert data.skipped == 1
    good = Criteo(write(tmp_path / 'good.txt', [*LINES[:2], *LINES]))
    pd.testing.assert_frame_equal(df, good.frame())


def test_lines_are_numbered_after_skipped_ones(tmp_path):
    lines = ['short', *LINES, 'short', criteo_line(I1='x'), *LINES]
    data = Criteo(write(tmp_path / 'train.txt', lines), on_bad_lines='skip')
    with pytest.warns(UserWarning, match='3 bad lines'):
        assert len(data.frame()) == 6
    path = write(tmp_path / 'second.txt', [*LINES, criteo_line(I1='x')])
    with pytest.raises(DataError, match="line 4, column 'I1'"):
        Criteo(path).frame()


def test_cut_and_missing_files(tmp_path):
    whole = '\n'.join(LINES)
    path = tmp_path / 'train.txt'
    path.write_text(whole[: len(whole) - 30])
    with pytest.raises(DataError, match=r'line 3: \d+ columns.*cut there'):
        Criteo(path).frame()
    path.write_text('')
    with pytest.raises(DataError, match=r"train\.txt' is empty"):
        Criteo(path).frame()
    with pytest.raises(DataError, match=r'Neither train\.txt nor day_'):
        Criteo(tmp_path / 'nowhere').frame()
    with pytest.raises(DataError, match='licence'):
        Criteo(tmp_path, download=True)
    with pytest.raises(ValueError, match="'on_bad_lines' must be"):
        Criteo(path, on_bad_lines='ignore')
    packed = tmp_path / 'cut.txt.gz'
    packed.write_bytes(gzip.compress(whole.encode())[:-20])
    with pytest.raises(DataError, match=r'cut\.txt\.gz'):
        Criteo(packed).frame()


def test_avazu(tmp_path):
    row = dict.fromkeys(AVAZU_COLUMNS, 'v')
    row |= {'id': '12', 'click': '1', 'hour': '14102107', 'C21': '-1'}
    path = write(
        tmp_path / 'train.csv',
        [','.join(AVAZU_COLUMNS), ','.join(row.values())],
    )
    data = Avazu(tmp_path)
    df = data.frame()
    assert df.loc[0, ['click', 'hour', 'weekday']].tolist() == [1, '07', '1']
    assert 'id' not in df
    assert data.schema().names == tuple(c for c in df if c != 'click')
    raw = Avazu(path, keep_id=True, split_hour=False)
    assert raw.frame().loc[0, ['id', 'hour']].tolist() == ['12', '14102107']
    assert len(raw.schema()) == 23
    write(path, ['a,b', '1,2'])
    with pytest.raises(
        DataError, match=r"line 1: the columns are \['a', 'b'\]"
    ):
        data.frame()


def test_adult(tmp_path):
    row = '39, Private, 7, HS, 9, Never, Sales, Wife, White, Male, 1, 0, 40, ?'
    write(tmp_path / 'adult.data', [f'{row}, <=50K', f'{row}, >50K'])
    test = ['|1x3 Cross validator', f'{row}, >50K.']
    write(tmp_path / 'adult.test', test)
    data = Adult(tmp_path)
    with pytest.warns(UserWarning, match='2 rows, but 32561'):
        train = data.frame('train')
    assert train['income'].tolist() == [0, 1]
    assert train['native_country'].isna().all()
    assert train['workclass'].tolist() == ['Private'] * 2
    assert train['age'].tolist() == [39.0] * 2
    with pytest.warns(UserWarning, match='1 rows, but 16281'):
        assert data.frame('test')['income'].tolist() == [1]
    with pytest.raises(ValueError, match="'split' must be one of"):
        data.frame('valid')
    write(tmp_path / 'adult.test', [*test, f'{row}, 60K.'])
    with pytest.raises(DataError, match="line 3, column 'income': '60K"):
        data.frame('test')


def test_adult_download(tmp_path, monkeypatch):
    source = tmp_path / 'source'
    source.mkdir()
    (source / 'adult.data').write_text('x')
    (source / 'adult.test').write_text('y')
    names = ('adult.data', 'adult.test')
    urls = {name: (source / name).as_uri() for name in names}
    monkeypatch.setattr(Adult, 'urls', urls)
    Adult(tmp_path / 'target', download=True)
    target = tmp_path / 'target'
    assert sorted(p.name for p in target.iterdir()) == list(names)

    def offline(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', offline)
    with pytest.raises(DataError, match=r'cannot be fetched.*no network'):
        Adult(tmp_path / 'other', download=True)
    with pytest.raises(DataError, match=r'adult\.data.*download=True'):
        Adult(tmp_path / 'other').frame('train')


def test_download_of_an_archive(tmp_path, monkeypatch):
    path = tmp_path / 'source.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        for name in MovieLens1M.urls:
            archive.writestr(f'ml-1m/{name}', f'text of {name}')
    urls = {name: f'{path.as_uri()}#ml-1m/{name}' for name in MovieLens1M.urls}
    monkeypatch.setattr(MovieLens1M, 'urls', urls)
    MovieLens1M(tmp_path / 'target', download=True)
    got = {p.name: p.read_text() for p in (tmp_path / 'target').iterdir()}
    assert got == {name: f'text of {name}' for name in urls}


def test_bank(tmp_path):
    header = ';'.join(f'"{name}"' for name in BANK_COLUMNS)
    row = (
        '56;"housemaid";"married";"basic.4y";"no";"no";"no";"telephone";"may";'
        '"mon";261;1;999;0;"nonexistent";1.1;93.994;-36.4;4.857;5191;"no"'
    )
    lines = [header, row, row.replace(';"no"', ';"yes"')]
    write(tmp_path / 'bank-additional-full.csv', lines)
    with pytest.warns(UserWarning, match='2 rows, but 41188'):
        df = BankMarketing(tmp_path).frame()
    assert df['y'].tolist() == [0, 1]
    assert df.loc[0, ['age', 'job', 'cons.conf.idx']].tolist() == [
        56.0,
        'housemaid',
        -36.4,
    ]
    kinds = {f.name: f.kind for f in BankMarketing(tmp_path).schema()}
    assert sum(kind == 'numeric' for kind in kinds.values()) == 10


def test_credit(tmp_path):
    header = (
        '"","SeriousDlqin2yrs","RevolvingUtilizationOfUnsecuredLines","age",'
        '"NumberOfTime30-59DaysPastDueNotWorse","DebtRatio","MonthlyIncome",'
        '"NumberOfOpenCreditLinesAndLoans","NumberOfTimes90DaysLate",'
        '"NumberRealEstateLoansOrLines",'
        '"NumberOfTime60-89DaysPastDueNotWorse","NumberOfDependents"'
    )
    row = '"1",1,0.766,45,2,0.80,NA,13,0,6,0,2'
    write(tmp_path / 'cs-training.csv', [header, row])
    with pytest.warns(UserWarning, match='1 rows'):
        df = GiveMeSomeCredit(tmp_path).frame()
    assert df.shape == (1, 11)
    assert np.isnan(df.loc[0, 'MonthlyIncome'])
    assert df.loc[0, 'age'] == 45


DIAMONDS = [
    '"carat","cut","color","clarity","depth","table","price","x","y","z"',
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43',
    '0.21,"Very Good","J","IF",59.8,61,1000.5,3.89,3.84,2.31',
]
ADULT = '39, Private, 7, HS, 9, No, Sales, Wife, W, Male, 1, 0, 40, ?, <=50K'
BANK = (
    '56;"maid";"married";"4y";"no";"no";"no";"phone";"may";"mon";261;1;999;0;'
    '"none";1.1;93.994;-36.4;4.857;5191;"no"'
)
NURSERY = (
    'usual,proper,complete,1,critical,convenient,nonprob,priority,priority'
)
AVAZU = dict.fromkeys(AVAZU_COLUMNS, '7') | {'click': '1', 'hour': '14102101'}


@pytest.mark.parametrize('times', [1, 2, 3])
@pytest.mark.parametrize(
    ('data', 'name', 'lines', 'names', 'separator'),
    [
        (Adult, 'adult.test', [ADULT] * 2, ADULT_COLUMNS, ', '),
        (
            BankMarketing,
            'bank-additional-full.csv',
            [';'.join(f'"{x}"' for x in BANK_COLUMNS), BANK, BANK],
            None,
            ';',
        ),
        (Criteo, 'train.txt', LINES, HEADER, '\t'),
        (Diamonds, 'diamonds.csv', DIAMONDS, None, ','),
        (
            EmployeeAccess,
            'train.csv',
            [','.join(EMPLOYEE_COLUMNS), *['1' + ',25' * 9] * 2],
            None,
            ',',
        ),
        (
            Avazu,
            'train.csv',
            [','.join(AVAZU), *[','.join(AVAZU.values())] * 2],
            None,
            ',',
        ),
        (Nursery, 'nursery.data', [NURSERY] * 2, NURSERY_COLUMNS, ','),
    ],
)
@pytest.mark.filterwarnings('ignore:.* rows, but')
def test_files_that_pandas_has_saved_again(
    data, name, lines, names, separator, times, tmp_path
):
    split = 'test' if data is Adult else None
    path = write(tmp_path / name, lines)
    expected = data(tmp_path).frame(split)
    options = {'sep': separator, 'engine': 'python', 'dtype': object}
    table = pd.read_csv(path, names=names and list(names), **options)
    for _ in range(times):
        table.to_csv(path)
        table = pd.read_csv(path)
    assert 'Unnamed: 0' in table
    pd.testing.assert_frame_equal(data(tmp_path).frame(split), expected)
    # Rows that are cut there are still told:
    with open(path, 'a') as file:
        file.write('7,8\n')
    width = len(table.columns)
    with pytest.raises(DataError, match=f': 2 columns instead of {width}'):
        data(tmp_path).frame(split)
    # With a name that is none of an index, they are other files:
    table.rename(columns={'Unnamed: 0': 'row'}).to_csv(path, index=False)
    with pytest.raises(DataError, match=r'line 1'):
        data(tmp_path).frame(split)


def test_movielens(tmp_path):
    write(tmp_path / 'users.dat', ['1::F::25::4::48067'])
    movies = [
        '10::Movie: The Sequel (1995)::Action|Drama',
        '11::Caf\xe9 (1954)::Comedy',
        '12::Old (1919)::Western',
    ]
    path = tmp_path / 'movies.dat'
    path.write_text('\n'.join(movies), encoding='latin-1')
    write(
        tmp_path / 'ratings.dat',
        [
            '1::10::5::978300760',
            '1::11::3::978300761',
            '1::11::1::978300762',
            '1::12::4::978300763',
        ],
    )
    df = MovieLens1M(tmp_path).frame()
    assert df['label'].tolist() == [1, 0, 1]
    assert df['year'].tolist() == ['1995', '1950', '1920']
    assert df['timestamp'].tolist() == [978300760, 978300762, 978300763]
    assert set(df) == {
        *('timestamp', 'label', 'gender', 'age', 'occupation', 'zip'),
        *('year', 'genres'),
    }
    schema = MovieLens1M(tmp_path).schema()
    table = FieldEncoder(schema).fit_transform(df)
    assert table.info.num_fields == 7
    assert table.info.num_slots == 8
    ids = MovieLens1M(tmp_path, form='ids').frame()
    assert ids['movie_id'].tolist() == ['10', '11', '12']


def test_telco(tmp_path):
    row = dict.fromkeys(TELCO_COLUMNS, 'No')
    row |= {'customerID': '7590-VHVEG', 'SeniorCitizen': '0', 'tenure': '0'}
    row |= {'MonthlyCharges': '29.85', 'TotalCharges': ' '}
    other = row | {'TotalCharges': '1889.5', 'Churn': 'Yes'}
    rows = [','.join(row.values()), ','.join(other.values())]
    header = ','.join(TELCO_COLUMNS)
    write(tmp_path / 'Telco-Customer-Churn.csv', [header, *rows])
    data = TelcoChurn(tmp_path)
    with pytest.warns(UserWarning, match='2 rows, but 7043'):
        df = data.frame()
    assert list(df.columns) == list(TELCO_COLUMNS[1:])
    assert df['Churn'].tolist() == [0, 1]
    assert np.isnan(df.loc[0, 'TotalCharges'])
    assert df.loc[1, 'TotalCharges'] == 1889.5
    # A number in the file, but one of two groups:
    assert df['SeniorCitizen'].tolist() == ['0', '0']
    numeric = [f.name for f in data.schema() if f.kind == 'numeric']
    assert numeric == ['tenure', 'MonthlyCharges', 'TotalCharges']
    bad = rows[0].replace('29.85', 'twenty')
    write(tmp_path / 'Telco-Customer-Churn.csv', [header, rows[0], bad])
    with pytest.raises(
        DataError, match=r"line 3, column 'MonthlyCharges': 'twenty' is not a"
    ):
        data.frame()


def test_diamonds(tmp_path):
    path = write(tmp_path / 'diamonds.csv', DIAMONDS)
    data = Diamonds(tmp_path)
    with pytest.warns(UserWarning, match='2 rows, but 53940'):
        df = data.frame()
    assert df['price'].tolist() == [326, 1000.5]
    assert df['cut'].tolist() == ['Ideal', 'Very Good']
    assert (df['cut'].min(), df['color'].min()) == ('Very Good', 'J')
    for name, grades in GRADES.items():
        assert df[name].cat.ordered
        assert tuple(df[name].cat.categories) == grades
    assert len(data.schema()) == 9
    table = FieldEncoder(data.schema()).fit_transform(df)
    assert table.y.tolist() == [326, 1000.5]
    with pytest.warns(UserWarning, match='2 rows'):
        log = Diamonds(path, log=True).frame()
    np.testing.assert_allclose(log['log_price'], np.log([326, 1000.5]))
    assert 'price' not in log
    assert Diamonds(path, log=True).schema().label == 'log_price'


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('"IF"', '"IF1"', r"line 3, column 'clarity': 'IF1' is not one of"),
        ('1000.5', 'much', "line 3, column 'price': 'much' is not a finite"),
        ('1000.5', '', "line 3, column 'price': '' is not a finite number"),
        ('1000.5', 'inf', "line 3, column 'price': 'inf' is not a finite"),
    ],
)
def test_bad_diamonds(old, new, message, tmp_path):
    lines = [DIAMONDS[0], DIAMONDS[1], DIAMONDS[2].replace(old, new)]
    path = write(tmp_path / 'diamonds.csv', lines)
    with pytest.raises(DataError, match=message):
        Diamonds(path).frame()


def test_price_without_logarithm(tmp_path):
    lines = [DIAMONDS[0], DIAMONDS[2].replace('1000.5', '0')]
    path = write(tmp_path / 'diamonds.csv', lines)
    with pytest.raises(DataError, match="'price': 0 has no logarithm"):
        Diamonds(path, log=True).frame()


def test_nursery(tmp_path):
    row = 'usual,proper,complete,1,convenient,convenient,nonprob,priority,'
    labels = ('priority', 'recommend', 'not_recom', 'very_recom')
    lines = [row + label for label in labels]
    path = tmp_path / 'nursery.data'
    # The original ends with an empty line:
    path.write_bytes('\r\n'.join([*lines, '', '']).encode())
    data = Nursery(tmp_path)
    with pytest.warns(UserWarning, match='4 rows, but 12960'):
        df = data.frame()
    assert df['class'].tolist() == ['priority', 'not_recom', 'very_recom']
    encoder = FieldEncoder(data.schema())
    assert encoder.fit_transform(df).y.tolist() == [1, 0, 2]
    assert len(data.schema()) == 8
    assert {field.kind for field in data.schema()} == {'categorical'}
    every = Nursery(path, keep_rare=True)
    with pytest.warns(UserWarning, match='4 rows'):
        df = every.frame()
    assert df['class'].tolist() == list(labels)
    write(path, [*lines, row + 'perhaps'])
    with pytest.raises(DataError, match="line 5, column 'class': 'perhaps'"):
        data.frame()


@pytest.mark.data
def test_real_files(real_data):
    for data, rows, positives in (
        (Criteo(real_data / 'criteo' / 'criteo_1k.txt'), 1000, 21),
        (Criteo(real_data / 'criteo' / 'kaggle_2k.txt'), 1999, 418),
        (Criteo(real_data / 'criteo' / 'deepctr_200.csv'), 200, 49),
        (Avazu(real_data / 'avazu' / 'avazu_100.csv'), 100, 20),
        (EmployeeAccess(real_data / 'employee'), 32_769, 30_872),
        (TelcoChurn(real_data / 'telco' / 'telco.csv'), 7_043, 1_869),
    ):
        df = data.frame()
        assert (len(df), df[data.label].sum()) == (rows, positives)
        table = FieldEncoder(data.schema(min_count=2)).fit_transform(df)
        assert len(table) == rows
    with pytest.warns(UserWarning, match='32560 rows'):
        assert len(Adult(real_data / 'adult').frame('train')) == 32_560
    assert len(Adult(real_data / 'adult').frame('test')) == 16_281
    df = MovieLens1M(real_data / 'ml1m-half').frame()
    assert not df.drop(columns='zip').isna().any(axis=None)
    assert len(df) == 360_434
    df = Nursery(real_data / 'nursery').frame()
    assert df['class'].value_counts().tolist() == [4320, 4266, 4044, 328]
    df = Diamonds(real_data / 'diamonds').frame()
    assert (len(df), df['price'].sum()) == (53_940, 212_135_217)
    assert not df.isna().any(axis=None)

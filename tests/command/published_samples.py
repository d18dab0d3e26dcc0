"""Made-up files in the formats of public data sets."""

import numpy as np

from pyg_featgraph.datasets.adult import COLUMNS as ADULT
from pyg_featgraph.datasets.adult import NUMERIC as ADULT_NUMERIC
from pyg_featgraph.datasets.avazu import COLUMNS as AVAZU
from pyg_featgraph.datasets.bank import COLUMNS as BANK
from pyg_featgraph.datasets.bank import NUMERIC as BANK_NUMERIC
from pyg_featgraph.datasets.criteo import CATEGORICAL, NUMERIC
from pyg_featgraph.datasets.employee import COLUMNS as EMPLOYEE


def _rows(names, numeric, label, labels, size, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(size):
        row = {
            x: str(rng.integers(9)) if x in numeric else f'v{rng.integers(3)}'
            for x in names
        }
        yield row | {label: labels[i % 3 == 0]}


def _write(path, rows, separator, header=None, end=''):
    lines = [separator.join(row.values()) + end for row in rows]
    lines = [*([header] if header else []), *lines]
    path.write_text('\n'.join(lines) + '\n')


def criteo(folder, size=60):
    names = ('label', *NUMERIC, *CATEGORICAL)
    rows = _rows(names, NUMERIC, 'label', '01', size)
    _write(folder / 'train.txt', rows, '\t')


def avazu(folder, size=60):
    rows = _rows(AVAZU, (), 'click', '01', size)
    rows = [row | {'hour': '14102107'} for row in rows]
    _write(folder / 'train.csv', rows, ',', ','.join(AVAZU))


def movielens(folder, size=90):
    rng = np.random.default_rng(0)
    users = [
        f'{i}::{"FM"[i % 2]}::{i % 5}::{i % 3}::z{i % 4}' for i in range(9)
    ]
    films = [f'{i}::Film ({1980 + i})::Drama|Comedy' for i in range(9)]
    ratings = [
        f'{rng.integers(9)}::{rng.integers(9)}::{1 + i % 5}::{978300760 + i}'
        for i in range(size)
    ]
    for name, lines in (
        ('users', users),
        ('movies', films),
        ('ratings', ratings),
    ):
        (folder / f'{name}.dat').write_text('\n'.join(lines) + '\n')


def employee(folder, size=60):
    rows = _rows(EMPLOYEE, EMPLOYEE, 'ACTION', '01', size)
    _write(folder / 'train.csv', rows, ',', ','.join(EMPLOYEE))


def adult(folder, size=60):
    for name, seed in (('data', 0), ('test', 1)):
        labels = ('<=50K', '>50K')
        rows = _rows(ADULT, ADULT_NUMERIC, 'income', labels, size, seed)
        header = '|1x3 Cross validator' if seed else None
        end = '.' if seed else ''
        _write(folder / f'adult.{name}', rows, ', ', header, end)


def bank(folder, size=60):
    rows = _rows(BANK, BANK_NUMERIC, 'y', ('no', 'yes'), size)
    path = folder / 'bank-additional-full.csv'
    _write(path, rows, ';', ';'.join(BANK))

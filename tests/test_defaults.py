"""The benchmark of defaults, on a table of its own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import defaults
from comparison.tables import SOURCES

from pyg_featgraph.nn import LR


@pytest.fixture
def output(tmp_path, monkeypatch):
    def small(root):
        source = SOURCES['planted-small'](root)
        df = source.df[['C1', 'C2', 'I1', 'label']].head(900)
        schema = source.schema
        fields = tuple(x for x in schema if x.name in df)
        schema = defaults.replace(schema, fields=fields)
        return defaults.replace(source, df=df, schema=schema)

    monkeypatch.setattr(defaults, 'TABLES', {'small': small})
    monkeypatch.setitem(defaults.TRAINER, 'max_epochs', 1)
    return tmp_path / 'runs' / 'fits.jsonl'


def run(output, *args):
    defaults.main(['--output', str(output), '--tables', 'small', *args])


@pytest.mark.filterwarnings('ignore:The AUC')
def test_it_goes_on_where_it_was(output, capsys):
    run(output, '--models', 'LR', '--settings', '2')
    first = output.read_text()
    run(output, '--models', 'LR', 'FeatNet', '--settings', '3')
    # The defaults of each, and whatever is not there yet; FeatNet has no
    # penalty that could be three times as high:
    assert output.read_text().startswith(first)
    rows = defaults.read(output)
    tried = [(x['model'], x['lr'], x['embedding_l2']) for x in rows]
    assert tried[0] == ('LR', LR.lr, LR.embedding_l2)
    assert len({*tried}) == len(tried)
    numbers = [sum(x[0] == name for x in tried) for name in ('LR', 'FeatNet')]
    assert numbers == [3, 1]
    assert all(0 < x['test']['auc'] < 1 for x in rows)
    lines = capsys.readouterr().out.splitlines()
    assert [x.split(' | ')[5] for x in lines[-2:]] == ['3', '1']


def test_validation_rows_choose(output):
    def row(lr, loss, auc):
        settings = {'lr': lr, 'embedding_l2': LR.embedding_l2, 'seed': 0}
        figures = {'valid': {'log loss': loss}, 'test': {'auc': auc}}
        rest = {'table': 'small', 'model': 'LR', 'valid losses': [1.0, loss]}
        return {**settings, **figures, **rest}

    rows = [row(LR.lr, 0.4, 0.8), row(0.1, 0.3, 0.81), row(0.2, 0.5, 0.99)]
    line = defaults.report(rows).splitlines()[-1]
    assert '| LR | 0.8000 | 0.8100 | **0.0100** | 3 | 0.1 |' in line
    assert len(defaults.report(rows[1:]).splitlines()) == 2  # No default.

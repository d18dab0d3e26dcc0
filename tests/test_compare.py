import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from sklearn.metrics import roc_auc_score

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import read_json

sys.path.insert(0, str(Path(__file__).parents[1] / 'benchmarks'))

import compare
from comparison import boosted, ours, registry, settings, tables, tabm_net
from comparison.contestants import Contestant, Outcome
from comparison.tasks import MAIN

OTHERS = ('sklearn-lr', 'lightgbm', 'xgboost', 'catboost', 'tabm')


def make_frame(task, num_rows=400):
    """Numbers and categories with what a label needs, missing ones too."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame(
        {
            'a': rng.normal(size=num_rows),
            'b': rng.normal(size=num_rows),
            'c': rng.choice(['x', 'y', 'z'], num_rows),
            'd': rng.integers(0, 150, num_rows),
        }
    )
    score = 2 * df['a'] + 2 * (df['c'] == 'x') + rng.normal(size=num_rows) / 2
    df.loc[::20, 'b'] = np.nan
    df.loc[::30, 'c'] = np.nan
    if task == 'regression':
        df['y'] = 100 + 10 * score
    elif task == 'multiclass':
        df['y'] = pd.cut(score, [-99, -1, 2, 99], labels=['low', 'mid', 'top'])
    else:
        df['y'] = np.where(score > 0.5, 'yes', 'no')
    return df


def make_table(tmp_path, task, num_rows=400):
    path = tmp_path / 'table.csv'
    make_frame(task, num_rows).to_csv(path, index=False)
    return tables.cut(tables.read_file(path, 'y'), 0)


def run(tmp_path, *args):
    compare.main(
        [
            *('--data', str(tmp_path / 'table.csv'), '--label', 'y'),
            *('--output', str(tmp_path / 'out'), *map(str, args)),
        ]
    )
    return json.loads((tmp_path / 'out' / 'report.json').read_text())


def test_comparison(tmp_path, capsys):
    make_frame('binary').to_csv(tmp_path / 'table.csv', index=False)
    args = ('--contestants', 'sklearn-lr', 'lightgbm', '--seeds', 2)
    found = run(tmp_path, *args)
    assert found['errors'] == []
    keys = {(c['contestant'], c['seed']) for c in found['cells']}
    assert keys == {(n, s) for n in ('sklearn-lr', 'lightgbm') for s in (0, 1)}
    for cell in found['cells']:
        assert cell['task'] == 'binary'
        assert cell['rows'] == [288, 32, 80]
        assert cell['metrics']['auc'] > 0.9
        assert cell['parameters'] > 0
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert text in capsys.readouterr().out
    lr = [c for c in found['cells'] if c['contestant'] == 'sklearn-lr']
    auc = [cell['metrics']['auc'] for cell in lr]
    assert f'{np.mean(auc):.4f} ± {np.std(auc, ddof=1):.4f}' in text
    assert (tmp_path / 'out' / 'report.png').read_bytes()[:4] == b'\x89PNG'

    # Only what is missing is computed, or what has other settings:
    folder = tmp_path / 'out' / 'cells' / 'table'
    paths = [folder / n / f'{s}.json' for n, s in sorted(keys)]
    times = [path.stat().st_mtime_ns for path in paths]
    paths[0].unlink()
    chosen = tmp_path / 'out' / 'settings' / 'table' / 'sklearn-lr.json'
    chosen.parent.mkdir(parents=True)
    changed = {**found['cells'][0]['settings'], 'strength': 0.01}
    assert found['cells'][0]['contestant'] == 'sklearn-lr'
    chosen.write_text(json.dumps({'settings': changed}))
    run(tmp_path, *args)
    again = [path.stat().st_mtime_ns for path in paths]
    assert [a == b for a, b in zip(times, again, strict=True)] == [
        *(False, True, False, False)
    ]
    assert read_json(paths[2], 'cell')['settings'] == changed

    # A report computes nothing:
    paths[0].unlink()
    found = run(tmp_path, *args, '--report')
    assert len(found['cells']) == 3
    assert not paths[0].exists()
    assert '| lightgbm | default | 1 |' in capsys.readouterr().out


def test_rows_are_the_same_for_all(tmp_path):
    df = make_frame('binary').assign(row=range(400))
    df.to_csv(tmp_path / 'table.csv', index=False)
    source = tables.read_file(tmp_path / 'table.csv', 'y')
    first, again, other = (tables.cut(source, seed) for seed in (0, 0, 1))
    for a, b in zip(first.parts, again.parts, strict=True):
        pd.testing.assert_frame_equal(a, b)
    pd.testing.assert_frame_equal(first.test, other.test)
    assert set(first.valid['row']) != set(other.valid['row'])
    for table in (first, other):
        rows = np.concatenate([df['row'] for df in table.parts])
        assert sorted(rows) == list(range(400))
    # As many of each class, and the last fifth of a fixed order:
    assert abs(first.valid['y'].mean() - first.train['y'].mean()) < 0.02
    order = np.random.RandomState(0).permutation(400)
    assert first.test['row'].tolist() == order[320:].tolist()


def test_errors_are_cells(tmp_path, capsys, monkeypatch):
    make_frame('binary').to_csv(tmp_path / 'table.csv', index=False)

    def fail(table, settings, seed):
        raise RuntimeError(f'seed {seed} is bad')

    monkeypatch.setitem(registry.CONTESTANTS, 'bad', Contestant(fail))
    args = ('--contestants', 'bad', 'sklearn-lr', '--seeds', 1)
    found = run(tmp_path, *args)
    (cell,) = found['cells']
    assert cell['contestant'] == 'sklearn-lr'
    (error,) = found['errors']
    assert error['error'] == 'RuntimeError: seed 0 is bad'
    assert 'in fail' in error['traceback']
    text = (tmp_path / 'out' / 'report.md').read_text()
    assert '- table, bad, seed 0: RuntimeError: seed 0 is bad' in text

    # Once more when it may be better:
    good = registry.CONTESTANTS['lightgbm']
    monkeypatch.setitem(registry.CONTESTANTS, 'bad', good)
    assert run(tmp_path, *args)['errors'] == []
    with pytest.raises(SystemExit, match="'worse' is no contestant"):
        run(tmp_path, '--contestants', 'worse')


def guess(calls):
    """A contestant that predicts its setting."""

    def run(table, settings, seed):
        calls.append(settings['at'])
        if settings['at'] > 0.9:
            raise ValueError('too high')
        return Outcome(
            *(np.full(len(y), settings['at']) for y in table.labels[1:]), 1
        )

    return Contestant(run, {'at': 0.05}, {'at': FloatDistribution(0, 1)})


def test_settings(tmp_path, monkeypatch):
    table = make_table(tmp_path, 'binary')
    calls = []
    monkeypatch.setitem(registry.CONTESTANTS, 'guess', guess(calls))
    args = ('--contestants', 'guess', '--seeds', 1, '--tune', '--trials')
    with pytest.warns(UserWarning, match='too high'):
        run(tmp_path, *args, 12)
    # The trials, of which the defaults are one, and the cell:
    assert len(calls) == 12 + 1
    rate = table.labels[1].mean()
    best = min((x for x in calls if x <= 0.9), key=lambda x: abs(x - rate))
    assert calls[-1] == best
    path = tmp_path / 'out' / 'settings' / 'table' / 'guess.json'
    assert json.loads(path.read_text())['settings'] == {'at': best}
    # What has been tried is not tried again; a cell is, with new settings:
    run(tmp_path, *args, 14)
    assert len(calls) in (14 + 1, 14 + 2)
    assert calls.count(0.05) == 1
    # Trials without gain leave the defaults:
    calls.clear()
    path = tmp_path / 'kept.json'
    known = Contestant(
        guess(calls).run, {'at': rate}, {'at': FloatDistribution(0, 0.1)}
    )
    settings.choose(path, known, table, 3, tmp_path / 'kept')
    assert json.loads(path.read_text())['settings'] == {'at': rate}


@pytest.mark.parametrize('task', MAIN)
def test_others(task, tmp_path, monkeypatch):
    monkeypatch.setattr(boosted, 'TREES', 100)
    monkeypatch.setattr(tabm_net, 'EPOCHS', 20)
    table = make_table(tmp_path, task)
    assert table.task == task
    y = table.labels[2]
    for name in OTHERS:
        known = registry.contestant(name)
        chosen = {**known.defaults}
        if name == 'tabm':
            chosen |= {'k': 4, 'width': 32, 'bins': 8, 'batch_size': 64}
        outcome = known.run(table, chosen, 0)
        assert len(outcome.valid) == len(table.valid)
        p = outcome.test
        if task == 'regression':
            assert np.corrcoef(p, y)[0, 1] > 0.9, name
            assert np.sqrt(np.mean((p - y) ** 2)) < 0.6 * y.std(), name
        elif task == 'multiclass':
            assert p.shape == (len(y), 3)
            np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
            assert (p.argmax(1) == y).mean() > 0.7, name
        else:
            assert roc_auc_score(y, p) > 0.9, name


def test_features(tmp_path):
    table = make_table(tmp_path, 'binary')
    plain = registry.contestant('sklearn-lr')
    crossed = registry.contestant('sklearn-lr+crosses')
    chosen = dict(plain.defaults)
    one, two = (x.run(table, chosen, 0) for x in (plain, crossed))
    assert two.parameters > one.parameters
    assert list(table.train.columns) == ['a', 'b', 'c', 'd', 'y']


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        ({}, {'label': 'z'}, r"has no column 'z', only \['a', 'b', 'c'"),
        ({'y': None}, {}, "row 7, column 'y': no label"),
        ({'y': 'perhaps'}, {}, r"rows have the labels \['perhaps'\], too few"),
        ({}, {'task': 'regression'}, "column 'y': 'yes' is no number"),
        ({'y': 'maybe'}, {'task': 'binary'}, "'y' has 3 values"),
    ],
)
def test_bad_files(change, options, message, tmp_path):
    df = make_frame('binary')
    for name, value in change.items():
        df.loc[7, name] = value
    df.to_csv(tmp_path / 'table.csv', index=False)
    with pytest.raises(DataError, match=message):
        tables.read_file(tmp_path / 'table.csv', **{'label': 'y', **options})


@pytest.mark.parametrize('task', MAIN)
def test_own_models(task, tmp_path):
    table = make_table(tmp_path, task)
    known = registry.contestant('dnn-x8')
    few = {'lr': 0.01, 'embedding_dim': 4, 'max_epochs': 3}
    outcome = known.run(table, few, 0)
    assert len(outcome.valid) == len(table.valid)
    p, y = outcome.test, table.labels[2]
    if task == 'regression':
        assert abs(p.mean() - y.mean()) < y.std()
        assert np.corrcoef(p, y)[0, 1] > 0.7
    elif task == 'multiclass':
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
        assert (p.argmax(1) == y).mean() > 0.6
    else:
        assert roc_auc_score(y, p) > 0.85


def test_settings_of_own_models(tmp_path, monkeypatch):
    table = make_table(tmp_path, 'regression')
    monkeypatch.setitem(ours.TRAINER, 'max_epochs', 2)
    known = registry.contestant('fm')
    path = tmp_path / 'fm.json'
    settings.choose(path, known, table, 2, tmp_path / 'trials')
    facts = json.loads(path.read_text())
    tried = read_json(tmp_path / 'trials' / 'trials.json', 'trials')['trials']
    assert len(tried) == 2
    best = min((t for t in tried if t['value']), key=lambda t: t['value'])
    assert facts['valid loss'] == best['value']
    assert facts['settings'] == best['settings']
    assert known.run(table, facts['settings'], 0).parameters > 0


def test_planted_table(tmp_path):
    source = tables.SOURCES['planted-small'](tmp_path)
    assert source.df.shape == (20_000, 40)
    assert len(source.truth) == 11
    assert [len(df) for df in tables.cut(source, 0).parts] == [
        *(16_200, 1_800, 2_000)
    ]


def test_search(tmp_path):
    table = make_table(tmp_path, 'binary')
    table = tables.replace(table, truth=(('a', 'c'),))
    known = registry.contestant('fives')
    outcome = known.run(table, {**known.defaults, 'max_epochs': 2}, 0)
    assert {x.order for x in outcome.found} == {2}
    assert ((outcome.test > 0) & (outcome.test < 1)).all()
    assert len(outcome.test) == len(table.test)

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pyg_featgraph.crossing import CrossFeatures
from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FieldModel

ROOT = Path(__file__).parents[1]


def slow(*values):
    """A case that the default run leaves out, to be done in time."""
    return pytest.param(*values, marks=pytest.mark.slow)


def test_code_of_the_readme(tmp_path, monkeypatch):
    """It runs, and what is promised of the first one is so."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL
    )
    assert len(blocks) == 11
    first = {}
    exec(blocks[0], first)
    assert first['auc'] > 0.75
    assert first['found'].precision_at(5, first['planted'].truth) == 1
    exec('\n'.join(blocks[1:]), first)


def run_example(name, *args):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'examples' / name), *map(str, args)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('data', ['built-in', slow('file')])
def test_main_example(data, tmp_path):
    args = ['--rows', 2000, '--output', tmp_path / 'out']
    if data == 'file':
        PlantedInteractions(2000).write_criteo(tmp_path / 'log.txt.gz')
        args += ['--data', tmp_path / 'log.txt.gz']
    small = ['--epochs', 1, '--hidden', 8, '--embedding-dim', 8]
    out = run_example('criteo_graphfm.py', '--no-progress', *small, *args)
    for name in ('LR', 'FM', 'DNN', 'GraphFM'):
        assert re.search(rf'^{name} +0\.\d{{4}} ', out, re.MULTILINE)
    assert ('Bayes' in out) == (data == 'built-in')
    for name in ('interactions.png', 'edge_weights.png'):
        assert (tmp_path / 'out' / name).read_bytes()[:4] == b'\x89PNG'
    found = InteractionSet.load(tmp_path / 'out' / 'interactions.json')
    assert len(found) > 100
    FieldModel.load(tmp_path / 'out' / 'GraphFM' / 'model.safetensors')


@pytest.mark.parametrize('data', ['built-in', slow('csv'), slow('parquet')])
def test_features_example(data, tmp_path):
    folder = tmp_path / 'out'
    args = ['--no-progress', '--epochs', 1, '--output', folder, '--top', 5]
    if data != 'built-in':
        df = PlantedInteractions(
            3000, {2: 1}, num_numeric=2, num_categorical=3
        ).frame()
        path = tmp_path / f'table.{data}'
        df = df.rename(columns={'label': 'clicked'})
        if data == 'csv':
            df.to_csv(path, index=False)
        else:
            df.to_parquet(path)
        args += ['--data', path, '--label', 'clicked', '--order', 3]
    out = run_example('fives_features.py', *args)
    for name in ('LR', 'LR \\+ FIVES features', 'FIVES'):
        assert re.search(rf'^{name} +0\.\d{{4}}$', out, re.MULTILINE)
    assert ('planted' in out) == (data == 'built-in')
    for name in ('interactions.png', 'layers.png'):
        assert (folder / name).read_bytes()[:4] == b'\x89PNG'
    found = InteractionSet.load(folder / 'interactions.json')
    augmented = pd.read_parquet(folder / 'augmented.parquet')
    crosses = CrossFeatures.load(folder / 'crosses.parquet')
    names = [' x '.join(x.fields) for x in found[:5]]
    assert list(augmented.columns[-len(names) :]) == names
    if data != 'built-in':
        assert len(augmented) == 3000
        again = crosses.transform(df)
        for name in names:
            assert (
                again[name].astype(int) == augmented[name].astype(int)
            ).all()


@pytest.mark.parametrize('data', [slow('built-in'), 'csv'])
def test_aim_example(data, tmp_path):
    folder = tmp_path / 'out'
    args = ['--no-progress', '--output', folder]
    if data == 'csv':
        df = PlantedInteractions(
            1200, {2: 1}, num_numeric=2, num_categorical=3
        ).frame()
        path = tmp_path / 'table.csv'
        df.rename(columns={'label': 'clicked'}).to_csv(path, index=False)
        args += ['--data', path, '--label', 'clicked', '--order', 3]
        args += ['--hidden', 8, '--epochs', 2, '--batch-size', 128]
    else:
        args += ['--epochs', 3, '--rows', 4000, '--batch-size', 128]
    out = run_example('aim_search.py', *args)
    for name in ('FM', 'DeepFM', 'AIM before', 'AIM after'):
        assert re.search(rf'^{name} +0\.\d{{4}} ', out, re.MULTILINE)
    assert ('planted' in out) == (data == 'built-in')
    found = InteractionSet.load(folder / 'interactions.json')
    # So few rows may open nothing that could be drawn:
    figures = ['interactions.png', 'dims.png'][: 2 if len(found) > 0 else 1]
    for name in figures:
        assert (folder / name).read_bytes()[:4] == b'\x89PNG'
    model = FieldModel.load(folder / 'aim.safetensors')
    assert {x.fields for x in model.interactions(by='edges')} <= {
        x.fields for x in found
    }
    if data == 'csv':
        # A run that is over only tells again what it has found:
        run_example('aim_search.py', *args, '--resume')
        assert InteractionSet.load(folder / 'interactions.json') == found


@pytest.mark.parametrize('data', ['built-in', slow('csv')])
def test_pruning_example(data, tmp_path):
    folder = tmp_path / 'out'
    args = ['--no-progress', '--epochs', 1, '--output', folder]
    args += ['--subsets', 3, '--queries', 4]
    if data == 'csv':
        df = PlantedInteractions(
            1200, {2: 1}, num_numeric=2, num_categorical=3
        ).frame()
        path = tmp_path / 'table.csv'
        df.rename(columns={'label': 'clicked'}).to_csv(path, index=False)
        args += ['--data', path, '--label', 'clicked']
    else:
        args += ['--rows', 2500]
    out = run_example('featnet_pruning.py', *args)
    for name in ('FM', 'DeepFM', 'FeatNet'):
        assert re.search(rf'^{name} +0\.\d{{4}} ', out, re.MULTILINE)
    assert '12 combinations of fields a row' in out
    assert ('planted' in out) == (data == 'built-in')
    for name in ('members', 'sizes', 'orders', 'interactions'):
        assert (folder / f'{name}.png').read_bytes()[:4] == b'\x89PNG'
    found = InteractionSet.load(folder / 'interactions.json')
    model = FieldModel.load(folder / 'FeatNet' / 'model.safetensors')
    assert {x.fields for x in found} <= {
        (a, b) for a in model.info.names for b in model.info.names
    }


@pytest.mark.parametrize(
    ('data', 'model'), [slow('built-in', 'lightgbm'), ('csv', 'catboost')]
)
def test_black_box_example(data, model, tmp_path):
    folder = tmp_path / 'out'
    args = ['--no-progress', '--epochs', 1, '--output', folder]
    args += ['--explain', 2, '--model', model]
    df = PlantedInteractions(
        1200, {2: 1}, num_numeric=2, num_categorical=3
    ).frame()
    path = tmp_path / 'table.csv'
    df.rename(columns={'label': 'clicked'}).to_csv(path, index=False)
    if data == 'csv':
        args += ['--data', path, '--label', 'clicked']
    else:
        args += ['--rows', 2500]
    out = run_example('glider_blackbox.py', *args)
    for name in (model, 'LR', 'LR \\+ GLIDER', 'DeepFM', 'DeepFM \\+ GLIDER'):
        assert re.search(rf'^{name} +0\.\d{{4}}$', out, re.MULTILINE)
    assert 'count of 2 rows' in out
    assert ('planted' in out) == (data == 'built-in')
    assert (folder / 'counts.png').read_bytes()[:4] == b'\x89PNG'
    counts = InteractionSet.load(folder / 'counts.json')
    assert {x.order for x in counts} == {2}
    assert {x.score for x in counts} <= {1, 2}
    kept = InteractionSet.load(folder / 'interactions.json')
    assert kept == counts.prune(10)
    crosses = CrossFeatures.load(folder / 'crosses.parquet')
    assert list(crosses.get_feature_names_out()) == [
        ' x '.join(x.fields) for x in kept
    ]


@pytest.mark.parametrize('data', ['built-in', slow('csv')])
def test_estimator_example(data, tmp_path):
    folder = tmp_path / 'out'
    args = ['--no-progress', '--epochs', 1, '--output', folder]
    args += ['--model', 'fm', '--members', 2]
    if data == 'csv':
        df = PlantedInteractions(
            1500, {2: 1}, num_numeric=2, num_categorical=3
        ).frame()
        df.to_csv(tmp_path / 'table.csv', index=False)
        args += ['--data', tmp_path / 'table.csv', '--label', 'I1']
        args += ['--regression']
    else:
        args += ['--rows', 1500]
    out = run_example('estimator.py', *args)
    figures = ['R2'] if data == 'csv' else ['accuracy', 'AUC']
    for name in figures:
        assert re.search(rf'^{name} +-?0\.\d{{4}}$', out, re.MULTILINE)
    assert out.startswith('1 epochs\n epoch  train_loss  valid_loss')
    assert ('planted' in out) == (data == 'built-in')
    names = {x.name for x in folder.iterdir()}
    assert names > {'model.safetensors', 'encoder.parquet'}


@pytest.mark.slow
def test_server_example(tmp_path):
    out = run_example('serve_http.py', '--output', tmp_path, '--rows', 2000)
    assert len(re.findall(r"^0\.\d{3}  \{'I1'", out, re.MULTILINE)) == 3

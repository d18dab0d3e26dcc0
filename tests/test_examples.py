import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyg_featgraph.datasets import PlantedInteractions
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FieldModel

ROOT = Path(__file__).parents[1]


def test_code_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL
    )
    assert len(blocks) == 2
    exec('\n'.join(blocks), {})


def run_example(*args):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / 'examples' / 'criteo_graphfm.py'),
            *('--no-progress', '--epochs', '1', '--hidden', '8'),
            *('--embedding-dim', '8', *map(str, args)),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize('data', ['built-in', 'file'])
def test_main_example(data, tmp_path):
    args = ['--rows', 2000, '--output', tmp_path / 'out']
    if data == 'file':
        PlantedInteractions(2000).write_criteo(tmp_path / 'log.txt.gz')
        args += ['--data', tmp_path / 'log.txt.gz']
    out = run_example(*args)
    for name in ('LR', 'FM', 'DNN', 'GraphFM'):
        assert re.search(rf'^{name} +0\.\d{{4}} ', out, re.MULTILINE)
    assert ('Bayes' in out) == (data == 'built-in')
    for name in ('interactions.png', 'edge_weights.png'):
        assert (tmp_path / 'out' / name).read_bytes()[:4] == b'\x89PNG'
    found = InteractionSet.load(tmp_path / 'out' / 'interactions.json')
    assert len(found) > 100
    FieldModel.load(tmp_path / 'out' / 'GraphFM' / 'model.safetensors')

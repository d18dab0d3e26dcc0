import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyg_featgraph.nn import FieldEdge

DOCS = Path(__file__).parents[1] / 'docs'
METHODS = sorted(
    page.stem
    for page in (DOCS / 'methods').glob('*.md')
    if page.stem != 'index'
)


def run(page, tmp_path, monkeypatch):
    """Runs the code of a page from top to bottom; what it has of it."""
    text = (DOCS / f'{page}.md').read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    # As a module of its own, as PyG looks for the source of operators:
    name = f'code_of_{Path(page).stem}'
    (tmp_path / f'{name}.py').write_text('\n'.join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FieldEdge, 'names', dict(FieldEdge.names))
    importlib.import_module(name)
    return blocks


def test_code_of_the_page_on_extensions(tmp_path, monkeypatch, capsys):
    assert len(run('extend', tmp_path, monkeypatch)) > 5
    # A page that trains and ranks has something to show:
    assert 'valid_auc' in capsys.readouterr().out


@pytest.mark.slow
def test_code_of_serving_runs(tmp_path, monkeypatch, capsys):
    run('serving', tmp_path, monkeypatch)
    assert len(capsys.readouterr().out.splitlines()) > 2


def test_code_of_metrics_and_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run('metrics', tmp_path, monkeypatch)
    out = capsys.readouterr().out
    for name in ('gauc', 'ndcg', 'pr_auc', 'ece', 'ratio', 'auc_phone'):
        assert f"'test_{name}': 0." in out or f"'test_{name}': 1." in out
    run('distributed', tmp_path, monkeypatch)
    assert 'True False' in capsys.readouterr().out


@pytest.mark.slow
def test_script_of_processes_with_torchrun(tmp_path):
    """Two processes come to the figures of one."""
    text = (DOCS / 'distributed.md').read_text(encoding='utf-8')
    block = re.search(r'```python\n(# train.py.*?)```', text, re.DOTALL)[1]
    outs = []
    for num in (1, 2):
        folder = tmp_path / str(num)
        folder.mkdir()
        (folder / 'train.py').write_text(block)
        launcher = ['torch.distributed.run', '--standalone']
        command = [sys.executable, '-m', *launcher, f'--nproc-per-node={num}']
        done = subprocess.run(
            [*command, 'train.py'],
            cwd=folder,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        # As many times as there are processes:
        lines = [x for x in done.stdout.splitlines() if x.startswith('{')]
        outs += [ast.literal_eval(line) for line in lines]
    assert len(outs) == 3
    for name, value in outs[0].items():
        for out in outs[1:]:
            assert out[name] == pytest.approx(value, abs=1e-3)


def test_code_of_the_page_on_large_logs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run('large', tmp_path, monkeypatch)
    shown = capsys.readouterr().out
    assert shown.count('valid_auc') == 3
    assert 'StoredTable(1000, num_fields=39' in shown


@pytest.mark.parametrize('name', METHODS)
def test_code_of_a_method(name, tmp_path, monkeypatch, capsys):
    run(f'methods/{name}', tmp_path, monkeypatch)
    assert ' x ' in capsys.readouterr().out  # an interaction

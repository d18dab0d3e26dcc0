import importlib
import re
import sys
from pathlib import Path

import pytest

from pyg_featgraph.nn import FieldEdge

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize('page', ['docs/extend.md'])
def test_code_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    text = (ROOT / page).read_text(encoding='utf-8')
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    assert len(blocks) > 5
    # As a module of its own, as PyG looks for the source of operators:
    (tmp_path / 'code_of_page.py').write_text('\n'.join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(FieldEdge, 'names', dict(FieldEdge.names))
    importlib.import_module('code_of_page')
    # A page that trains and ranks has something to show:
    assert 'valid_auc' in capsys.readouterr().out


@pytest.mark.slow
def test_code_of_serving_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / 'docs' / 'serving.md').read_text(encoding='utf-8')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    exec('\n'.join(blocks), {})
    assert len(capsys.readouterr().out.splitlines()) > 2

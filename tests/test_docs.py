import importlib
import re
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


@pytest.mark.parametrize('name', METHODS)
def test_code_of_a_method(name, tmp_path, monkeypatch, capsys):
    run(f'methods/{name}', tmp_path, monkeypatch)
    assert ' x ' in capsys.readouterr().out  # an interaction

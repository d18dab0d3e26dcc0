import subprocess
import sys

import pytest

import pyg_featgraph.data

# What models do without data frames, other extras, and files of theirs:
MODELS = """
import sys

blocked = ('pandas', 'pyarrow', 'sklearn', 'matplotlib', 'lightning')
sys.modules.update(dict.fromkeys(blocked))

import torch
from pyg_featgraph.data import FieldGraphLoader, FieldInfo, FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn import FM, FieldModel

info = FieldInfo('abc', (2, 2, 2), (1, 1, 1), ('categorical',) * 3)
index = torch.randint(0, 2, (200, 3)) + torch.tensor([0, 2, 4])
y = torch.arange(200.0) % 2
table = FieldTable(index.int(), torch.ones(200, 3), info, y)
model = FM(info, 4, embedding_std=1.0)
for batch in FieldGraphLoader(table, 8):
    model.loss(batch).backward()
model.save(sys.argv[1])
found = FieldModel.load(sys.argv[1]).interactions(table)
assert InteractionSet.from_json(found.to_json()) == found
print(len(found))
"""


def test_models_need_neither_data_frames_nor_extras(tmp_path):
    # The model has learned nothing, as it says itself:
    quiet = ['-W', 'ignore:The AUC of']
    command = [sys.executable, *quiet, '-c', MODELS, str(tmp_path / 'model')]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (out.stdout.strip(), out.stderr) == ('3', '')


def test_names_are_found_on_first_use():
    for name in pyg_featgraph.data.__all__:
        assert name in dir(pyg_featgraph.data)
        assert getattr(pyg_featgraph.data, name).__name__ == name
    with pytest.raises(AttributeError, match=r"'pyg_featgraph.data' .* 'Feld'"):
        _ = pyg_featgraph.data.Feld

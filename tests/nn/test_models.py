"""What holds of every model."""

import pytest
from model_zoo import MODELS, randomise

from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import LR, FieldModel
from pyg_featgraph.testing import (
    check_compilation,
    check_explanation,
    check_file,
    check_layouts,
    check_precision,
    check_rows,
)

# They differ from others by an option only:
VARIANTS = {
    'GraphFM top',
    'AutoInt attention',
    'FiGNN plain',
    'FIVES hard',
    'IPNN installed',
    'AIM shared',
    'AIM dims',
    'FeatNet shared',
    'FeatNet adjacency',
    'AIM edges',
    'AIM ragged',
    'DeepFM installed',
    'GraphFM paper',
}
every_kind = pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=pytest.mark.slow) if name in VARIANTS else name
        for name in MODELS
    ],
)
every_model = pytest.mark.parametrize('name', MODELS)


@every_model
def test_layouts_agree(name, table):
    check_layouts(randomise(MODELS[name](table.info)), table)


@every_model
def test_rows_are_independent(name, table):
    check_rows(randomise(MODELS[name](table.info)).eval(), table)


@every_model
def test_save_and_load(name, table):
    check_file(randomise(MODELS[name](table.info)).eval(), table)


@every_model
def test_mixed_precision(name, table):
    check_precision(randomise(MODELS[name](table.info)).eval(), table)


@every_kind
def test_compiles_without_graph_breaks(name, table):
    check_compilation(MODELS[name](table.info).eval(), table)


@every_model
def test_explained_by_its_nodes(name, table):
    check_explanation(randomise(MODELS[name](table.info)).eval(), table)


def test_load_rejects_other_files(tmp_path):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(b'nothing like it')
    with pytest.raises(DataError, match=r'model\.safetensors.* no checksum'):
        FieldModel.load(path)


def test_load_rejects_other_versions(info, tmp_path):
    path = tmp_path / 'model.safetensors'
    for version in (1, 99):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('pyg_featgraph.nn.model_file.VERSION', version)
            LR(info).save(path)
        with pytest.raises(DataError, match=f'format version {version}'):
            FieldModel.load(path)

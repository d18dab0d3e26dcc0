"""What holds of every model."""

import pytest
import torch
from loops import as_nodes
from model_zoo import MODELS, randomise

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import LR, FieldModel

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
}
every_kind = pytest.mark.parametrize(
    'name', [name for name in MODELS if name not in VARIANTS]
)
every_model = pytest.mark.parametrize('name', MODELS)


def in_double(batch):
    batch.slot_value = batch.slot_value.double()
    return batch


@every_model
@pytest.mark.parametrize('drop_absent', [False, True])
def test_layouts_agree(name, drop_absent, table):
    model = randomise(MODELS[name](table.info)).double()
    part = table.subset(slice(0, 32))
    part.drop_absent = drop_absent
    batch = in_double(part.batch())
    assert (batch.mask is None) != drop_absent
    nodes = as_nodes(batch)
    if drop_absent:
        assert nodes.num_nodes < 32 * table.info.num_fields
    grads = []
    for form in (batch, nodes):
        out = model(form)
        assert out.size() == (32,)
        model.zero_grad()
        out.square().sum().backward()
        # Edges that choose but do not scale have no gradient:
        used = [p.grad for p in model.parameters() if p.grad is not None]
        grads.append([grad.clone() for grad in used])
    torch.testing.assert_close(model(nodes), model(batch))
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@every_model
def test_rows_are_independent(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    whole = model(table[:10])
    torch.testing.assert_close(model(table[:1]), whole[:1])
    torch.testing.assert_close(model(table[7:10]), whole[7:])
    # Of a single graph, too, as indexing a batch gives it:
    torch.testing.assert_close(model(table[3]), whole[3:4])
    # A row with all fields does not feel that others lack some:
    part = table.subset(slice(0, 64))
    part.drop_absent = True
    batch = part.batch()
    full = batch.mask.all(dim=1)
    assert 0 < full.sum() < 64
    torch.testing.assert_close(model(batch)[full], model(table[:64])[full])
    # A row without any field has a logit as well:
    batch.mask[0] = False
    assert model(batch).isfinite().all()


@every_model
def test_node_vectors_in_place_of_a_batch(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    part = table.subset(slice(0, 16))
    part.drop_absent = True
    batch = part.batch()
    nodes = as_nodes(batch)
    expected = model(batch)
    got = model(model.embed(batch), mask=batch.mask)
    torch.testing.assert_close(got, expected)
    x = model.embed(nodes)
    got = model(x, nodes.edge_index, nodes.field, nodes.batch)
    torch.testing.assert_close(got, expected)


@every_model
def test_save_and_load(name, table, tmp_path):
    model = randomise(MODELS[name](table.info)).eval()
    path = tmp_path / 'model.safetensors'
    model.save(path)
    loaded = FieldModel.load(path).eval()
    assert type(loaded) is type(model)
    assert loaded.config.keys() == model.config.keys()
    torch.testing.assert_close(loaded(table[:8]), model(table[:8]))
    assert [p.name for p in tmp_path.iterdir()] == ['model.safetensors']


def test_load_rejects_other_files(tmp_path):
    path = tmp_path / 'model.safetensors'
    path.write_bytes(b'nothing like it')
    with pytest.raises(DataError, match=r'model\.safetensors.* no checksum'):
        FieldModel.load(path)


def test_load_rejects_other_versions(info, tmp_path):
    path = tmp_path / 'model.safetensors'
    for version in (1, 99):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('pyg_featgraph.nn.field_model.VERSION', version)
            LR(info).save(path)
        with pytest.raises(DataError, match=f'format version {version}'):
            FieldModel.load(path)


@every_kind
def test_compiles_without_graph_breaks(name, table):
    torch._dynamo.reset()
    # A description of the fields as new as after loading a model:
    info = FieldInfo.from_dict(table.info.to_dict())
    table = FieldTable(table.slot_index, table.slot_value, info)
    model = MODELS[name](info)
    options = {'fullgraph': True, 'backend': 'aot_eager', 'dynamic': True}
    compiled = torch.compile(model, **options)
    for size in (16, 24):
        batch = table[:size]
        out = compiled(batch)
        torch.testing.assert_close(out, model(batch))
        out.sum().backward()
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 1
    torch._dynamo.utils.counters.clear()


@every_kind
@torch.no_grad()
def test_compiles_graphs_without_graph_breaks(name, table):
    torch._dynamo.reset()
    info = FieldInfo.from_dict(table.info.to_dict())
    part = FieldTable(table.slot_index, table.slot_value, info)
    part.drop_absent = True
    model = MODELS[name](info).eval()
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    batch = as_nodes(part[:16])
    torch.testing.assert_close(compiled(batch), model(batch))

import pytest
import torch
import torch.nn.functional as F
from loops import as_nodes
from torch_geometric.explain import (
    AttentionExplainer,
    Explainer,
    GNNExplainer,
    ModelConfig,
)
from torch_geometric.nn import GATv2Conv, global_mean_pool

from pyg_featgraph.data import FieldGraphLoader, FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AutoInt,
    DeepFM,
    FeatNet,
    FieldEmbedding,
    FieldModel,
    FiGNN,
    GraphFM,
    GraphFMConv,
    pair_effects,
)

MODELS = {
    'LR': lambda info: LR(info),
    'FM': lambda info: FM(info, 4, embedding_std=0.5),
    'DNN': lambda info: DNN(info, 4, [8]),
    'GraphFM': lambda info: GraphFM(info, 4, 8),
    'GraphFM paper': lambda info: GraphFM(info, 4, 8, variant='paper'),
    'AutoInt': lambda info: AutoInt(info, 4, 8),
    'FiGNN': lambda info: FiGNN(info, 4, 8),
    'FiGNN plain': lambda info: FiGNN(
        info,
        4,
        edge='uniform',
        readout='flatten',
        input_attention=False,
        share_weights=True,
    ),
    'FIVES': lambda info: FIVES(info, 4),
    'FIVES hard': lambda info: FIVES(
        info, 4, 4, mode='straight_through', self_loops=False, readout='last'
    ),
    'FIVES sum': lambda info: FIVES(info, 4, 2, aggr='sum', readout='sum'),
}


TRIPLES = [
    (['I1', 'C1', 'C2'], {'inner': 0.5, 'outer': -0.2}),
    (['I1', 'C3'], {'vector': 0.3, 'scalar': 0.1}),
    (['I2', 'C3'], {'inner': 0.4}),
]
DIMS = [[0, 2], [], [0, 1, 2, 3], [2], [0, 2], [1], [1, 2, 3]]
MODELS |= {
    'DeepFM': lambda info: DeepFM(info, 4, [8]),
    'DeepFM installed': lambda info: DeepFM(info, 4, [8], TRIPLES),
    'IPNN': lambda info: IPNN(info, 4, [8]),
    'IPNN installed': lambda info: IPNN(info, 4, [8], TRIPLES),
    'AIM': lambda info: AIM(info, 4),
    'AIM shared': lambda info: AIM(info, 4, TRIPLES, function_wise=False),
    'AIM dims': lambda info: AIM(info, 4, TRIPLES, dim_gates=True, norm=False),
    'AIM ragged': lambda info: AIM(
        info,
        4,
        TRIPLES,
        functions=['inner'],
        function_wise=False,
        order_wise=False,
        dims={'shared': DIMS},
        hidden_channels=[8],
    ),
}
MODELS |= {
    'FeatNet': lambda info: FeatNet(info, 4, 3, 4, hidden_channels=[8]),
    'FeatNet shared': lambda info: FeatNet(
        info,
        4,
        3,
        4,
        hidden_channels=[8],
        share_queries=True,
        share_keys=False,
        share_thresholds=False,
    ),
}


def randomise(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize('name', MODELS)
def test_layouts_agree(name, table):
    model = randomise(MODELS[name](table.info)).double()
    batch = table[:16]
    batch.slot_value = batch.slot_value.double()
    grads = []
    for form in (batch, as_nodes(batch)):
        out = model(form)
        assert out.size() == (16,)
        model.zero_grad()
        out.square().sum().backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    torch.testing.assert_close(model(as_nodes(batch)), model(batch))
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize('name', MODELS)
def test_rows_are_independent(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    whole = model(table[:10])
    torch.testing.assert_close(model(table[:1]), whole[:1])
    torch.testing.assert_close(model(table[7:10]), whole[7:])
    # Of a single graph, too, as indexing a batch gives it:
    torch.testing.assert_close(model(table[3]), whole[3:4])


@pytest.mark.parametrize('name', MODELS)
def test_absent_fields(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    part = table.subset(slice(0, 64))
    part.drop_absent = True
    batch = part.batch()
    assert batch.num_nodes < 64 * table.info.num_fields
    out = model(batch)
    assert out.size() == (64,)
    assert out.isfinite().all()
    # A row with all fields does not feel that others lack some:
    full = batch.ptr.diff() == table.info.num_fields
    assert full.any()
    torch.testing.assert_close(out[full], model(table[:64])[full])


@pytest.mark.parametrize('name', MODELS)
def test_save_and_load(name, table, tmp_path):
    model = randomise(MODELS[name](table.info)).eval()
    path = tmp_path / 'model.safetensors'
    model.save(path)
    loaded = FieldModel.load(path).eval()
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model)
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
            patch.setattr('pyg_featgraph.nn.models.base.VERSION', version)
            LR(info).save(path)
        with pytest.raises(DataError, match=f'format version {version}'):
            FieldModel.load(path)


@pytest.mark.parametrize('name', MODELS)
def test_compiles_without_graph_breaks(name, table):
    torch._dynamo.reset()
    # A description of the fields as new as after loading a model:
    info = FieldInfo.from_dict(table.info.to_dict())
    table = FieldTable(table.slot_index, table.slot_value, info)
    model = MODELS[name](info)
    compiled = torch.compile(model, fullgraph=True, backend='aot_eager')
    for size in (16, 24, 7, 40):
        batch = table[:size]
        out = compiled(batch)
        torch.testing.assert_close(out, model(batch))
        out.sum().backward()
    # One graph for the first size and one for all others:
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] <= 2
    torch._dynamo.utils.counters.clear()


@pytest.mark.parametrize('name', MODELS)
def test_mixed_precision(name, table):
    model = randomise(MODELS[name](table.info))
    batch = table[:32]
    with torch.autocast('cpu', torch.bfloat16):
        out = model(batch)
        out.float().sum().backward()
    expected = model(batch)
    # bfloat16 has 8 bits; activations pass a few layers:
    error = (out.float() - expected).norm() / expected.norm()
    assert error < 0.1
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_fm_is_the_sum_over_pairs(table):
    model = randomise(FM(table.info, 4)).double()
    batch = table[:5]
    x = model.embedding(batch.slot_index, batch.slot_value.double())
    w = model.linear.linear(batch.slot_index, batch.slot_value.double())
    for b in range(5):
        expected = model.linear.bias[0] + w[b].sum()
        for i in range(7):
            for j in range(i + 1, 7):
                expected = expected + x[b, i] @ x[b, j]
        torch.testing.assert_close(model(batch)[b], expected)


def test_graphfm_arguments(info):
    assert [conv.m for conv in GraphFM(info, 4, 8).convs] == [7, 4, 2]
    with pytest.raises(ValueError, match="'m' needs one entry"):
        GraphFM(info, m=[3])
    with pytest.raises(ValueError, match='must be a multiple'):
        GraphFM(info, hidden_channels=7)


def test_edge_weights(table):
    model = randomise(GraphFM(table.info, 4, 8, variant='paper'))
    batch = table[:6]
    weights = model.edge_weights(batch)
    assert [w.size() for w in weights] == [(6, 7, 7)] * 3
    for w, m in zip(weights, (7, 4, 2), strict=True):
        assert ((w > 0).sum(2) == m).all()
        assert (w < 1).all()
    for one, two in zip(
        weights, model.edge_weights(as_nodes(batch)), strict=True
    ):
        torch.testing.assert_close(one, two)


class PairModel(torch.nn.Module):
    """Has one product of two fields, and a sum of others."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, batch):
        x = batch.slot_value
        return self.weight * x[:, 0] * x[:, 2] + x[:, 1] ** 2 + x[:, 0]


def test_pair_effects_of_a_known_function():
    # Independent values with unit variance:
    info = FieldInfo(
        ('a', 'b', 'c'), (1, 1, 1), (1, 1, 1), ('categorical',) * 3
    )
    value = torch.randint(0, 2, (4000, 3)) * 2.0 - 1
    table = FieldTable(torch.zeros(4000, 3).int(), value, info)
    effects = pair_effects(PairModel(), table, num_rows=4000)
    assert effects[0, 1] < 1e-6
    assert effects[1, 2] < 1e-6
    # 3 x_a x_c has standard deviation 3; the relative error is below 3 %:
    assert effects[0, 2] == pytest.approx(3, rel=0.1)
    torch.testing.assert_close(effects, effects.t())


class MissingModel(torch.nn.Module):
    """Counts the fields that are there, and squares it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        size = batch.ptr.diff()
        return self.weight * size.square()


def test_pair_effects_leave_out_missing_fields(table):
    part = table.subset(slice(0, 200))
    assert (pair_effects(MissingModel(), part) == 0).all()
    part.drop_absent = True
    effects = pair_effects(MissingModel(), part)
    missing = ~part.info.present(part.slot_index)
    some = missing.any(0).float()
    assert some.sum() >= 2
    assert ((effects > 0) <= some.outer(some).bool()).all()
    assert (effects > 0).any()


def test_interactions(table):
    assert len(LR(table.info).interactions(table)) == 0
    model = randomise(FM(table.info, 4))
    found = model.interactions(table, top=5, num_rows=32)
    assert len(found) == 5
    assert found[0].source == 'FM'
    graphfm = GraphFM(table.info, 4, 8)
    assert len(graphfm.interactions(table, num_rows=16)) == 21
    assert len(graphfm.interactions(table, top=3, by='edges')) == 3
    with pytest.raises(ValueError, match="pass a table as 'data'"):
        model.interactions()
    with pytest.raises(ValueError, match="'by' must be"):
        graphfm.interactions(table, by='luck')
    with pytest.raises(ValueError, match='LR has no edge weights'):
        LR(table.info).interactions(table, by='edges')
    with pytest.raises(ValueError, match='has no edge weights'):
        FiGNN(table.info, edge='uniform').interactions(table, by='edges')
    fives = FIVES(table.info, 4, self_loops=False)
    assert fives.interactions(by='edges', top=5) == fives.derive()[:5]


def test_fignn_edge_weights(table):
    model = randomise(FiGNN(table.info, 4, 8))
    (weight,) = model.edge_weights(table[:6])
    torch.testing.assert_close(weight.sum(2), torch.ones(6, 7))
    (nodes,) = model.edge_weights(as_nodes(table[:6]))
    torch.testing.assert_close(nodes, weight)
    with pytest.raises(ValueError, match="'edge' must be"):
        FiGNN(table.info, edge='none')
    with pytest.raises(ValueError, match="'readout' must be"):
        FiGNN(table.info, readout='none')
    with pytest.raises(ValueError, match='must be a multiple'):
        FiGNN(table.info, hidden_channels=7)


class Mixed(torch.nn.Module):
    def __init__(self, info, first):
        super().__init__()
        self.embedding = FieldEmbedding(info, 8, std=0.5)
        self.conv1 = first
        self.conv2 = GATv2Conv(8, 8)
        self.lin = torch.nn.Linear(8, 1)

    def forward(self, batch):
        x = self.embedding.embed_nodes(batch.node_index, batch.node_value)
        x = self.conv1(x, batch.edge_index).relu()
        x = self.conv2(x, batch.edge_index).relu()
        x = global_mean_pool(x, batch.batch, batch.num_graphs)
        return self.lin(x).squeeze(-1)


@pytest.mark.parametrize(
    'first',
    [
        lambda: GATv2Conv(8, 8),
        lambda: GraphFMConv(8, 8, m=3, residual=True, norm=True),
    ],
    ids=['stock', 'mixed'],
)
@pytest.mark.parametrize('drop_absent', [False, True])
def test_stock_layers_train_on_field_graphs(first, drop_absent, table):
    model = Mixed(table.info, first())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    part = table.subset(slice(0, 512))
    part.drop_absent = drop_absent
    for _ in range(8):
        loader = FieldGraphLoader(part, 128, True)
        total = 0.0
        for batch in loader:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(batch), batch.y)
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) / len(loader)
        losses.append(total)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize('name', ['GraphFM', 'GraphFM paper', 'FiGNN', 'FIVES'])
@pytest.mark.parametrize(
    'algorithm', [AttentionExplainer(), GNNExplainer(epochs=3)]
)
def test_explainers(name, algorithm, table):
    model = randomise(MODELS[name](table.info))
    batch = table[:1]
    x = model.embedding.embed_nodes(batch.node_index, batch.node_value).detach()
    explainer = Explainer(
        model,
        algorithm,
        explanation_type='model',
        edge_mask_type='object',
        model_config=ModelConfig(
            mode='binary_classification', task_level='graph', return_type='raw'
        ),
    )
    edges = batch.complete_edges(self_loops=False)
    explanation = explainer(x, edges, field=batch.field, batch=batch.batch)
    mask = explanation.edge_mask
    assert mask.size() == (edges.size(1),)
    assert mask.isfinite().all()
    assert mask.max() > 0

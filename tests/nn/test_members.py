import pytest
import torch
from model_zoo import MODELS, randomise
from torch.testing import assert_close
from torch_geometric.data import Batch

from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    DeepFM,
    FeatNet,
    FieldModel,
    MemberLinear,
    MemberMLP,
    MemberScale,
    MulticlassHead,
)
from pyg_featgraph.testing import (
    check_compilation,
    check_explanation,
    check_members,
    single_member,
)
from pyg_featgraph.training import fit


@pytest.mark.parametrize('name', MODELS)
def test_members_are_models(name, table):
    check_members(MODELS[name](table.info), table)


@pytest.mark.parametrize('cls', [DNN, FIVES])
def test_compiles_with_members(cls, table):
    check_compilation(cls(table.info, 4, members=3).eval(), table)


def test_exports_with_members(table):
    model = DNN(table.info, 4, [8], members=3).eval()
    x = model.embed(table[:6])
    size = {0: torch.export.Dim('batch')}
    program = torch.export.export(model, (x,), dynamic_shapes=(size,))
    x = model.embed(table[:9])
    assert_close(program.module()(x), model(table[:9]))


def test_explained_with_members(table):
    model = randomise(FIVES(table.info, 4, members=3)).eval()
    check_explanation(model, table)


@pytest.mark.parametrize(
    'make',
    [
        lambda info: DNN(info, 4, [8], members=4),
        lambda info: AIM(info, 4, members=4),
        lambda info: FIVES(info, 4, members=4),
        lambda info: FM(info, 4, head=MulticlassHead(3), members=4),
        lambda info: DeepFM(info, 4, [8], members=4, head='ranking'),
    ],
)
@pytest.mark.parametrize('num_rows', [12, 10, 2])
@pytest.mark.parametrize('weighted', [False, True])
def test_rows_are_dealt_out(make, num_rows, weighted, table):
    model = make(table.info).double().eval()
    batch = table[:num_rows]
    batch.y = torch.arange(num_rows).remainder(3).clamp(max=2).double()
    if model.head.name == 'binary':
        batch.y = batch.y.clamp(max=1)
    weight = torch.ones(num_rows, dtype=torch.double)
    if weighted:
        weight = batch.sample_weight = torch.rand(num_rows).double()
    size = -(-num_rows // 4)
    parts = [slice(i, i + size) for i in range(0, num_rows, size)]
    singles = [single_member(model, m) for m in range(4)]
    with torch.no_grad():
        totals, counts = [], []
        for part, single in zip(parts, singles, strict=False):
            data = table[part.start : min(part.stop, num_rows)]
            outs = single.outputs(single.nodes(data))
            y, w = batch.y[part], weight[part]
            for out in outs:
                out = out.squeeze(-1)
                if model.head.name == 'ranking':
                    pairs = (y[:, None] > y) * (w[:, None] * w)
                    cost = torch.nn.functional.softplus(out - out[:, None])
                    totals.append((pairs * cost).sum())
                    counts.append(pairs.sum())
                else:
                    totals.append((model.head.losses(out, y) * w).sum())
                    counts.append(w.sum())
    expected = sum(totals) / sum(counts).clamp(min=1e-12)
    for data in (batch, _graph(batch)):
        assert_close(model.loss(data), expected)
    # Without drawing anything:
    state = torch.get_rng_state()
    model.train().loss(batch)
    assert (torch.get_rng_state() == state).all()


def _graph(batch):
    graph = Batch.from_data_list(batch.to_data_list())
    graph.y = batch.y
    if 'sample_weight' in batch:
        graph.sample_weight = batch.sample_weight
    return graph


def test_dealt_out_alike_in_training(table):
    # The rows that fill up a batch count alike in both layouts:
    for cls, options in ((AIM, {'dim_gates': True}), (FeatNet, {})):
        model = cls(table.info, 4, members=4, **options).double()
        batch = table[:10]
        batch.slot_value = batch.slot_value.double()
        assert_close(model.loss(_graph(batch)), model.loss(batch))


def test_members_differ_from_the_start(table):
    model = DNN(table.info, 4, [8], members=3)
    scale = model.embedding.scale.weight
    assert scale.size() == (3, table.info.num_fields, 4)
    assert abs(scale.mean() - 1) < 0.2
    assert 0.3 < scale.std() < 0.7
    outs = model.member_logits(table[:5])
    assert outs.size() == (3, 5)
    assert (outs.std(dim=0) > 1e-3).all()
    before = scale.detach().clone()
    model.reset_parameters()
    assert (model.embedding.scale.weight != before).all()


def test_single_models_have_no_scales(table):
    for name, make in MODELS.items():
        model = make(table.info)
        kinds = [type(x) for x in model.modules()]
        assert MemberScale not in kinds, name
    model = DNN(table.info, 4, [8])
    assert_close(model.member_logits(table[:5])[0], model(table[:5]))


def test_merged_are_mean_probabilities(table):
    model = randomise(DNN(table.info, 4, [8], members=3))
    mean = model.member_logits(table[:5]).sigmoid().mean(dim=0)
    assert_close(model(table[:5]).sigmoid(), mean)


class Spy(FM):
    """Remembers the nodes that it gets."""

    def propagate(self, nodes):
        self.seen = nodes
        return super().propagate(nodes)


@pytest.mark.parametrize('members', [1, 4])
def test_fields_are_dropped_as_a_whole(members, table):
    model = Spy(table.info, 4, members=members, field_dropout=0.4)
    torch.nn.init.ones_(model.linear.table.weight)
    batch = table[:200]
    for data in (batch, Batch.from_data_list(batch.to_data_list())):
        model.eval()(data)
        plain = model.seen.x
        model.train()(data)
        vectors, weights = model.seen.x
        kept = weights.squeeze(-1) != 0
        assert 0.55 < kept.double().mean() < 0.65
        assert_close(vectors, plain[0] * kept.unsqueeze(-1) / 0.6)
        assert_close(weights, plain[1] * kept.unsqueeze(-1) / 0.6)
        if members > 1:
            first, second = kept.chunk(members)[:2]
            assert (first != second).any()
    # Those that training lowers the loss of, too:
    model.loss(batch)
    assert 0.5 < (model.seen.x[1] != 0).double().mean() < 0.7


def test_edge_weights_are_means_over_members(table):
    model = randomise(FIVES(table.info, 4, edge='attention', members=3)).eval()
    singles = [single_member(model.double(), m) for m in range(3)]
    batch = table[:5]
    batch.slot_value = batch.slot_value.double()
    expected = [single.edge_weights(batch) for single in singles]
    for k, weight in enumerate(model.edge_weights(batch)):
        assert weight.size(0) == 5
        mean = torch.stack([x[k] for x in expected]).mean(dim=0)
        assert_close(weight, mean)


def test_orders_are_merged_over_members(table):
    model = randomise(FIVES(table.info, 4, members=3)).double().eval()
    batch = table[:5]
    batch.slot_value = batch.slot_value.double()
    singles = [single_member(model, m).order_logits(batch) for m in range(3)]
    expected = torch.stack(singles).sigmoid().mean(dim=0)
    assert_close(model.order_logits(batch).sigmoid(), expected)


def test_compact_keeps_members(table):
    model = AIM(table.info, 4, hidden_channels=[8], members=3, dim_gates=True)
    model(table[:64])
    model.eval()
    with torch.no_grad():
        for _, conv in model.layer.items():
            conv.gate[::2] = 0
        model.dim_gate[:, 1] = 0
    small = model.compact()
    batch = table[:20]
    assert_close(small.member_logits(batch), model.member_logits(batch))
    with torch.no_grad():
        for _, conv in model.layer.items():
            conv.gate.zero_()
    small = model.compact()
    assert small.mlp is None
    assert_close(small.member_logits(batch), model.member_logits(batch))


def test_trains_with_sparse_tables(table, tmp_path):
    model = DeepFM(table.info, 4, [8], sparse=True, members=3)
    model.loss(table[:16]).backward()
    assert model.embedding.weight.grad.is_sparse
    assert not model.embedding.scale.weight.grad.is_sparse
    before = model.embedding.scale.weight.detach().clone()
    parts = table.subset(slice(0, 500)), table.subset(slice(500, 700))
    fit(model, *parts, directory=tmp_path, max_epochs=1, batch_size=99)
    assert (model.embedding.scale.weight != before).any()
    loaded = FieldModel.load(tmp_path / 'model.safetensors').eval()
    assert loaded.members == 3
    assert_close(loaded(table[:8]), model.eval()(table[:8]))


def test_layers_of_members():
    x = torch.randn(6, 2, 5)
    for bias in (True, False):
        lin = MemberLinear(5, 4, members=3, bias=bias)
        out = lin(x)
        for m in range(3):
            part = slice(2 * m, 2 * m + 2)
            expected = x[part] @ lin.weight[m].t()
            if bias:
                expected = expected + lin.bias[m]
            assert_close(out[part], expected)
    mlp = MemberMLP([5, 7, 2], 3)
    hidden = mlp.hidden.lins[0](x[:, 0]).relu()
    assert_close(mlp(x[:, 0]), mlp.lin(hidden))
    assert MemberMLP([5, 2], 3)(x[:, 0]).size() == (6, 2)


def test_options_are_checked(info):
    for options in ({'members': 0}, {'members': 2.5}, {'field_dropout': 1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            DNN(info, **options)


def test_interactions_tell_how_far_members_agree(table):
    model = randomise(DNN(table.info, 4, [8], members=3)).double().eval()
    part = table.subset(slice(0, 200))
    found = model.interactions(part, num_rows=40)
    singles = [
        single_member(model, m).interactions(part, num_rows=40)
        for m in range(3)
    ]
    scores = [{x.fields: x.score for x in ranking} for ranking in singles]
    for x in found:
        own = [score.get(x.fields, 0.0) for score in scores]
        low, high = x.detail['members']
        assert low == pytest.approx(min(own), abs=1e-5)
        assert high == pytest.approx(max(own), abs=1e-5)
        assert len(x.detail['interval']) == 2
    assert 'members' in found.to_pandas()['detail'][0]
    assert 'members' not in singles[0][0].detail

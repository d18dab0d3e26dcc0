"""What is told of single models."""

import pytest
import torch
import torch.nn.functional as F
from loops import as_nodes
from model_zoo import MODELS, randomise
from torch_geometric.nn import GATv2Conv, global_mean_pool

from pyg_featgraph.data import FieldGraphLoader
from pyg_featgraph.nn import (
    FIVES,
    FM,
    LR,
    FieldEmbedding,
    FiGNN,
    GraphFM,
    GraphFMConv,
    HadamardScore,
    TopM,
)


def test_dropout_of_node_vectors(table):
    batch = table[:8]
    # All but nothing is left of the vectors, so only biases speak:
    model = randomise(GraphFM(table.info, 4, 8, 2, embedding_dropout=0.999))
    zero = batch.clone()
    zero.slot_value = 0 * batch.slot_value
    torch.testing.assert_close(model(batch), model(zero))
    model.eval()
    assert (model(batch) - model(zero)).abs().max() > 0.1
    options = {'readout': 'flatten', 'input_attention': False}
    model = randomise(FiGNN(table.info, 4, dropout=0.999, **options))
    torch.testing.assert_close(model(batch), model(zero))
    model.eval()
    torch.testing.assert_close(model(batch), model(batch))
    assert (model(batch) - model(zero)).abs().max() > 0.1
    # What is left is scaled up:
    plain = randomise(FiGNN(table.info, 4, 8, dropout=0.0))
    half = randomise(FiGNN(table.info, 4, 8, dropout=0.5))
    half.load_state_dict(plain.state_dict())
    seen = []
    half.attention.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    half(batch)
    x = half.embedding.embed(batch)
    kept = seen[0] != 0
    assert 0.3 < kept.float().mean() < 0.7
    torch.testing.assert_close(seen[0][kept], 2 * x[kept])
    assert (plain(batch) - half.eval()(batch)).abs().max() < 1e-6


def test_initial_head_of_graphfm(info):
    for layers, channels in ((1, 1024), (2, 2048)):
        model = GraphFM(info, 4, channels, layers)
        size = layers * channels
        std = float(model.lin.weight.std())
        assert std == pytest.approx((2 / (size + 1)) ** 0.5, rel=0.1)
        assert (model.lin.bias == 0).all()


@pytest.mark.parametrize('name', ['AutoInt attention', 'FIVES subset'])
def test_edge_weights_of_rows(name, table):
    model = randomise(MODELS[name](table.info))
    part = table.subset(slice(0, 16))
    part.drop_absent = True
    batch = part.batch()
    weights = model.edge_weights(batch)
    for one, two in zip(
        weights, model.edge_weights(as_nodes(batch)), strict=True
    ):
        assert one.size() == (16, 7, 7)
        torch.testing.assert_close(one, two)
        assert (one[~batch.mask] == 0).all()
        assert (one.mT[~batch.mask] == 0).all()


def test_fm_is_the_sum_over_pairs(table):
    model = randomise(FM(table.info, 4)).double()
    batch = table[:5]
    x = model.embedding(batch.slot_index, batch.slot_value.double())
    w = model.linear.table(batch.slot_index, batch.slot_value.double())
    for b in range(5):
        expected = model.linear.bias[0, 0] + w[b].sum()
        for i in range(7):
            for j in range(i + 1, 7):
                expected = expected + x[b, i] @ x[b, j]
        torch.testing.assert_close(model(batch)[b], expected)


def test_graphfm_arguments(info):
    assert [conv.edge.m for conv in GraphFM(info, 4, 8).convs] == [7, 4, 2]
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


def test_interactions(table):
    assert len(LR(table.info).interactions(table)) == 0
    model = randomise(FM(table.info, 4))
    found = model.interactions(table, top=5, num_rows=32)
    assert len(found) == 5
    assert found[0].source == 'FM'
    graphfm = GraphFM(table.info, 4, 8)
    assert len(graphfm.interactions(table, num_rows=16)) == 21
    found = graphfm.interactions(table, top=3, by='edges', num_rows=50)
    detail = {'unit': 'mean edge weight', 'rows': 50}
    assert [x.detail for x in found] == [detail] * 3
    with pytest.raises(ValueError, match="pass a table as 'data'"):
        model.interactions()
    with pytest.raises(ValueError, match="'by' must be"):
        graphfm.interactions(table, by='luck')
    with pytest.raises(ValueError, match='LR has no edge weights'):
        LR(table.info).interactions(table, by='edges')
    with pytest.raises(ValueError, match='has no edge weights'):
        FiGNN(table.info, edge='uniform').interactions(table, by='edges')
    with pytest.raises(TypeError, match='nonsense'):
        graphfm.interactions(table, by='edges', nonsense=1)
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
        lambda: GraphFMConv(
            8, 8, TopM(HadamardScore(8), 3), residual=True, norm=True
        ),
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

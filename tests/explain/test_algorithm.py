import logging

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer
from torch_geometric.explain.metric import fidelity
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    MessagePassing,
    global_mean_pool,
)
from torch_geometric.nn.models import GIN
from torch_geometric.utils import to_undirected

from pyg_featgraph.explain import (
    GraphPerturbation,
    MADEXExplainer,
    NodePerturbation,
    madex,
)

FAST = {
    'num_samples': (600, 100, 100),
    'hidden_channels': (64, 32),
    'max_epochs': 30,
}
NODE = {
    'mode': 'multiclass_classification',
    'task_level': 'node',
    'return_type': 'raw',
}
GRAPH = NODE | {'task_level': 'graph'}
REGRESSION = {'mode': 'regression', 'task_level': 'node'}


class Weighted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(4, 1)

    def forward(self, x, edge_index, edge_weight, scale):
        return scale * self.conv(x, edge_index, edge_weight)


class Net(torch.nn.Module):
    def __init__(self, conv, activation=None):
        super().__init__()
        self.one, self.two = conv(4, 8), conv(8, 3)
        self.dropout = torch.nn.Dropout(0.5)
        self.activation = activation

    def forward(self, x, edge_index):
        x = self.dropout(self.one(x, edge_index).relu())
        x = self.two(x, edge_index)
        return x if self.activation is None else self.activation(x)


class GraphNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(4, 8)
        self.lin = torch.nn.Linear(8, 3)

    def forward(self, x, edge_index, batch=None):
        x = self.conv(x, edge_index).tanh()
        return self.lin(global_mean_pool(x, batch)).sigmoid()


class Product(torch.nn.Module):
    """The product of two nodes, and all others as a sum."""

    def __init__(self, one, two):
        super().__init__()
        self.pair = [one, two]

    def forward(self, x, edge_index, batch=None):
        if batch is None:
            batch = torch.zeros(len(x), dtype=torch.long)
        size = int(batch.max()) + 1
        x = x[:, 0].view(size, -1)
        return 3 * x[:, self.pair].prod(dim=1) + x.sum(dim=1)


def explain(model, config, *args, kind='model', options=FAST, **kwargs):
    explainer = Explainer(
        model,
        algorithm=MADEXExplainer(**options),
        explanation_type=kind,
        node_mask_type='object',
        model_config=config,
    )
    return explainer, explainer(*args, **kwargs)


@pytest.fixture
def graph():
    """A random tree."""
    node = torch.arange(1, 30)
    parent = (torch.rand(29) * node).long()
    edge_index = to_undirected(torch.stack([parent, node]))
    return torch.randn(30, 4), edge_index


def parts(explanation, num_nodes):
    """What the interactions add up to at each node."""
    total = [0.0] * num_nodes
    for one in explanation.interactions:
        for name in one.fields:
            total[int(name.removeprefix('node '))] += one.score / one.order
    largest = max(total)
    return torch.tensor([[x / largest] for x in total])


@pytest.mark.parametrize('detector', ['nid', 'gradient_nid'])
def test_planted_pair_of_nodes_is_found(detector):
    x = torch.rand(7, 1) + 0.5
    edge_index = torch.combinations(torch.arange(7)).t()
    options = FAST | {'detector': detector}
    config = REGRESSION | {'task_level': 'graph'}
    _, out = explain(Product(2, 5), config, x, edge_index, options=options)
    best, *others = out.interactions
    assert best.fields == ('node 2', 'node 5')
    assert out.interaction_index[:, 0].tolist() == [2, 5]
    assert sorted(out.node_mask[:, 0].topk(2).indices.tolist()) == [2, 5]
    assert all(2 * x.score < best.score for x in others)
    assert {x.order for x in others} == ({7} if detector == 'nid' else {2})
    torch.testing.assert_close(out.node_mask, parts(out, 7))


class Neighbours(MessagePassing):
    """Each node's number times the sum over those that point to it."""

    def __init__(self):
        super().__init__(aggr='sum')

    def forward(self, x, edge_index):
        return 3 * x * self.propagate(edge_index, x=x) + x


def test_planted_neighbours_are_found():
    # 0 -> 1 -> 2 <- 3, and node 4 is alone:
    edge_index = torch.tensor([[0, 1, 3], [1, 2, 2]])
    x = torch.tensor([[1.0], [2.0], [1.0], [1.5], [1.0]])
    _, out = explain(Neighbours(), REGRESSION, x, edge_index, index=2)
    assert out.interactions[0].fields == ('node 1', 'node 2')
    assert out.interactions[1].fields == ('node 2', 'node 3')
    assert out.node_mask[[0, 4]].tolist() == [[0], [0]]
    assert out.node_mask.argmax() == 2
    _, out = explain(Neighbours(), REGRESSION, x, edge_index, index=4)
    assert len(out.interactions) == 0
    assert out.interaction_index.size() == (2, 0)
    assert not out.node_mask.any()


@pytest.mark.parametrize('return_type', ['raw', 'probs', 'log_probs'])
@pytest.mark.parametrize('conv', [GCNConv, GATConv])
def test_node_level(graph, conv, return_type):
    activation = {
        'raw': None,
        'probs': torch.nn.Softmax(dim=1),
        'log_probs': torch.nn.LogSoftmax(dim=1),
    }[return_type]
    model = Net(conv, activation)
    config = NODE | {'return_type': return_type}
    explainer, out = explain(model, config, *graph, index=11)
    assert all(module.training for module in model.modules())
    assert out.validate()
    assert out.node_mask.size() == (30, 1)
    assert out.node_mask.max() == 1
    torch.testing.assert_close(out.node_mask, parts(out, 30))
    pairs = out.interactions.of_order(2)
    names = [
        {f'node {i}', f'node {j}'}
        for i, j in out.interaction_index.t().tolist()
    ]
    assert names == [set(pair.fields) for pair in pairs]
    assert out.interaction_strength.tolist() == pytest.approx(
        [pair.score for pair in pairs]
    )
    assert all(0 <= x <= 1 for x in fidelity(explainer, out))
    # The same as by hand, whatever the model returns:
    data = Data(x=graph[0], edge_index=graph[1])
    target = int(out.target[11])
    output = 'probability' if return_type == 'probs' else 'logit'
    rows = NodePerturbation(model, data, 11, target=target, output=output)
    (found,) = madex(rows, detector='gradient_nid', progress=False, **FAST)
    assert out.interactions == found.interactions
    assert out.local == [found]


def test_the_class_that_is_given_is_explained(graph):
    model = Net(GCNConv)
    data = Data(x=graph[0], edge_index=graph[1])
    target = torch.arange(30) % 3
    explainer, out = explain(
        model, NODE, *graph, kind='phenomenon', target=target, index=16
    )
    rows = NodePerturbation(model, data, 16, target=1)
    (found,) = madex(rows, detector='gradient_nid', progress=False, **FAST)
    assert out.interactions == found.interactions
    assert all(0 <= x <= 1 for x in fidelity(explainer, out))


def test_other_arguments_are_handed_on(graph):
    x, edge_index = graph
    kwargs = {'edge_weight': torch.rand(edge_index.size(1)), 'scale': 5.0}
    model = Weighted()
    config = REGRESSION | {'mode': 'binary_classification'}
    config |= {'return_type': 'raw'}
    explainer, out = explain(model, config, x, edge_index, index=2, **kwargs)
    data = Data(x=x, edge_index=edge_index, **kwargs)
    rows = NodePerturbation(model, data, 2, args=list(kwargs))
    (found,) = madex(rows, detector='gradient_nid', progress=False, **FAST)
    assert out.interactions == found.interactions
    assert all(0 <= x <= 1 for x in fidelity(explainer, out))


def test_strengths_are_means_over_several_outputs(graph):
    model = GIN(4, 8, 2, 1)
    config = NODE | {'mode': 'binary_classification'}
    index = torch.tensor([3, 8])
    _, out = explain(model, config, *graph, index=index)
    one, two = (found.interactions for found in out.local)
    assert out.interactions == one.merge(two, method='mean')
    score = {x.fields: x.score for x in out.interactions}
    for fields, value in score.items():
        both = [
            sum(x.score for x in each if x.fields == fields)
            for each in (one, two)
        ]
        assert value == pytest.approx(sum(both) / 2)
    torch.testing.assert_close(out.node_mask, parts(out, 30))


def test_graph_level():
    graphs = [
        Data(x=torch.randn(n, 4), edge_index=torch.randint(0, n, (2, 2 * n)))
        for n in (5, 7, 6)
    ]
    batch = Batch.from_data_list(graphs)
    model = GraphNet().train()
    config = GRAPH | {
        'mode': 'binary_classification',
        'return_type': 'probs',
    }
    model.lin = torch.nn.Linear(8, 1)
    explainer, out = explain(
        model, config, batch.x, batch.edge_index, batch=batch.batch, index=1
    )
    assert model.training
    assert out.validate()
    # The nodes of the second graph are numbered from 5:
    assert not out.node_mask[:5].any()
    assert not out.node_mask[12:].any()
    assert out.node_mask[5:12].any()
    torch.testing.assert_close(out.node_mask, parts(out, 18))
    rows = GraphPerturbation(model, [graphs[1]], output='probability')
    (found,) = madex(rows, detector='gradient_nid', progress=False, **FAST)
    shifted = [
        tuple(sorted(f'node {int(x[5:]) + 5}' for x in one.fields))
        for one in found.interactions
    ]
    assert {x.fields for x in out.interactions} == {*shifted}
    best = found.interactions[0].score
    assert out.interactions[0].score == pytest.approx(best, rel=0.02)
    assert all(0 <= x <= 1 for x in fidelity(explainer, out))
    # All graphs, and one without a batch:
    _, out = explain(
        model, config, batch.x, batch.edge_index, batch=batch.batch
    )
    assert [len(x.interactions) > 0 for x in out.local] == [True] * 3
    _, out = explain(model, config, graphs[0].x, graphs[0].edge_index)
    assert out.node_mask.size() == (5, 1)


def test_subgraphs_and_thresholds(graph):
    model = Net(GCNConv)
    _, out = explain(model, NODE, *graph, index=11)
    num_nodes = int((out.node_mask > 0).sum())
    assert 1 < num_nodes < 30
    # As many pairs as nodes, and as edges:
    for size in (30, graph[1].size(1)):
        out.interaction_index = torch.zeros(2, size, dtype=torch.long)
        out.interaction_strength = torch.zeros(size)
        out.local = out.local * size
        part = out.get_explanation_subgraph()
        assert part.num_nodes == num_nodes
        assert part.interaction_index.size() == (2, size)
        assert part.interaction_strength.size() == (size,)
        assert len(part.local) == len(out.local)
        out.local = out.local[:1]
    top = out.threshold('topk_hard', 3)
    assert top.node_mask.sum() == 3


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        ({'edge_mask_type': 'object'}, "'edge_mask_type' must be None"),
        ({'node_mask_type': 'attributes'}, "'FeaturePerturbation'"),
        ({'model_config': NODE | {'task_level': 'edge'}}, "(got 'edge')"),
    ],
)
def test_what_is_not_supported(caplog, options, reason):
    options = {
        'node_mask_type': 'object',
        'model_config': NODE,
        'explanation_type': 'model',
    } | options
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(ValueError, match='does not support'),
    ):
        Explainer(Net(GCNConv), algorithm=MADEXExplainer(), **options)
    assert reason in caplog.text


def test_heterogeneous_graphs_are_refused(graph):
    def model(x, edge_index):
        return x['a']

    algorithm = MADEXExplainer()
    Explainer(torch.nn.Identity(), algorithm, 'model', NODE, 'object')
    with pytest.raises(ValueError, match='needs a homogeneous graph'):
        algorithm(
            model,
            {'a': graph[0]},
            {('a', 'to', 'a'): graph[1]},
            target=torch.zeros(30, dtype=torch.long),
        )

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINConv,
    GraphNorm,
    MessagePassing,
    SAGEConv,
    global_add_pool,
)

from pyg_featgraph.errors import DataError
from pyg_featgraph.explain import (
    FeaturePerturbation,
    GraphPerturbation,
    NodePerturbation,
)

CONVS = {
    'GCN': GCNConv,
    'GAT': GATConv,
    'SAGE': SAGEConv,
    'GIN': lambda a, b: GINConv(torch.nn.Linear(a, b)),
}
NUM_NODES = 40


class Net(torch.nn.Module):
    def __init__(self, conv, channels=3):
        super().__init__()
        self.one = conv(5, 8)
        self.two = conv(8, channels)
        self.norm = torch.nn.BatchNorm1d(8)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x, edge_index, **kwargs):
        x = self.one(x, edge_index, **kwargs).relu()
        return self.two(self.dropout(self.norm(x)), edge_index, **kwargs)


class GraphNet(torch.nn.Module):
    def __init__(self, norm=None):
        super().__init__()
        self.conv = GCNConv(5, 8)
        self.lin = torch.nn.Linear(8, 3)
        self.norm = norm

    def forward(self, x, edge_index, edge_weight=None, batch=None):
        x = self.conv(x, edge_index, edge_weight)
        if self.norm is not None:
            x = self.norm(x)
        return self.lin(global_add_pool(x.tanh(), batch))


@pytest.fixture
def data():
    """A directed graph, sparse enough for neighbourhoods to be small."""
    edge_index = torch.randint(0, NUM_NODES, (2, 60))
    return Data(
        x=torch.randn(NUM_NODES, 5),
        edge_index=edge_index,
        edge_weight=torch.rand(60),
        y=torch.randint(0, 3, (NUM_NODES,)),
    )


def reach(edge_index, node, num_hops):
    """The nodes whose features arrive at a node."""
    found = {node}
    for _ in range(num_hops):
        found |= {i for i, j in edge_index.t().tolist() if j in found}
    return sorted(found)


def of_class(z, target):
    others = [c for c in range(z.size(-1)) if c != target]
    return z[target] - z[others].exp().sum().log()


def draw(d, n=12):
    masks = torch.rand(n, d) > 0.4
    masks[0], masks[1] = True, False
    return masks


def logits_in_a_loop(model, data, nodes, masks, answer, off=0.0, **kwargs):
    """The whole graph, one sample at a time."""
    out = []
    for mask in masks.tolist():
        x = data.x.clone()
        for on, node in zip(mask, nodes, strict=True):
            if not on:
                x[node] = off
        with torch.no_grad():
            out.append(answer(model(x, data.edge_index, **kwargs)))
    return torch.stack(out)


@pytest.mark.parametrize('name', CONVS)
def test_nodes_match_a_loop_over_the_whole_graph(data, name):
    model = Net(CONVS[name]).eval()
    nodes = [3, 17, 21]
    rows = NodePerturbation(model, data, nodes, target=data.y[nodes])
    assert len(rows) == 3
    for row, node in enumerate(nodes):
        near = reach(data.edge_index, node, 2)
        assert rows.names(row) == [f'node {i}' for i in near]
        masks = draw(len(near))
        expected = logits_in_a_loop(
            model,
            data,
            near,
            masks,
            lambda z, node=node: of_class(z[node], data.y[node]),
        )
        torch.testing.assert_close(rows.logits(row, masks), expected)
    assert max(len(rows.names(row)) for row in range(3)) > 3


@pytest.mark.parametrize('batch_size', [None, 1, 5])
def test_edge_attributes_and_batches(data, batch_size):
    model = Net(GCNConv, 1).eval()
    rows = NodePerturbation(
        model, data, 17, args=['edge_weight'], batch_size=batch_size
    )
    near = reach(data.edge_index, 17, 2)
    masks = draw(len(near))
    expected = logits_in_a_loop(
        model,
        data,
        near,
        masks,
        lambda z: z[17, 0],
        edge_weight=data.edge_weight,
    )
    torch.testing.assert_close(rows.logits(0, masks), expected)


def test_baseline(data):
    model = Net(SAGEConv, 1).eval()
    baseline = torch.randn(5)
    rows = NodePerturbation(model, data, [9], baseline=baseline)
    near = reach(data.edge_index, 9, 2)
    masks = draw(len(near))
    expected = logits_in_a_loop(
        model, data, near, masks, lambda z: z[9, 0], baseline
    )
    torch.testing.assert_close(rows.logits(0, masks), expected)


def test_messages_against_the_direction_of_edges(data):
    class Sum(MessagePassing):
        def forward(self, x, edge_index):
            return x + self.propagate(edge_index, x=x)

    model = torch.nn.Sequential()
    model.conv = Sum(flow='target_to_source')
    model.forward = lambda x, edges: model.conv(x.sum(1, keepdim=True), edges)
    rows = NodePerturbation(model, data, [5])
    near = reach(data.edge_index.flip(0), 5, 1)
    assert near != reach(data.edge_index, 5, 1)
    assert rows.names(0) == [f'node {i}' for i in near]
    masks = draw(len(near))
    expected = logits_in_a_loop(model, data, near, masks, lambda z: z[5, 0])
    torch.testing.assert_close(rows.logits(0, masks), expected)


def test_the_model_stays_in_training(data):
    model = Net(GCNConv)
    rows = NodePerturbation(model, data, [17], target=0)
    masks = draw(len(rows.names(0)))
    assert torch.equal(rows.logits(0, masks), rows.logits(0, masks))
    assert all(module.training for module in model.modules())


def test_models_that_look_farther_are_refused(data):
    def gain(node):
        sizes = [len(reach(data.edge_index, node, 1 + k)) for k in range(2)]
        return sizes[1] - sizes[0]

    model = Net(SAGEConv)
    node = max(range(NUM_NODES), key=gain)
    for num_hops in (0, 1):
        rows = NodePerturbation(model, data, [node], num_hops, target=0)
        with pytest.raises(DataError, match=r"\d hops \(pass 'num_hops'\)"):
            rows.names(0)

    def mean(x, edge_index):
        return x.sum(1) - x.mean()

    rows = NodePerturbation(mean, data, [17], 1, output='logit')
    with pytest.raises(DataError, match='the graph as a whole'):
        rows.names(0)
    with pytest.raises(ValueError, match=r"no message passing .*'num_hops'"):
        NodePerturbation(mean, data, [17], output='logit')


@pytest.fixture
def graphs():
    sizes = [4, 6, 5]
    return [
        Data(
            x=torch.randn(n, 5),
            edge_index=torch.randint(0, n, (2, 9)),
            edge_weight=torch.rand(9),
        )
        for n in sizes
    ]


class WithoutBatch(GraphNet):
    def forward(self, x, edge_index, edge_weight=None):
        return super().forward(x, edge_index, edge_weight)


@pytest.mark.parametrize('model', [GraphNet(), WithoutBatch()])
def test_graphs_match_a_loop(graphs, model):
    for given in (graphs, Batch.from_data_list(graphs)):
        rows = GraphPerturbation(model, given, ['edge_weight'], target=1)
        assert len(rows) == 3
        for row, graph in enumerate(graphs):
            nodes = list(range(graph.num_nodes))
            assert rows.names(row) == [f'node {i}' for i in nodes]
            masks = draw(len(nodes))
            expected = logits_in_a_loop(
                model,
                graph,
                nodes,
                masks,
                lambda z: of_class(z[0], 1),
                edge_weight=graph.edge_weight,
            )
            torch.testing.assert_close(rows.logits(row, masks), expected)


def test_models_that_mix_graphs_are_refused(graphs):
    rows = GraphPerturbation(GraphNet(GraphNorm(8)), graphs, target=0)
    masks = draw(4)
    with pytest.raises(DataError, match='mixes the graphs of a batch'):
        rows.logits(0, masks)


@pytest.mark.parametrize('baseline', [None, torch.randn(5)])
def test_columns_match_a_loop(data, graphs, baseline):
    off = torch.zeros(5) if baseline is None else baseline
    masks = draw(5)
    model = Net(GCNConv).eval()
    names = list('abcde')
    rows = FeaturePerturbation(
        model, data, [17], baseline=baseline, feature_names=names, target=2
    )
    assert rows.names(0) == names
    expected = []
    for mask in masks:
        x = torch.where(mask, data.x, off)
        out = model(x, data.edge_index)[17].detach()
        expected.append(of_class(out, 2))
    torch.testing.assert_close(rows.logits(0, masks), torch.stack(expected))

    model = GraphNet()
    rows = FeaturePerturbation(model, graphs, baseline=baseline, target=2)
    assert rows.names(1)[4] == 'feature 4'
    for row, graph in enumerate(graphs):
        expected = []
        for mask in masks:
            x = torch.where(mask, graph.x, off)
            out = model(x, graph.edge_index)[0].detach()
            expected.append(of_class(out, 2))
        torch.testing.assert_close(
            rows.logits(row, masks), torch.stack(expected)
        )


def test_errors(data):
    model = Net(GCNConv)
    with pytest.raises(ValueError, match=r"'nodes' must lie in 0 to 39"):
        NodePerturbation(model, data, [40])
    with pytest.raises(DataError, match=r"lacks \['weight'\] of 'args'"):
        NodePerturbation(model, data, [4], args=['weight'])
    with pytest.raises(DataError, match="with 'x' and 'edge_index'"):
        NodePerturbation(model, Data(x=data.x), [4])
    with pytest.raises(DataError, match=r"'x' must be \[num_nodes, num_feat"):
        NodePerturbation(
            model, Data(x=data.x[:, 0], edge_index=data.edge_index), [4]
        )
    with pytest.raises(ValueError, match=r"'baseline' must be \[5\]"):
        NodePerturbation(model, data, [4], baseline=torch.zeros(4))
    with pytest.raises(ValueError, match="'feature_names' must be 5 names"):
        FeaturePerturbation(model, data, [4], feature_names=['a'])
    rows = NodePerturbation(GraphNet(), data, [4], target=0)
    with pytest.raises(DataError, match=r'each of 40 nodes .*\[1, 3\]'):
        rows.names(0)
    rows = GraphPerturbation(model, data, target=0)
    with pytest.raises(DataError, match=r'each of 1 graphs .*\[40, 3\]'):
        rows.logits(0, draw(40))

import pytest
import torch
from loops import as_nodes, layout
from model_zoo import MODELS, randomise
from torch_geometric.explain import (
    AttentionExplainer,
    Explainer,
    GNNExplainer,
    ModelConfig,
)
from torch_geometric.nn import GATv2Conv

from pyg_featgraph.nn import InteractionConv

#: Those that pass messages along the edges of a graph.
WITH_EDGES = [
    name
    for name in MODELS
    if name.startswith(('GraphFM', 'FiGNN', 'FIVES', 'AutoInt'))
]


def explain(model, algorithm, table, **options):
    """Explains the logit of a row with some missing fields."""
    part = table.subset(slice(0, 64))
    part.drop_absent = True
    batch = as_nodes(part.batch())
    few = batch.ptr.diff().argmin()
    graph = as_nodes(part.subset([int(few)]).batch())
    x = model.embed(graph).detach()
    assert 1 < x.size(0) < table.info.num_fields
    explainer = Explainer(
        model,
        algorithm,
        explanation_type='model',
        model_config=ModelConfig(
            mode='binary_classification', task_level='graph', return_type='raw'
        ),
        **options,
    )
    found = explainer(x, graph.edge_index, field=graph.field, batch=graph.batch)
    # Nothing is left behind:
    torch.testing.assert_close(
        model(x, graph.edge_index, graph.field, graph.batch), model(graph)
    )
    return found, x, graph.edge_index


@pytest.mark.parametrize('name', WITH_EDGES)
def test_masks_of_edges(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    found, _, edges = explain(
        model,
        GNNExplainer(epochs=2),
        table,
        node_mask_type='object',
        edge_mask_type='object',
    )
    assert found.edge_mask.size() == (edges.size(1),)
    assert found.edge_mask.isfinite().all()
    assert found.edge_mask.max() > 0


@pytest.mark.parametrize('name', WITH_EDGES)
def test_attention(name, table):
    model = randomise(MODELS[name](table.info)).eval()
    found, _, edges = explain(
        model, AttentionExplainer(), table, edge_mask_type='object'
    )
    assert found.edge_mask.size() == (edges.size(1),)
    assert found.edge_mask.max() > 0


class Products(torch.nn.Module):
    """Attention, and products of the nodes of each row behind it."""

    def __init__(self):
        super().__init__()
        self.conv = GATv2Conv(4, 4)
        self.products = InteractionConv(4, [(0, 1), (1, 2)], norm=False)

    def forward(self, x, edge_index, field, batch):
        x = self.conv(x, edge_index)
        index = self.products.hyperedges(field, batch, 2, 3)
        return self.products(x, index, None, field, 4).sum(dim=1)


def test_edge_masks_are_not_those_of_hyperedges():
    model = Products().eval()
    row, field, edges = layout(2, 3)
    explainer = Explainer(
        model,
        GNNExplainer(epochs=2),
        explanation_type='model',
        edge_mask_type='object',
        model_config=ModelConfig(
            mode='regression', task_level='graph', return_type='raw'
        ),
    )
    x = torch.randn(6, 4)
    found = explainer(x, edges, field=field, batch=row)
    assert found.edge_mask.size() == (edges.size(1),)
    assert found.edge_mask.max() > 0

"""Every operator and every kind of edges, to be put together."""

import torch
from loops import randomise

from pyg_featgraph.nn import (
    AdjacencyTensor,
    AttentionEdge,
    FieldEdge,
    FiGNNConv,
    FIVESConv,
    GraphFMConv,
    HadamardScore,
    SelfAttentionConv,
    SubsetEdge,
    TopM,
    UniformEdge,
)

B, N, D, H = 4, 5, 3, 2

# Rows with all fields, with some, with one and with none:
MASK = torch.ones(B, N, dtype=torch.bool)
MASK[1, [0, 3]] = False
MASK[2, [0, 1, 2, 4]] = False
MASK[3] = False


class Cosine(FieldEdge):
    """Edges as a user writes them: one method, which both layouts share."""

    def __init__(self, in_channels, heads=None, self_loops=True):
        super().__init__(self_loops)
        self.lin = torch.nn.Linear(in_channels, heads or 1, bias=False)
        self.heads = heads

    def score(self, x_i, x_j):
        out = self.lin(x_i * x_j).relu()
        return out.squeeze(-1) if self.heads is None else out


EDGES = {
    'uniform': lambda **kw: UniformEdge(**kw),
    'hadamard': lambda **kw: HadamardScore(D, 4, **kw),
    'top': lambda **kw: TopM(HadamardScore(D, 4, **kw), 2),
    'top all': lambda **kw: TopM(AdjacencyTensor(N, **kw), 2, 'all'),
    'top binary': lambda **kw: TopM(SubsetEdge(D, N, 4, **kw), 2, binary=True),
    'attention': lambda **kw: AttentionEdge(D, **kw),
    'adjacency': lambda **kw: AdjacencyTensor(N, 2, **kw),
    'subset': lambda **kw: SubsetEdge(D, N, 4, threshold_init=-2, **kw),
    'own': lambda **kw: Cosine(D, **kw),
    'own heads': lambda **kw: Cosine(D, H, **kw),
}
CONVS = {
    'GraphFMConv': lambda edge: GraphFMConv(
        D, 2, edge, H, num_fields=N, residual=True, norm=True
    ),
    'GraphFMConv reference': lambda edge: GraphFMConv(
        D, 2, edge, H, concat=False, variant='reference'
    ),
    'FiGNNConv': lambda edge: FiGNNConv(D, N, 2, edge),
    'FIVESConv': lambda edge: FIVESConv(D, N, edge),
    'FIVESConv sum': lambda edge: FIVESConv(D, None, edge, normalize=False),
    'SelfAttentionConv': lambda edge: SelfAttentionConv(D, 2, H, edge),
}
WITH_HEADS = {'GraphFMConv', 'GraphFMConv reference', 'SelfAttentionConv'}
PAIRS = [
    (conv, edge)
    for conv in CONVS
    for edge in EDGES
    if edge != 'own heads' or conv in WITH_HEADS
]


def make_edge(name, self_loops=True):
    edge = randomise(EDGES[name](self_loops=self_loops))
    for key, parameter in edge.named_parameters():
        if key.endswith('mix'):
            # No subset is without members:
            parameter.data.abs_()
    for module in edge.modules():
        if isinstance(module, SubsetEdge):
            module.threshold.weight.data.fill_(-1)
    return edge


def make(conv, edge, self_loops=True):
    """The operator in double precision, with random parameters."""
    edge = make_edge(edge, self_loops)
    conv = randomise(CONVS[conv](None), 0.7)
    conv.edge = edge
    return conv


def make_inputs(mask=MASK):
    """Vectors of all fields, and field and edges of those that are there."""
    x = torch.randn(*mask.size(), D, dtype=torch.double, requires_grad=True)
    row, field = mask.nonzero().unbind(1)
    target, source = (row.unsqueeze(1) == row).nonzero().unbind(1)
    return x, field, torch.stack([source, target])

"""Every model, with the options that change what it computes."""

import torch

from pyg_featgraph.nn import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AdjacencyTensor,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
    HadamardScore,
    SoftThreshold,
    SubsetEdge,
    TopM,
)
from pyg_featgraph.nn.gates import gated

TRIPLES = gated(
    {
        ('I1', 'C1', 'C2'): {'inner': 0.5, 'outer': -0.2},
        ('I1', 'C3'): {'vector': 0.3, 'scalar': 0.1},
        ('I2', 'C3'): {'inner': 0.4},
    }
)
DIMS = [[0, 2], [], [0, 1, 2, 3], [2], [0, 2], [1], [1, 2, 3]]
MODELS = {
    'LR': lambda info: LR(info),
    'LR shrunk': lambda info: LR(info, shrinkage=2.0),
    'FM': lambda info: FM(info, 4, embedding_std=0.5),
    'DNN': lambda info: DNN(info, 4, [8]),
    'GraphFM': lambda info: GraphFM(info, 4, 8, 2),
    'GraphFM paper': lambda info: GraphFM(info, 4, 8, 2, variant='paper'),
    'GraphFM top': lambda info: GraphFM(
        info, 4, 8, 2, TopM(HadamardScore(4), 3, 'all', binary=True)
    ),
    'AutoInt': lambda info: AutoInt(info, 4, 8, 2),
    'AutoInt attention': lambda info: AutoInt(info, 4, 8, 2, edge='attention'),
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
    'FIVES subset': lambda info: FIVES(
        info, 4, 2, edge='subset', normalize=False, readout='sum'
    ),
    'DeepFM': lambda info: DeepFM(info, 4, [8]),
    'DeepFM installed': lambda info: DeepFM(info, 4, [8], TRIPLES),
    'IPNN': lambda info: IPNN(info, 4, [8]),
    'IPNN installed': lambda info: IPNN(info, 4, [8], TRIPLES),
    'AIM': lambda info: AIM(info, 4),
    'AIM shared': lambda info: AIM(info, 4, TRIPLES, function_wise=False),
    'AIM dims': lambda info: AIM(info, 4, TRIPLES, dim_gates=True, norm=False),
    'AIM edges': lambda info: AIM(info, 4, TRIPLES, edge='attention'),
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
    'FeatNet adjacency': lambda info: FeatNet(
        info,
        4,
        num_queries=2,
        edge=AdjacencyTensor(info.num_fields, self_loops=False),
        hidden_channels=[8],
    ),
}


def randomise(model):
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    for module in model.modules():
        if isinstance(module, SubsetEdge):
            # No subset is without members:
            module.mix.data.abs_()
        if isinstance(module, SoftThreshold):
            module.weight.data.sub_(4)
    return model

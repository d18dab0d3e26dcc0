from pyg_featgraph.nn.conv import (
    FieldLinear,
    FiGNNConv,
    FIVESConv,
    GraphFMConv,
    SelfAttentionConv,
)
from pyg_featgraph.nn.edge import (
    AdjacencyTensor,
    AttentionEdge,
    HadamardScore,
    TopM,
)
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models import (
    DNN,
    FIVES,
    FM,
    LR,
    AutoInt,
    FieldModel,
    FiGNN,
    GraphFM,
    GraphModel,
    derive_interactions,
    pair_effects,
)

__all__ = [
    'FieldEmbedding',
    'AdjacencyTensor',
    'AttentionEdge',
    'HadamardScore',
    'TopM',
    'FieldLinear',
    'SelfAttentionConv',
    'FiGNNConv',
    'FIVESConv',
    'GraphFMConv',
    'FieldModel',
    'GraphModel',
    'LR',
    'FM',
    'DNN',
    'AutoInt',
    'FiGNN',
    'FIVES',
    'GraphFM',
    'derive_interactions',
    'pair_effects',
]

r"""Learnable edges, operators and models of field graphs."""

from pyg_featgraph.nn.conv import (
    FieldConv,
    FiGNNConv,
    FIVESConv,
    GraphFMConv,
    InducedSetConv,
    InteractionConv,
    SelfAttentionConv,
)
from pyg_featgraph.nn.dense import (
    FieldLinear,
    FirstOrder,
    GroupedMLP,
    SumReadout,
)
from pyg_featgraph.nn.edge import (
    AdjacencyTensor,
    AttentionEdge,
    FieldEdge,
    HadamardScore,
    SoftThreshold,
    SubsetEdge,
    TopM,
    UniformEdge,
    derive_interactions,
    make_edge,
)
from pyg_featgraph.nn.effects import pair_effects
from pyg_featgraph.nn.embedding import (
    FieldEmbedding,
    NodeEmbedding,
    RaggedEmbedding,
)
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.gates import InteractionLayer
from pyg_featgraph.nn.heads import (
    BinaryHead,
    Head,
    MulticlassHead,
    PoissonHead,
    RankingHead,
    RegressionHead,
    make_head,
)
from pyg_featgraph.nn.layout import Nodes
from pyg_featgraph.nn.models import (
    AIM,
    DNN,
    FIVES,
    FM,
    IPNN,
    LR,
    AutoInt,
    DeepFM,
    FeatNet,
    FiGNN,
    GraphFM,
)

__all__ = [
    'FieldEmbedding',
    'NodeEmbedding',
    'RaggedEmbedding',
    'FieldEdge',
    'AdjacencyTensor',
    'AttentionEdge',
    'HadamardScore',
    'SoftThreshold',
    'SubsetEdge',
    'TopM',
    'UniformEdge',
    'make_edge',
    'derive_interactions',
    'FieldConv',
    'SelfAttentionConv',
    'FiGNNConv',
    'FIVESConv',
    'GraphFMConv',
    'InducedSetConv',
    'InteractionConv',
    'FieldLinear',
    'GroupedMLP',
    'InteractionLayer',
    'FirstOrder',
    'SumReadout',
    'Head',
    'BinaryHead',
    'MulticlassHead',
    'PoissonHead',
    'RankingHead',
    'RegressionHead',
    'make_head',
    'FieldModel',
    'Nodes',
    'LR',
    'FM',
    'DNN',
    'DeepFM',
    'IPNN',
    'AutoInt',
    'AIM',
    'FeatNet',
    'FiGNN',
    'FIVES',
    'GraphFM',
    'pair_effects',
]

from pyg_featgraph.nn.conv import FieldLinear, GraphFMConv
from pyg_featgraph.nn.edge import HadamardScore, TopM
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models import (
    DNN,
    FM,
    LR,
    FieldModel,
    GraphFM,
    pair_effects,
)

__all__ = [
    'FieldEmbedding',
    'HadamardScore',
    'TopM',
    'FieldLinear',
    'GraphFMConv',
    'FieldModel',
    'LR',
    'FM',
    'DNN',
    'GraphFM',
    'pair_effects',
]

r"""Operators, which pass messages along learnable edges."""

from pyg_featgraph.nn.conv.base import FieldConv, Links
from pyg_featgraph.nn.conv.fignn_conv import FiGNNConv
from pyg_featgraph.nn.conv.fives_conv import FIVESConv
from pyg_featgraph.nn.conv.graphfm_conv import GraphFMConv
from pyg_featgraph.nn.conv.induced_set_conv import InducedSetConv
from pyg_featgraph.nn.conv.interaction_conv import InteractionConv
from pyg_featgraph.nn.conv.self_attention_conv import SelfAttentionConv

__all__ = [
    'FieldConv',
    'Links',
    'SelfAttentionConv',
    'FiGNNConv',
    'FIVESConv',
    'GraphFMConv',
    'InducedSetConv',
    'InteractionConv',
]

r"""Operators, which pass messages along learnable edges."""

from pyg_featgraph.nn.conv.field_linear import FieldLinear
from pyg_featgraph.nn.conv.graphfm_conv import GraphFMConv

__all__ = [
    'FieldLinear',
    'GraphFMConv',
]

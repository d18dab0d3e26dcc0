r"""Layers without edges."""

from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.dense.first_order import FirstOrder
from pyg_featgraph.nn.dense.grouped_mlp import GroupedMLP
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.dense.member_mlp import MemberMLP
from pyg_featgraph.nn.dense.sum_readout import SumReadout

__all__ = [
    'FieldLinear',
    'FirstOrder',
    'GroupedMLP',
    'MemberLinear',
    'MemberMLP',
    'SumReadout',
]

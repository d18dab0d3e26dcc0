r"""Layers without edges."""

from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.dense.grouped_mlp import GroupedMLP

__all__ = ['FieldLinear', 'GroupedMLP']

r"""Learnable edges: modules that score, weigh or prune edges."""

from pyg_featgraph.nn.edge.adjacency_tensor import AdjacencyTensor
from pyg_featgraph.nn.edge.attention_edge import AttentionEdge
from pyg_featgraph.nn.edge.base import FieldEdge, make_edge
from pyg_featgraph.nn.edge.derive import derive_interactions
from pyg_featgraph.nn.edge.hadamard_score import HadamardScore
from pyg_featgraph.nn.edge.soft_threshold import SoftThreshold
from pyg_featgraph.nn.edge.subset_edge import SubsetEdge
from pyg_featgraph.nn.edge.top_m import TopM
from pyg_featgraph.nn.edge.uniform_edge import UniformEdge

__all__ = [
    'FieldEdge',
    'AdjacencyTensor',
    'AttentionEdge',
    'HadamardScore',
    'SoftThreshold',
    'SubsetEdge',
    'TopM',
    'UniformEdge',
    'derive_interactions',
    'make_edge',
]

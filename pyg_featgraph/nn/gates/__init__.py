r"""Gated interactions: what AIM searches and other models install."""

from pyg_featgraph.nn.gates.gates import gated, shared_gates
from pyg_featgraph.nn.gates.interaction_layer import InteractionLayer

__all__ = ['InteractionLayer', 'gated', 'shared_gates']

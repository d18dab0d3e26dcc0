r"""Kernels for the CPU in C++."""

from pyg_featgraph.nn.kernels.native.library import call, library

#: The kernels that there are:
NAMES = (
    'field_product',
    'hadamard_attention',
    'pair_score',
    'small_attention',
    'top_m',
)

__all__ = ['NAMES', 'call', 'library']

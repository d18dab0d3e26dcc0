r"""The computations behind the dense layout for GPUs, written in Triton."""

from pyg_featgraph.nn.kernels.triton import (
    common,
    hadamard_attention,
    induced_set,
    pair_score,
    top_m,
    tuple_product,
)

__all__ = [
    'common',
    'hadamard_attention',
    'induced_set',
    'pair_score',
    'top_m',
    'tuple_product',
]

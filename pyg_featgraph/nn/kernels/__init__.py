r"""The computations behind the regular layout."""

from pyg_featgraph.nn.kernels.hadamard_attention import (
    attention_weights,
    hadamard_attention,
)
from pyg_featgraph.nn.kernels.pair_score import pair_score
from pyg_featgraph.nn.kernels.top_m import top_m_mask

__all__ = [
    'attention_weights',
    'hadamard_attention',
    'pair_score',
    'top_m_mask',
]

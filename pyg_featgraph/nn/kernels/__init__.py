r"""The computations behind the dense layout."""

from pyg_featgraph.nn.kernels.field_product import field_product
from pyg_featgraph.nn.kernels.gated_steps import (
    gated_steps,
    has_gated_steps,
)
from pyg_featgraph.nn.kernels.gru_step import gru_step
from pyg_featgraph.nn.kernels.hadamard_attention import (
    attention_weights,
    hadamard_attention,
)
from pyg_featgraph.nn.kernels.induced_set import induced_set_attention
from pyg_featgraph.nn.kernels.lookup import lookup
from pyg_featgraph.nn.kernels.pair_score import pair_score
from pyg_featgraph.nn.kernels.row_product import row_product
from pyg_featgraph.nn.kernels.selected_attention import selected_attention
from pyg_featgraph.nn.kernels.small_attention import small_attention
from pyg_featgraph.nn.kernels.sum_softmax import sum_softmax
from pyg_featgraph.nn.kernels.top_m import top_m
from pyg_featgraph.nn.kernels.tuple_product import (
    TuplePlan,
    plan_tuples,
    tuple_product,
)

__all__ = [
    'TuplePlan',
    'attention_weights',
    'field_product',
    'gated_steps',
    'gru_step',
    'hadamard_attention',
    'has_gated_steps',
    'induced_set_attention',
    'lookup',
    'pair_score',
    'plan_tuples',
    'row_product',
    'selected_attention',
    'small_attention',
    'sum_softmax',
    'top_m',
    'tuple_product',
]

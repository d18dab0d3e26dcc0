from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.data import Data
from torch_geometric.nn import MLP
from torch_geometric.utils import scatter

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.embedding import FieldEmbedding, RaggedEmbedding
from pyg_featgraph.nn.models.base import FieldModel
from pyg_featgraph.nn.models.compact import compact, copy_parameters
from pyg_featgraph.nn.models.interaction_layer import (
    InteractionLayer,
    as_gates,
    as_interactions,
)
from pyg_featgraph.nn.models.lr import LR


class AIM(FieldModel):
    r"""The model of the `"AIM: Automatic Interaction Machine for Click-Through
    Rate Prediction" <https://arxiv.org/abs/2111.03318>`_ paper
    (Eq. 14, and Eq. 6 for higher orders).

    .. math::
        \hat{y} = b + \sum_i w_i + \sum_q \sum_k \alpha_{qk} \, \mathrm{BN}
        \big( f_k(\mathbf{e}_{q_1 k}, \ldots, \mathbf{e}_{q_p k}) \big)

    over interactions :math:`q` and functions :math:`f_k`
    (:class:`~pyg_featgraph.nn.InteractionConv`). Each function has node
    vectors of its own; as in the released code, but not in the paper, so has
    each order. With :obj:`hidden_channels`, a multi-layer perceptron
    on the values of all interactions is added.

    Without :obj:`interactions` all pairs under all functions are there, which
    is where :func:`~pyg_featgraph.search.aim_search` begins.
    :meth:`compact` gives the model without what the search has closed.

    With :obj:`dim_gates`, the model searches dimensions: node vectors are
    divided by the root mean square of each dimension over a batch, so that
    their scale cannot make up for a gate, and multiplied by gates
    :math:`\boldsymbol{\beta}_i` (Eq. 15), which all functions share.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        interactions (InteractionSet, optional): The interactions. Those that
            name no functions get all :obj:`functions`. (default: all pairs)
        functions (list of str, optional): The interaction functions.
            (default: :obj:`("inner", "outer", "vector", "scalar")`)
        function_wise (bool, optional): If set to :obj:`False`, all functions
            share node vectors. (default: :obj:`True`)
        order_wise (bool, optional): If set to :obj:`False`, all orders share
            node vectors. (default: :obj:`True`)
        dims (dict, optional): For each of :obj:`embeddings` the dimensions of
            each field, see :class:`~pyg_featgraph.nn.RaggedEmbedding`.
            (default: all)
        dim_gates (bool, optional): Whether dimensions have gates.
            (default: :obj:`False`)
        norm (bool, optional): Whether interactions are normalised.
            (default: :obj:`True`)
        hidden_channels (list of int, optional): The sizes of the hidden
            layers; if empty, there is no perceptron. (default: :obj:`()`)
        dropout (float, optional): Dropout probability of each hidden layer.
            (default: :obj:`0`)
        eps (float, optional): Is added to the variance of pairs, and, times
            the square of :obj:`embedding_std` for each further member, to that
            of higher orders: their products are that much smaller. (default:
            :obj:`1e-3`)
        embedding_std (float, optional): The standard deviation of the initial
            node vectors. If the variance of their products is far below
            :obj:`eps`, interactions begin near zero instead of as noise.
            (default: :obj:`0.01`)
        sparse (bool, optional): Whether the tables have sparse gradients.
            (default: :obj:`False`)
    """

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        interactions: InteractionSet | Sequence[Any] | None = None,
        functions: Sequence[str] = FUNCTIONS,
        function_wise: bool = True,
        order_wise: bool = True,
        dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
        dim_gates: bool = False,
        norm: bool = True,
        hidden_channels: Sequence[int] = (),
        dropout: float = 0.0,
        eps: float = 1e-3,
        embedding_std: float = 0.01,
        sparse: bool = False,
    ) -> None:
        if interactions is None:
            interactions = [
                (q, dict.fromkeys(functions))
                for q in combinations(info.names, 2)
            ]
        gates = as_gates(interactions, info, functions)
        super().__init__(
            info,
            embedding_dim=embedding_dim,
            interactions=gates,
            functions=list(functions),
            function_wise=function_wise,
            order_wise=order_wise,
            dims=None
            if dims is None
            else {k: list(v) for k, v in dims.items()},
            dim_gates=dim_gates,
            norm=norm,
            hidden_channels=list(hidden_channels),
            dropout=dropout,
            eps=eps,
            embedding_std=embedding_std,
            sparse=sparse,
        )
        self.function_wise = function_wise
        self.order_wise = order_wise
        self.eps = eps
        self.linear = LR(info, sparse=sparse)
        self.layer = InteractionLayer(
            embedding_dim, info, gates, norm, eps=eps, std=embedding_std
        )
        names = dict.fromkeys(
            self.table(conv.function, conv.order)
            for _, conv in self.layer.items()
        )
        self.embeddings: Any = torch.nn.ModuleDict()
        for name in names:
            self.embeddings[name] = (
                FieldEmbedding(info, embedding_dim, embedding_std, sparse)
                if dims is None
                else RaggedEmbedding(
                    info, embedding_dim, dims[name], embedding_std, sparse
                )
            )
        self.mlp = None
        if hidden_channels and self.layer.num_interactions > 0:
            channels = [self.layer.num_interactions, *hidden_channels, 1]
            self.mlp = MLP(channels, dropout=dropout, norm=None)
        if dim_gates:
            shape = (info.num_fields, embedding_dim)
            self.dim_gate = Parameter(torch.empty(shape))
            for name in names:
                self.register_buffer(f'square_{name}', torch.ones(shape))
        else:
            self.register_parameter('dim_gate', None)
        self._reset_dims()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for embedding in self.embeddings.values():
            embedding.reset_parameters()
        self._reset_dims()

    def _reset_dims(self) -> None:
        if self.dim_gate is None:
            return
        torch.nn.init.uniform_(self.dim_gate, 0.998, 1.002)
        for name in self.embeddings:
            torch.nn.init.ones_(self._square(name))

    def table(self, function: str, order: int) -> str:
        r"""Which of :obj:`embeddings` interactions use."""
        name = function if self.function_wise else 'shared'
        return f'{name}-{order}' if self.order_wise else name

    def architecture_parameters(self) -> list[Parameter]:
        if self.dim_gate is not None:
            return [self.dim_gate]
        return [conv.gate for _, conv in self.layer.items()]

    def forward(self, data: Data) -> Tensor:
        r"""The logits :math:`(B)` of a batch."""
        x = {}
        for name, embedding in self.embeddings.items():
            x[name] = embedding.embed(data)
            if self.dim_gate is not None:
                x[name] = self._gate_dims(x[name], name, data)
        values = self.layer(
            {
                key: x[self.table(conv.function, conv.order)]
                for key, conv in self.layer.items()
            },
            data,
        )
        out = self.linear(data) + values.sum(dim=-1)
        if self.mlp is not None:
            out = out + self.mlp(values).squeeze(-1)
        return out

    def _gate_dims(self, x: Tensor, name: str, data: Data) -> Tensor:
        running = square = self._square(name)
        if self.training:
            if x.dim() == 3:
                square = x.square().mean(dim=0)
            else:
                square = scatter(
                    x.square(),
                    data.field,
                    dim_size=self.info.num_fields,
                    reduce='mean',
                )
            with torch.no_grad():
                running.lerp_(square.to(running.dtype), 0.1)
        scale = self.dim_gate / (square + self.eps).sqrt()
        return x * (scale if x.dim() == 3 else scale[data.field])

    def _square(self, name: str) -> Tensor:
        return self.get_buffer(f'square_{name}')

    def gates(self) -> dict[tuple[int, ...], dict[str, float]]:
        r"""The functions of each interaction whose gates are open, with the
        values of the gates. Fields are numbers.
        """
        return self.layer.gates()

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_fields={self.info.num_fields}, '
            f'embedding_dim={self.config["embedding_dim"]}, '
            f'num_interactions={self.layer.num_interactions})'
        )

    def _interactions_by_edges(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> InteractionSet:
        return as_interactions(self.gates(), self.info, 'AIM')

    def compact(self) -> AIM:
        r"""The model without what is closed: interactions whose gate is zero,
        dimensions whose gate is zero, and those of which no open interaction
        makes use. In evaluation mode it gives the same logits.

        Node vectors are then in :class:`~pyg_featgraph.nn.RaggedEmbedding`,
        with the gates of dimensions multiplied in.
        """
        return compact(self)

    def rebuild(self, **changes: Any) -> AIM:
        r"""A model with a changed configuration; what the two have in common
        is copied.

        Args:
            **changes: Arguments of the constructor.
        """
        out = AIM(self.info, **{**self.config, **changes})
        copy_parameters(self, out)
        return out

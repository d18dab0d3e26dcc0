r"""AIM: gates on interactions, functions and dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.config import (
    Rule,
    at_least,
    between,
    instance_of,
    some_of,
)
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.dense.first_order import FirstOrder
from pyg_featgraph.nn.dense.member_mlp import MemberMLP
from pyg_featgraph.nn.dense.sum_readout import SumReadout
from pyg_featgraph.nn.edge import FieldEdge, make_edge
from pyg_featgraph.nn.embedding import (
    FieldEmbedding,
    NodeEmbedding,
    RaggedEmbedding,
)
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.gates.gates import gated, members
from pyg_featgraph.nn.gates.interaction_layer import InteractionLayer
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes

Dims = dict[str, list[list[int]]]


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

    With an :obj:`edge`, each interaction of a row is multiplied by the weights
    that the edge module gives to the pairs of its members in this row
    (:meth:`InteractionConv.pair_weight`). It looks at the node vectors of the
    pairs under the first of :obj:`functions`.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        interactions (InteractionSet, optional): The interactions of any
            method. Those of this model bring functions and gates with them,
            as :obj:`detail["functions"]`; those that name no functions get
            all :obj:`functions`. (default: all pairs)
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
        momentum (float, optional): The weight of a batch in the running mean
            and variance of interactions. The released code has 0.01, for
            which a few hundred batches are too few. (default: :obj:`0.1`)
        edge (str or FieldEdge, optional): What weighs the pairs of each row,
            by name or as a module whose options are taken over, see
            :func:`~pyg_featgraph.nn.make_edge`. (default: all weights are
            one)
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
            (default: if they are large)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number of members, see
            :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`1`)
        field_dropout (float, optional): The probability that a field is left
            out of a row. (default: :obj:`0`)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        'interactions': instance_of(InteractionSet),
        'functions': some_of(*FUNCTIONS),
        'momentum': between(0, 1),
        'eps': at_least(0, float),
    }

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        interactions: InteractionSet | None = None,
        functions: Sequence[str] = FUNCTIONS,
        function_wise: bool = True,
        order_wise: bool = True,
        dims: Mapping[str, Sequence[Sequence[int]]] | None = None,
        dim_gates: bool = False,
        norm: bool = True,
        momentum: float = 0.1,
        edge: str | FieldEdge | None = None,
        hidden_channels: Sequence[int] = (),
        dropout: float = 0.0,
        eps: float = 1e-3,
        embedding_std: float = 0.01,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        self.function_wise = function_wise
        self.order_wise = order_wise
        self.eps = eps
        out_channels = self.head.out_channels
        self.linear = FirstOrder(info, out_channels, sparse, members)
        self.layer = InteractionLayer(
            embedding_dim,
            info,
            interactions,
            functions,
            norm,
            eps=eps,
            std=embedding_std,
            momentum=momentum,
        )
        self.readout = SumReadout(
            self.layer.num_interactions, out_channels, members
        )
        names = dict.fromkeys(
            self.table(conv.function, conv.order)
            for _, conv in self.layer.items()
        )
        self.edge = None
        if edge is not None:
            self.edge = make_edge(edge, embedding_dim, info.num_fields)
            names[self._edge_table] = None
        self.embeddings: Any = torch.nn.ModuleDict()
        for name in names:
            self.embeddings[name] = (
                FieldEmbedding(
                    info, embedding_dim, embedding_std, sparse, members
                )
                if dims is None
                else RaggedEmbedding(
                    info,
                    embedding_dim,
                    dims[name],
                    embedding_std,
                    sparse,
                    members,
                )
            )
        self.mlp = None
        if hidden_channels and self.layer.num_interactions > 0:
            channels = [self.layer.num_interactions, *hidden_channels]
            self.mlp = MemberMLP([*channels, out_channels], members, dropout)
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

    @property
    def _edge_table(self) -> str:
        # Does not depend on which interactions there are:
        return self.table(self.config['functions'][0], 2)

    def architecture_parameters(self) -> list[Parameter]:
        if self.dim_gate is not None:
            return [self.dim_gate]
        return [conv.gate for _, conv in self.layer.items()]

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        return (*self.embeddings.values(), self.linear.table)

    def propagate(self, nodes: Nodes) -> Tensor:
        x, weight = self._vectors(nodes), nodes.x[-1]
        vectors = {
            key: x[self.table(conv.function, conv.order)]
            for key, conv in self.layer.items()
        }
        args = vectors, nodes, self._weigh(x, nodes)
        if self.mlp is None:
            out: Tensor = self.layer.summed(self.readout, *args)
        else:
            values = self.layer(*args)
            out = self.readout(values) + self.mlp(values)
        out = out + self.linear(weight, nodes)
        return out

    def _vectors(self, nodes: Nodes) -> dict[str, Tensor]:
        # Those of interactions, by the names of their tables:
        x = dict(zip(self.embeddings, nodes.x[:-1], strict=True))
        if self.dim_gate is None:
            return x
        return {k: self._gate_dims(v, k, nodes) for k, v in x.items()}

    def _weigh(self, x: Mapping[str, Tensor], nodes: Nodes) -> Tensor | None:
        if self.edge is None:
            return None
        dense = nodes._replace(x=(x[self._edge_table],))
        dense = dense.dense(self.info.num_fields)
        return dense.weigh(self.edge, dense.x[0])

    def _gate_dims(self, x: Tensor, name: str, nodes: Nodes) -> Tensor:
        running = square = self._square(name)
        if self.training:
            # The mean over the rows that have the field; without any, the
            # running one stays:
            dense = nodes._replace(x=(x,)).dense(self.info.num_fields)
            (values,), count = dense.x, x.new_tensor(x.size(0))
            if dense.mask is not None:
                values = values * dense.mask.unsqueeze(-1)
                count = dense.mask.sum(dim=0).unsqueeze(-1)
            total = values.square().sum(dim=0)
            square = torch.where(
                count > 0, total / count.clamp(min=1), running.to(total.dtype)
            )
            with torch.no_grad():
                running.lerp_(square.to(running.dtype), 0.1)
        scale = self._scale(square)
        return x * (scale if nodes.is_dense else scale[nodes.field])

    def _scale(self, square: Tensor) -> Tensor:
        return self.dim_gate / (square + self.eps).sqrt()

    def _square(self, name: str) -> Tensor:
        return self.get_buffer(f'square_{name}')

    def gates(self) -> InteractionSet:
        r"""The interactions with open gates, and of each the functions with
        their gates as :obj:`detail["functions"]`. The score is the largest
        absolute gate.
        """
        return self.layer.gates()

    @torch.no_grad()
    def edge_weights(self, data: Data) -> list[Tensor]:
        nodes = self.nodes(data)
        weight = self._weigh(self._vectors(nodes), nodes)
        if weight is None:
            return super().edge_weights(data)
        return self._mean([weight])

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_fields={self.info.num_fields}, '
            f'embedding_dim={self.config["embedding_dim"]}, '
            f'num_interactions={self.layer.num_interactions})'
        )

    def _interactions_by_edges(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> InteractionSet:
        return self.gates()

    def compact(self) -> AIM:
        r"""The model without what is closed: interactions whose gate is zero,
        dimensions whose gate is zero, and those of which no open interaction
        makes use. In evaluation mode it gives the same logits.

        Node vectors are then in :class:`~pyg_featgraph.nn.RaggedEmbedding`,
        with the gates of dimensions multiplied in.
        """
        dims = self._open_dims()
        used = {name: [set[int]() for _ in kept] for name, kept in dims.items()}
        gates: dict[tuple[str, ...], dict[str, float | None]] = {}
        for entry in self.gates():
            q = members(entry, self.info)
            for function, value in entry.detail['functions'].items():
                name = self.table(function, len(q))
                needed = [{*dims[name][i]} for i in q]
                if function != 'outer':
                    needed = [set.intersection(*needed)] * len(q)
                # Without dimensions the value is always zero, but for the
                # normalisation:
                if all(needed) or self.config['norm']:
                    gates.setdefault(entry.fields, {})[function] = value
                    for i, kept in zip(q, needed, strict=True):
                        used[name][i] |= kept
        if self.edge is not None:
            used[self._edge_table] = [{*x} for x in dims[self._edge_table]]
        out = self.rebuild(
            interactions=gated(gates),
            dims={
                name: [sorted(x) for x in kept] for name, kept in used.items()
            },
            dim_gates=False,
        )
        if self.mlp is not None and out.mlp is None:
            # All that the perceptron sees is zero:
            mlp = deepcopy(self.mlp).eval()
            bias = out.linear.bias
            zeros = bias.new_zeros(len(bias), self.layer.num_interactions)
            with torch.no_grad():
                bias.add_(mlp(zeros))
        return out.train(self.training)

    def _open_dims(self) -> Dims:
        dims = {name: table.dims for name, table in self.embeddings.items()}
        if self.dim_gate is None:
            return dims
        is_open = (self.dim_gate != 0).tolist()
        return {
            name: [
                [t for t in kept if gate[t]]
                for kept, gate in zip(fields, is_open, strict=True)
            ]
            for name, fields in dims.items()
        }

    @torch.no_grad()
    def rebuild(self, **changes: Any) -> AIM:
        r"""A model with changed options. What the two have in common is
        copied: weights of the fields, node vectors, interactions under the
        same function, edges, and the perceptron if there are no interactions
        that this model lacks. Gates of dimensions are multiplied into the node
        vectors, unless the other model has some as well.

        Args:
            **changes: Arguments of the constructor.
        """
        out = type(self)(self.info, **{**self.config, **changes})
        # To the same device and precision:
        out.to(self.linear.bias)
        out.linear.load_state_dict(self.linear.state_dict())
        out.layer.copy_from(self.layer)
        for name in out.embeddings.keys() & self.embeddings.keys():
            scale = self.linear.bias.new_ones(1)
            if self.dim_gate is not None and out.dim_gate is None:
                scale = self._scale(self._square(name))
            elif self.dim_gate is not None:
                out._square(name).copy_(self._square(name))
            for i, rows in enumerate(scale.expand(self.info.num_fields, -1)):
                table = self.embeddings[name].table(i)
                out.embeddings[name].assign(i, rows * table)
            if self.members > 1:
                old = self.embeddings[name].scale.state_dict()
                out.embeddings[name].scale.load_state_dict(old)
        if self.dim_gate is not None and out.dim_gate is not None:
            out.dim_gate.copy_(self.dim_gate)
        if self.edge is not None and out.edge is not None:
            _load_if_fits(out.edge, self.edge.state_dict())
        out.head.load_state_dict(self.head.state_dict())
        columns, wanted = self.layer.columns(), out.layer.columns()
        if self.readout.weight is not None and out.readout.weight is not None:
            for pair in columns.keys() & wanted.keys():
                row = self.readout.weight[:, columns[pair]]
                out.readout.weight[:, wanted[pair]] = row
        if self.mlp and out.mlp and wanted.keys() <= columns.keys():
            state = self.mlp.state_dict()
            first = next(key for key in state if key.endswith('weight'))
            state[first] = state[first][:, [columns[pair] for pair in wanted]]
            _load_if_fits(out.mlp, state)
        return out


def _load_if_fits(module: torch.nn.Module, state: dict[str, Tensor]) -> None:
    sizes = {name: value.size() for name, value in state.items()}
    if sizes == {k: v.size() for k, v in module.state_dict().items()}:
        module.load_state_dict(state)

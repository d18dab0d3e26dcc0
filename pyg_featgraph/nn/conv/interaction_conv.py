r"""The gated interactions of AIM."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.utils import degree

from pyg_featgraph.nn.conv.hyperedge_base import HyperedgeConv
from pyg_featgraph.nn.kernels import TuplePlan, plan_tuples, tuple_product
from pyg_featgraph.nn.lazy import LazyModule

#: The interaction functions of the paper.
FUNCTIONS = ('inner', 'outer', 'vector', 'scalar')

# Of all pairs of up to 181 fields; more interactions are taken in parts:
_PART = 2**14


class InteractionConv(HyperedgeConv, LazyModule):
    r"""The gated interactions of the `"AIM: Automatic Interaction Machine for
    Click-Through Rate Prediction" <https://arxiv.org/abs/2111.03318>`_
    paper (Eqs. 6, 13 and 20).

    Each interaction :math:`q`, a tuple of :math:`p` fields, is a node of its
    own that receives from its members and is worth

    .. math::
        x^{\prime}_q = \alpha_q \, \mathrm{BN} \big( f(\mathbf{x}_{q_1},
        \ldots, \mathbf{x}_{q_p}) \big),

    where :math:`\mathrm{BN}` is batch normalisation without scale and shift,
    :math:`\alpha_q` a gate that is closed if it is exactly zero, and
    :math:`f` one of

    .. math::
        f_{\text{inner}} &= \sum_t \prod_s x_{q_s t} &
        f_{\text{vector}} &= \sum_t \phi_{qt} \prod_s x_{q_s t}

        f_{\text{outer}} &= \prod_s \mathbf{w}_s^{\top} \mathbf{x}_{q_s} &
        f_{\text{scalar}} &= \phi_q \sum_t \prod_s x_{q_s t}.

    The vectors :math:`\mathbf{w}_s` are shared by all interactions and belong
    to the positions in the tuple, so that the outer product is the only one
    which is not symmetric. Behind the normalisation, the scalar kernel is the
    inner product up to a sign. The product of an interaction with a missing
    member is zero; it counts as such in mean and variance, and is normalised
    like any other.

    No memory grows with the product of rows, interactions and channels in the
    dense layout, see :func:`~pyg_featgraph.nn.kernels.tuple_product`.

    Args:
        channels (int): Size of each node vector, or :obj:`-1` to take it from
            the first input.
        interactions (list of tuple): The fields of each of :math:`Q`
            interactions, all of the same order :math:`p \ge 2`.
        function (str, optional): The interaction function :math:`f`:
            :obj:`"inner"`, :obj:`"outer"`, :obj:`"vector"` or
            :obj:`"scalar"`. (default: :obj:`"inner"`)
        norm (bool, optional): If set to :obj:`False`, there is no
            normalisation. (default: :obj:`True`)
        gate (float, optional): The initial value of the gates; :obj:`None`
            leaves them out. (default: :obj:`0.6`)
        eps (float, optional): Is added to the variance. A product that is
            much smaller stays small. (default: :obj:`1e-3`)
        momentum (float, optional): The weight of a batch in the running mean
            and variance. The released code has 0.01, for which a few hundred
            batches are too few. (default: :obj:`0.1`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)`,
          hyperedge indices :math:`(2, |\mathcal{E}|)` from nodes to
          interactions, see :meth:`hyperedges`,
          hyperedge weights :math:`(B \cdot Q)` *(optional)*,
          field of each node :math:`(|\mathcal{V}|)`; or :math:`(B, n, F)`,
          with weights :math:`(B, Q)` *(optional)*
        - **output:** the interactions of each row :math:`(B, Q)`
    """

    index: Tensor
    parts: list[slice]
    other: Tensor
    permutation: Tensor
    inverse: Tensor
    weight: Tensor
    gate: Tensor | None

    def __init__(
        self,
        channels: int,
        interactions: Sequence[Sequence[int]],
        function: str = 'inner',
        norm: bool = True,
        gate: float | None = 0.6,
        eps: float = 1e-3,
        momentum: float = 0.1,
        **kwargs: typing.Any,
    ) -> None:
        if function not in FUNCTIONS:
            raise ValueError(
                f"'function' must be one of {', '.join(FUNCTIONS)} "
                f"(got '{function}')"
            )
        tuples = [tuple(sorted(q)) for q in interactions]
        if not tuples or len(tuples[0]) < 2 or len({*map(len, tuples)}) > 1:
            raise ValueError(
                "'interactions' must be tuples of the same number of fields, "
                'at least two'
            )
        if any(len(set(q)) < len(q) for q in tuples):
            raise ValueError("A tuple of 'interactions' repeats a field")
        if len(set(tuples)) < len(tuples):
            twice = next(q for q in tuples if tuples.count(q) > 1)
            raise ValueError(f"'interactions' has {twice} more than once")
        super().__init__(len(tuples), 'mul', **kwargs)
        self.in_channels = channels
        self.interactions = tuples
        self.function = function
        self.order = len(tuples[0])
        self.init_gate = gate
        size = len(tuples)
        index = torch.from_numpy(np.asarray(tuples))
        self.register_buffer('index', index, persistent=False)
        starts = range(0, size, _PART)
        self.parts = [slice(i, min(i + _PART, size)) for i in starts]
        sets = tuples
        if function == 'outer':
            # Each position of a tuple has a number for each field, all of
            # which are nodes of their own:
            order = self.order
            sets = [
                tuple(order * i + s for s, i in enumerate(q)) for q in tuples
            ]
        plans = [plan_tuples(sets[part]) for part in self.parts]
        self._groups = [(p.shared, p.ptr, p.starts) for p in plans]
        for name in ('other', 'permutation', 'inverse'):
            value = torch.cat([getattr(plan, name) for plan in plans])
            self.register_buffer(name, value, persistent=False)
        if function == 'inner':
            self.register_parameter('weight', None)
        elif function == 'scalar':
            self.weight = Parameter(torch.empty(size, 1))
        else:
            num = self.order if function == 'outer' else size
            self.add_parameter('weight', num, -1)
        if gate is None:
            self.register_parameter('gate', None)
        else:
            self.gate = Parameter(torch.empty(size))
        self.norm: typing.Any = None
        if norm:
            self.norm = torch.nn.BatchNorm1d(size, eps, momentum, affine=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        if self.function == 'outer' and not self.is_lazy:
            torch.nn.init.normal_(self.weight, std=self.channels**-0.5)
        elif self.weight is not None and not self.is_lazy:
            torch.nn.init.ones_(self.weight)
        if self.gate is not None and self.init_gate is not None:
            # A little noise, so that not all gates close in the same step:
            low, high = 0.998 * self.init_gate, 1.002 * self.init_gate
            torch.nn.init.uniform_(self.gate, low, high)
        if self.norm is not None:
            self.norm.reset_parameters()

    @property
    def channels(self) -> int:
        r"""Size of each node vector."""
        return self.in_channels

    def hyperedges(
        self, field: Tensor, batch: Tensor, batch_size: int, num_fields: int
    ) -> Tensor:
        r"""The :obj:`hyperedge_index` of the nodes of a batch.

        Args:
            field (torch.Tensor): The field of each node.
            batch (torch.Tensor): The row of each node.
            batch_size (int): The number :math:`B` of rows.
            num_fields (int): The number of fields.
        """
        node = field.new_full((batch_size, num_fields), -1)
        nodes = torch.arange(field.numel(), device=field.device)
        node = node.index_put((batch, field), nodes)
        source = node[:, self.index].flatten()
        target = torch.arange(
            batch_size * self.num_hyperedges, device=field.device
        ).repeat_interleave(self.order)
        return torch.stack([source, target])[:, source >= 0]

    def pair_weight(self, edge_weight: Tensor) -> Tensor:
        r"""Hyperedge weights from those of pairs, as any
        :class:`~pyg_featgraph.nn.FieldEdge` gives them in the dense layout:
        the product over all pairs of members, both directions being averaged.

        Args:
            edge_weight (torch.Tensor): The weights of pairs, with shape
                :math:`(B, n, n)` or :math:`(n, n)`.

        Returns:
            torch.Tensor: With shape :math:`(B, Q)` or :math:`(Q)`.
        """
        weight = (edge_weight + edge_weight.mT) / 2
        out = weight.new_ones(())
        for s, t in combinations(range(self.order), 2):
            out = out * weight[..., self.index[:, s], self.index[:, t]]
        return out

    def forward(
        self,
        x: Tensor,
        hyperedge_index: Tensor | None = None,
        hyperedge_weight: Tensor | None = None,
        field: Tensor | None = None,
        num_edges: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features.
            hyperedge_index (torch.Tensor, optional): The edges from nodes to
                interactions. (default: :obj:`None`)
            hyperedge_weight (torch.Tensor, optional): What interactions are
                multiplied with in the end, see :meth:`pair_weight`.
                (default: one)
            field (torch.Tensor, optional): The field of each node of a graph,
                which the outer product needs. (default: :obj:`None`)
            num_edges (int, optional): The number :math:`B \cdot Q` of
                hyperedges of a graph. (default: as many as have members)
            mask (torch.Tensor, optional): The fields that are there, in the
                dense layout. (default: all)

        Raises:
            ValueError: If the arguments do not fit each other.
        """
        size = self._batch_size(x, hyperedge_index, num_edges, mask)
        if size is None:
            if mask is not None:
                x = x * mask.unsqueeze(-1)
            weights = enumerate(self.weights)
            outs = [self.values(x, k, weight) for k, weight in weights]
            out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=1)
        else:
            assert hyperedge_index is not None
            out = self._graph(x, hyperedge_index, field, size)
        if self.norm is not None:
            out = self._normalize(out)
        out = out if self.gate is None else out * self.gate
        if hyperedge_weight is None:
            return out
        if hyperedge_weight.numel() not in (out.numel(), out.size(1)):
            raise ValueError(
                f"'hyperedge_weight' must have shape {list(out.size())}, "
                f'[{out.numel()}] or [{out.size(1)}] '
                f'(got {list(hyperedge_weight.size())})'
            )
        return out * hyperedge_weight.view(-1, out.size(1))

    def _normalize(self, x: Tensor) -> Tensor:
        if x.size(0) != 1:
            out: Tensor = self.norm(x)
            return out
        # A single row has no variance:
        mean, var = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(x, mean, var, eps=self.norm.eps)

    @property
    def weights(self) -> Sequence[Tensor | None]:
        r"""The weights of each of :obj:`parts`."""
        if self.function == 'outer':
            return [self.weight] * len(self.parts)
        return self.split(self.weight)

    def split(
        self, value: Tensor | None, dim: int = 0
    ) -> Sequence[Tensor | None]:
        r"""What belongs to each of :obj:`parts`. Slices would each have a
        gradient of the size of the whole.

        Args:
            value (torch.Tensor, optional): Something of all interactions.
            dim (int, optional): The dimension of these. (default: :obj:`0`)
        """
        if value is None:
            return [None] * len(self.parts)
        sizes = [part.stop - part.start for part in self.parts]
        return torch.split(value, sizes, dim)

    def values(self, x: Tensor, k: int, weight: Tensor | None) -> Tensor:
        r"""The interaction functions alone, in the dense layout.

        Args:
            x (torch.Tensor): The node features, zero where a field is not
                there.
            k (int): Of which of :obj:`parts`, slices of the interactions.
            weight (torch.Tensor, optional): The :obj:`weights` of these.
        """
        orders = (self.other, self.permutation, self.inverse)
        part = (v[self.parts[k]] for v in orders)
        plan = TuplePlan(*self._groups[k], *part)
        if self.function == 'outer':
            assert weight is not None
            factors = (x @ weight.t()).flatten(1).unsqueeze(2)
            return tuple_product(factors, None, plan)
        if self.function == 'scalar':
            assert weight is not None
            return tuple_product(x, None, plan) * weight.squeeze(1)
        return tuple_product(x, weight, plan)

    def _graph(
        self,
        x: Tensor,
        hyperedge_index: Tensor,
        field: Tensor | None,
        batch_size: int,
    ) -> Tensor:
        source, target = hyperedge_index[0], hyperedge_index[1]
        num = self.num_hyperedges
        weight = None
        if self.function == 'outer':
            if field is None:
                raise ValueError(
                    "'field' is required, since the outer product tells the "
                    'members of an interaction apart'
                )
            members = self.index[target % num]
            position = (members == field[source].unsqueeze(1)).int().argmax(1)
            weight = self.weight[position]
        # propagate_type: (x: Tensor, weight: Optional[Tensor])
        out: Tensor = self.propagate(
            hyperedge_index,
            x=x,
            weight=weight,
            size=(x.size(0), batch_size * num),
        )
        # The product of some of the members, or of none, is no interaction:
        count = degree(target, batch_size * num, x.dtype)
        out = out * (count == self.order).unsqueeze(1)
        out = out.view(batch_size, num, out.size(1))
        if self.function in ('vector', 'scalar'):
            out = out * self.weight
        return out.sum(dim=-1)

    def message(self, x_j: Tensor, weight: Tensor | None) -> Tensor:
        if weight is None:
            return x_j
        return (weight * x_j).sum(dim=-1, keepdim=True)

    def aggregate(self, inputs: Tensor, index: Tensor, dim_size: int) -> Tensor:
        # Gradients by `torch_scatter` are wrong where a factor is zero:
        out = inputs.new_ones(dim_size, inputs.size(1))
        index = index.unsqueeze(1).expand_as(inputs)
        return out.scatter_reduce(0, index, inputs, 'prod')

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_interactions={len(self.interactions)}, order={self.order}, '
            f"function='{self.function}')"
        )

r"""Interactions of several orders under several functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.conv import InteractionConv
from pyg_featgraph.nn.dense.sum_readout import SumReadout
from pyg_featgraph.nn.gates.gates import by_operator, gated
from pyg_featgraph.nn.gates.interaction_sum import interaction_sum
from pyg_featgraph.nn.layout import Nodes


class InteractionLayer(torch.nn.Module):
    r"""Interactions of several orders under several functions: one
    :class:`~pyg_featgraph.nn.InteractionConv` for each, in which they stand
    in the order of the fields.

    Args:
        channels (int): Size of each node vector.
        info (FieldInfo): The layout of the fields.
        interactions (InteractionSet, optional): The interactions, of whichever
            method. Those of :class:`~pyg_featgraph.nn.AIM` bring functions and
            gates with them, as :obj:`detail["functions"]`.
            (default: all pairs)
        functions (list of str, optional): The functions of interactions that
            name none. (default: :obj:`("inner",)`)
        norm (bool, optional): Whether interactions are normalised.
            (default: :obj:`True`)
        gate (float, optional): The initial value of gates for which none is
            given; :obj:`None` leaves out all gates. (default: :obj:`0.6`)
        eps (float, optional): What is added to the variance of pairs.
            (default: :obj:`1e-3`)
        std (float, optional): The standard deviation of the initial node
            vectors; :obj:`eps` is multiplied by its square for each further
            member of an interaction. (default: :obj:`1`)
        momentum (float, optional): The weight of a batch in the running mean
            and variance. The released code has 0.01, for which a few hundred
            batches are too few. (default: :obj:`0.1`)

    Raises:
        DataError: If a field is unknown.
        ValueError: If a function is unknown.
    """

    def __init__(
        self,
        channels: int,
        info: FieldInfo,
        interactions: InteractionSet | None = None,
        functions: Sequence[str] = ('inner',),
        norm: bool = True,
        gate: float | None = 0.6,
        eps: float = 1e-3,
        std: float = 1.0,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.info = info
        self.convs = torch.nn.ModuleDict()
        self._values: dict[str, list[float | None]] = {}
        parts = by_operator(interactions, info, functions)
        for (function, order), part in parts.items():
            key = f'{function}-{order}'
            self.convs[key] = InteractionConv(
                channels,
                list(part),
                function,
                norm,
                gate,
                eps * std ** (2 * order - 4),
                momentum,
            )
            self._values[key] = list(part.values())
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module, gates to the values
        that were given.
        """
        for key, conv in self.items():
            conv.reset_parameters()
            if conv.gate is not None:
                with torch.no_grad():
                    for q, value in enumerate(self._values[key]):
                        if value is not None:
                            conv.gate[q] = value

    @property
    def num_interactions(self) -> int:
        r"""The number :math:`P` of pairs of an interaction and a function."""
        return sum(len(conv.interactions) for _, conv in self.items())

    def items(self) -> Iterable[tuple[str, Any]]:
        r"""The operators by function and order."""
        return self.convs.items()

    def forward(
        self,
        x: Tensor | Mapping[str, Tensor],
        nodes: Nodes,
        pair_weight: Tensor | None = None,
    ) -> Tensor:
        r"""The values :math:`(B, P)` of all interactions.

        Args:
            x (torch.Tensor or dict): The node vectors, or those of each
                operator.
            nodes (Nodes): The nodes that they belong to.
            pair_weight (torch.Tensor, optional): The weights
                :math:`(B, n, n)` of pairs of fields, see
                :meth:`~pyg_featgraph.nn.InteractionConv.pair_weight`.
                (default: one)
        """
        outs = []
        for key, conv in self.items():
            vectors = x if isinstance(x, Tensor) else x[key]
            weight = (
                None if pair_weight is None else conv.pair_weight(pair_weight)
            )
            if nodes.is_dense:
                outs.append(
                    conv(vectors, hyperedge_weight=weight, mask=nodes.mask)
                )
                continue
            size = nodes.batch_size
            index = conv.hyperedges(
                nodes.field, nodes.batch_vector, size, self.info.num_fields
            )
            num_edges = size * conv.num_hyperedges
            if weight is not None:
                weight = weight.flatten()
            outs.append(conv(vectors, index, weight, nodes.field, num_edges))
        if not outs:
            like = nodes.x[0]
            size = like.size(0) if nodes.is_dense else nodes.batch_size
            return like.new_zeros(size, 0)
        return torch.cat(outs, dim=1)

    def summed(
        self,
        readout: SumReadout,
        x: Mapping[str, Tensor],
        nodes: Nodes,
        pair_weight: Tensor | None = None,
    ) -> Tensor:
        r"""What a readout makes of the values of all interactions. Of very
        many only some are stored at a time in the dense layout.

        Args:
            readout (SumReadout): The readout.
            x (dict): The node vectors of each operator.
            nodes (Nodes): The nodes that they belong to.
            pair_weight (torch.Tensor, optional): See :meth:`forward`.
                (default: one)
        """
        many = any(len(conv.parts) > 1 for _, conv in self.items())
        if not nodes.is_dense or not many:
            out: Tensor = readout(self(x, nodes, pair_weight))
            return out
        outs, start = [], 0
        for key, conv in self.items():
            weight = (
                None if pair_weight is None else conv.pair_weight(pair_weight)
            )
            vectors = x[key]
            if nodes.mask is not None:
                vectors = vectors * nodes.mask.unsqueeze(-1)
            args = conv, readout, start, vectors, weight
            outs.append(interaction_sum(*args))
            start += conv.num_hyperedges
        return torch.stack(outs).sum(dim=0)

    def columns(self) -> dict[tuple[str, tuple[int, ...]], int]:
        r"""Where each interaction under each function stands in the output."""
        pairs = (
            (conv.function, q)
            for _, conv in self.items()
            for q in conv.interactions
        )
        return {pair: column for column, pair in enumerate(pairs)}

    @torch.no_grad()
    def copy_from(self, source: InteractionLayer) -> None:
        r"""Copies the interactions that another layer has under the same
        function.

        Args:
            source (InteractionLayer): The other layer.
        """
        for key, conv in self.items():
            if key in source.convs:
                _copy(source.convs[key], conv)

    def gates(self) -> InteractionSet:
        r"""The interactions with open gates, and of each the functions with
        their gates as :obj:`detail["functions"]`. The score is the largest
        absolute gate.
        """
        out: dict[tuple[str, ...], dict[str, float | None]] = {}
        for _, conv in self.items():
            values = [1.0] * len(conv.interactions)
            if conv.gate is not None:
                values = conv.gate.tolist()
            for q, value in zip(conv.interactions, values, strict=True):
                if value != 0:
                    names = tuple(self.info.names[i] for i in q)
                    out.setdefault(names, {})[conv.function] = value
        return gated(out)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_interactions='
            f'{self.num_interactions}, convs={list(self.convs)})'
        )


def _copy(source: Any, target: Any) -> None:
    where = {q: i for i, q in enumerate(source.interactions)}
    new = [i for i, q in enumerate(target.interactions) if q in where]
    old = [where[target.interactions[i]] for i in new]
    if target.function == 'outer':
        target.weight.copy_(source.weight)
    elif target.weight is not None:
        target.weight[new] = source.weight[old]
    if source.gate is not None and target.gate is not None:
        target.gate[new] = source.gate[old]
    if source.norm is not None and target.norm is not None:
        target.norm.running_mean[new] = source.norm.running_mean[old]
        target.norm.running_var[new] = source.norm.running_var[old]

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn.conv import InteractionConv
from pyg_featgraph.nn.conv.interaction_conv import FUNCTIONS
from pyg_featgraph.nn.layout import Nodes

#: Fields with the value of the gate of each function, or none; JSON-compatible.
Gates = list[tuple[list[str], dict[str, float | None]]]
#: The same of open gates, with numbers instead of names.
OpenGates = dict[tuple[int, ...], dict[str, float]]


class InteractionLayer(torch.nn.Module):
    r"""Interactions of several orders under several functions: one
    :class:`~pyg_featgraph.nn.InteractionConv` for each.

    Args:
        channels (int): Size of each node vector.
        info (FieldInfo): The layout of the fields.
        gates (list): The interactions, see :func:`as_gates`.
        norm (bool, optional): Whether interactions are normalised.
            (default: :obj:`True`)
        gate (float, optional): The initial value of gates for which none is
            given; :obj:`None` leaves out all gates. (default: :obj:`0.6`)
        eps (float, optional): What is added to the variance of pairs.
            (default: :obj:`1e-3`)
        std (float, optional): The standard deviation of the initial node
            vectors; :obj:`eps` is multiplied by its square for each further
            member of an interaction. (default: :obj:`1`)
    """

    def __init__(
        self,
        channels: int,
        info: FieldInfo,
        gates: Gates,
        norm: bool = True,
        gate: float | None = 0.6,
        eps: float = 1e-3,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        self.num_fields = info.num_fields
        field = {name: i for i, name in enumerate(info.names)}
        parts: dict[str, dict[tuple[int, ...], float | None]] = {}
        # By function and order, in the order of `FUNCTIONS`:
        for function in FUNCTIONS:
            for names, values in sorted(gates, key=lambda x: len(x[0])):
                if function in values:
                    key = f'{function}-{len(names)}'
                    q = tuple(sorted(field[name] for name in names))
                    parts.setdefault(key, {})[q] = values[function]
        self.convs = torch.nn.ModuleDict()
        self._values: dict[str, list[float | None]] = {}
        for key, part in parts.items():
            function, order = key.split('-')
            self.convs[key] = InteractionConv(
                channels,
                list(part),
                function,
                norm,
                gate,
                eps * std ** (2 * int(order) - 4),
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

    def forward(self, x: Tensor | Mapping[str, Tensor], nodes: Nodes) -> Tensor:
        r"""The values :math:`(B, P)` of all interactions.

        Args:
            x (torch.Tensor or dict): The node vectors, or those of each
                operator.
            nodes (Nodes): The nodes that they belong to.
        """
        outs = []
        for key, conv in self.items():
            vectors = x if isinstance(x, Tensor) else x[key]
            if nodes.is_dense:
                outs.append(conv(vectors, mask=nodes.mask))
                continue
            size = nodes.batch_size
            index = conv.hyperedges(
                nodes.field, nodes.batch_vector, size, self.num_fields
            )
            num_edges = size * conv.num_hyperedges
            outs.append(conv(vectors, index, None, nodes.field, num_edges))
        if not outs:
            like = nodes.x[0]
            size = like.size(0) if nodes.is_dense else nodes.batch_size
            return like.new_zeros(size, 0)
        return torch.cat(outs, dim=1)

    def gates(self) -> OpenGates:
        r"""The open gates: of each interaction the functions with their
        values.
        """
        out: OpenGates = {}
        for _, conv in self.items():
            values = [1.0] * len(conv.interactions)
            if conv.gate is not None:
                values = conv.gate.tolist()
            for q, value in zip(conv.interactions, values, strict=True):
                if value != 0:
                    out.setdefault(q, {})[conv.function] = value
        return out

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}(num_interactions='
            f'{self.num_interactions}, convs={list(self.convs)})'
        )


def as_gates(
    interactions: InteractionSet | Sequence[Any],
    info: FieldInfo,
    functions: Sequence[str] = ('inner',),
) -> Gates:
    r"""Interactions in the form that a model keeps in its configuration:
    fields, and the initial gate of each function.

    An entry of an :class:`~pyg_featgraph.InteractionSet` may name functions
    and gates as :obj:`detail["functions"]`, as those of
    :class:`~pyg_featgraph.nn.AIM` do; all others get :obj:`functions`.
    Entries with a single field are left out.

    Args:
        interactions (InteractionSet or list): The interactions, of whichever
            method; or what this function has returned.
        info (FieldInfo): The layout of the fields.
        functions (list of str, optional): The functions of entries that name
            none. (default: :obj:`("inner",)`)

    Raises:
        DataError: If a field is unknown.
        ValueError: If a function is unknown.
    """
    out: Gates = []
    for entry in interactions:
        if isinstance(entry, Interaction):
            names = list(entry.fields)
            values = dict(
                entry.detail.get('functions') or dict.fromkeys(functions)
            )
        else:
            names, values = list(entry[0]), dict(entry[1])
        for name in names:
            if name not in info.names:
                raise DataError(
                    f'The interaction {" x ".join(names)} has the field '
                    f"'{name}', which the table has not"
                )
        for function in values:
            if function not in FUNCTIONS:
                raise ValueError(
                    f"No interaction function named '{function}' "
                    f'({", ".join(FUNCTIONS)})'
                )
        if len(names) > 1 and values:
            out.append((names, values))
    return out


def name_gates(gates: OpenGates, info: FieldInfo) -> Gates:
    r"""Gates with the names of fields in place of their numbers."""
    return [
        ([info.names[i] for i in q], dict(values))
        for q, values in gates.items()
    ]


def as_interactions(
    gates: OpenGates,
    info: FieldInfo,
    source: str,
) -> InteractionSet:
    r"""The inverse of :func:`as_gates`: the score of an interaction is its
    largest absolute gate, its functions and gates are in the detail.
    """
    return InteractionSet(
        Interaction(
            tuple(info.names[i] for i in q),
            max(abs(value) for value in values.values()),
            source,
            {'functions': dict(values)},
        )
        for q, values in gates.items()
    )

r"""The base class of learnable edges."""

from __future__ import annotations

import inspect
from typing import ClassVar, Self

import torch
from torch import Tensor

from pyg_featgraph.nn.config import Configurable
from pyg_featgraph.nn.layout import Pair, is_dense, pairs_of


class FieldEdge(Configurable, torch.nn.Module):
    r"""Base class of modules that give edges their weights.

    A weight of zero means that there is no edge. In most cases a subclass
    defines :meth:`score` alone, which both layouts share,

    .. math::
        w_{ij} = f(\mathbf{x}_i, \mathbf{x}_j),

    where node :math:`i` receives and node :math:`j` sends. One whose weights
    depend on all edges of a node defines :meth:`dense` and :meth:`graph`.

    Args:
        self_loops (bool, optional): If set to :obj:`False`, no node is its
            own neighbour. (default: :obj:`True`)

    Shapes:
        - **input:** node vectors :math:`(|\mathcal{V}|, F_{in})`, those of
          sources and targets being a pair, with edge indices :math:`(2,
          |\mathcal{E}|)` and, for some, the field of each node
          :math:`(|\mathcal{V}|)`; or :math:`(B, n, F_{in})` with an optional
          mask :math:`(B, n)`
        - **output:** :math:`(|\mathcal{E}|)`, or :math:`(B, n, n)` or
          :math:`(n, n)`, the first :math:`n` being targets; with a dimension
          of heads behind, if there are some. What is said of fields that the
          mask leaves out means nothing
    """

    #: The names of all edge modules, for the `edge` of a model.
    names: ClassVar[dict[str, type[FieldEdge]]] = {}

    def __init_subclass__(cls, name: str | None = None) -> None:
        super().__init_subclass__()
        if name is not None:
            FieldEdge.names[name] = cls

    def __init__(self, self_loops: bool = True) -> None:
        super().__init__()
        self.self_loops = self_loops

    def forward(
        self,
        x: Tensor | Pair,
        edge_index: Tensor | None = None,
        field: Tensor | Pair | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Weighs the given edges, or all pairs of fields of each row.

        Args:
            x (torch.Tensor or tuple): The node vectors, or those of sources
                and targets.
            edge_index (torch.Tensor, optional): The edges of a graph, from
                sources (first) to targets. (default: :obj:`None`)
            field (torch.Tensor or tuple, optional): The field of each node of
                a graph. (default: :obj:`None`)
            mask (torch.Tensor, optional): The fields that are there, in the
                dense layout. (default: all)
        """
        source, target = (x, x) if isinstance(x, Tensor) else x
        if is_dense(x, edge_index, mask):
            n = target.size(1)
            pairs = pairs_of(mask, n, self.self_loops, target)
            return self.dense((source, target), pairs)
        assert edge_index is not None
        pair = (field, field) if not isinstance(field, tuple) else field
        weight = self.graph((source, target), edge_index, pair)
        if self.self_loops or source is not target:
            return weight
        other = edge_index[0] != edge_index[1]
        return weight * other.view(-1, *[1] * (weight.dim() - 1))

    def score(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        r"""The weights of pairs of nodes.

        Args:
            x_i (torch.Tensor): The vectors of targets, :math:`(*, F_{in})`.
            x_j (torch.Tensor): The vectors of sources, :math:`(*, F_{in})`;
                dimensions of size one are to be broadcast.

        Returns:
            torch.Tensor: With shape :math:`(*)`, or :math:`(*, H)`.
        """
        raise NotImplementedError

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        r"""The weights in the dense layout.

        Args:
            x (tuple): The vectors of sources and targets.
            pairs (torch.Tensor, optional): Which pairs can be edges, with
                shape :math:`(B, n, n)` or :math:`(1, n, n)`.
        """
        source, target = x
        weight = self.score(target.unsqueeze(2), source.unsqueeze(1))
        if pairs is None:
            return weight
        return weight * pairs.view(*pairs.size(), *[1] * (weight.dim() - 3))

    def graph(
        self,
        x: Pair,
        edge_index: Tensor,
        field: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        r"""The weights of the edges of a graph.

        Args:
            x (tuple): The vectors of sources and targets.
            edge_index (torch.Tensor): The edges.
            field (tuple): The fields of sources and targets.
        """
        source, target = x
        return self.score(target[edge_index[1]], source[edge_index[0]])

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.children():
            module.reset_parameters()  # type: ignore[operator]

    def resized(self, in_channels: int) -> Self:
        r"""A new module with the same options for node vectors of another
        size.

        Args:
            in_channels (int): Size of each node vector.
        """
        config = dict(self.config)
        if 'in_channels' in config:
            config['in_channels'] = in_channels
        return type(self)(**config)


def has_hooks(*modules: torch.nn.Module) -> bool:
    r"""Whether somebody listens to what modules are given or give.

    Args:
        *modules (torch.nn.Module): The modules.
    """
    return any(
        hooks
        for module in modules
        for hooks in (
            module._forward_hooks,
            module._forward_pre_hooks,
            module._backward_hooks,
            module._backward_pre_hooks,
        )
    )


def make_edge(
    edge: str | FieldEdge, in_channels: int, num_fields: int
) -> FieldEdge:
    r"""The edge module of a layer.

    Args:
        edge (str or FieldEdge): The name of a module, with default options;
            or a module whose options are taken over. In either case the
            parameters are new.
        in_channels (int): Size of each node vector.
        num_fields (int): The number of fields.

    Raises:
        ValueError: If there is no module of this name.
    """
    if isinstance(edge, FieldEdge):
        return edge.resized(in_channels)
    if not isinstance(edge, str) or edge not in FieldEdge.names:
        raise ValueError(
            f"'edge' must be a module or one of {sorted(FieldEdge.names)} "
            f'(got {edge!r})'
        )
    cls: type = FieldEdge.names[edge]
    known = {'in_channels': in_channels, 'num_fields': num_fields}
    wanted = inspect.signature(cls).parameters
    out: FieldEdge = cls(**{k: v for k, v in known.items() if k in wanted})
    return out

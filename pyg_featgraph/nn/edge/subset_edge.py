r"""Memberships of fields in subsets, as FeatNet prunes them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot

from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.edge.soft_threshold import SoftThreshold
from pyg_featgraph.nn.layout import Pair
from pyg_featgraph.nn.lazy import LazyModule


class SubsetEdge(FieldEdge, LazyModule, name='subset'):
    r"""The edges from fields to subsets of them, from the `"FeatNet: Feature
    Interaction Pruning Networks for CTR Prediction"` paper (Eqs. 2 to 4).

    .. math::
        \mathbf{p}_i = \mathrm{ReLU} \big( \mathbf{W}_2 \, \sigma(\mathbf{W}_1
        \mathbf{x}_i) \big), \qquad p^{\prime}_{is} = S_g(p_{is}, \tau_{is})

    Both matrices are shared by all fields, while each pair of a field and a
    subset has a threshold (:class:`~pyg_featgraph.nn.SoftThreshold`). A weight
    of zero means that the field is no member of the subset in this row.

    There is no bias, and :math:`\sigma` is positive: a subset whose row of
    :math:`\mathbf{W}_2` is negative has no members at all, and no gradient to
    change that. So :math:`\mathbf{W}_2` is positive at first; a typical weight
    is a half, which a threshold can exceed.

    :meth:`members` gives the weights :math:`p^{\prime}_{is}`, along which
    :class:`~pyg_featgraph.nn.InducedSetConv` passes messages. As edges between
    fields, two are the closer the more subsets they are both members of,

    .. math::
        w_{ij} = \frac{1}{S} \sum_{s=1}^{S} p^{\prime}_{is} p^{\prime}_{js}.

    Args:
        in_channels (int): Size of each node vector, or :obj:`-1` to take it
            from the first input.
        num_fields (int, optional): The number :math:`n` of fields;
            :obj:`None` shares the thresholds. (default: :obj:`None`)
        num_subsets (int, optional): The number :math:`S` of subsets.
            (default: :obj:`10`)
        rank (int, optional): The number of rows of :math:`\mathbf{W}_1`.
            (default: :obj:`4`)
        threshold_init (float, optional): The initial :math:`\tau`.
            (default: :obj:`-7`)
        self_loops (bool, optional): If set to :obj:`False`, no node is its
            own neighbour. (default: :obj:`True`)

    Shapes:
        As :class:`FieldEdge`.
    """

    weight: Tensor

    def __init__(
        self,
        in_channels: int,
        num_fields: int | None = None,
        num_subsets: int = 10,
        rank: int = 4,
        threshold_init: float = -7.0,
        self_loops: bool = True,
    ) -> None:
        super().__init__(self_loops)
        self.in_channels = in_channels
        self.num_fields = num_fields
        self.num_subsets = num_subsets
        self.rank = rank
        # The matrices W_1 and W_2:
        self.add_parameter('weight', rank, -1)
        self.mix = Parameter(torch.empty(num_subsets, rank))
        size = () if num_fields is None else (num_fields,)
        self.threshold = SoftThreshold(*size, num_subsets, init=threshold_init)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if not self.is_lazy:
            glorot(self.weight)
        # The sigmoid is about a half, so that weights are a half on average:
        torch.nn.init.uniform_(self.mix, 0, 2 / self.rank)
        self.threshold.reset_parameters()

    def members(self, x: Tensor, field: Tensor | None = None) -> Tensor:
        r"""The weights of the edges from each node to all subsets.

        Args:
            x (torch.Tensor): The node vectors.
            field (torch.Tensor, optional): The field of each node of a graph.
                (default: :obj:`None`)

        Returns:
            torch.Tensor: With shape :math:`(B, n, S)` or
            :math:`(|\mathcal{V}|, S)`.

        Raises:
            ValueError: If each field has thresholds, but it is not known which
                node is of which field.
        """
        p = ((x @ self.weight.t()).sigmoid() @ self.mix.t()).relu()
        if self.num_fields is None:
            field = None
        elif field is None and (x.dim() != 3 or x.size(1) != self.num_fields):
            raise ValueError(
                f"'field' is required, since each of the {self.num_fields} "
                f'fields has its own thresholds (got shape {list(x.size())})'
            )
        out: Tensor = self.threshold(p, field)
        return out

    def dense(self, x: Pair, pairs: Tensor | None) -> Tensor:
        source = target = self.members(x[0])
        if x[0] is not x[1]:
            target = self.members(x[1])
        weight = target @ source.mT / self.num_subsets
        return weight if pairs is None else weight * pairs

    def graph(
        self,
        x: Pair,
        edge_index: Tensor,
        field: tuple[Tensor | None, Tensor | None],
    ) -> Tensor:
        source = target = self.members(x[0], field[0])
        if x[0] is not x[1]:
            target = self.members(x[1], field[1])
        return (target[edge_index[1]] * source[edge_index[0]]).mean(dim=-1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'num_fields={self.num_fields}, num_subsets={self.num_subsets}, '
            f'rank={self.rank})'
        )

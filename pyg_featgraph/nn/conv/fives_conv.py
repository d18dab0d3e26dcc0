r"""The propagation of FIVES."""

from __future__ import annotations

import typing

import torch
from torch import Tensor

from pyg_featgraph.nn.conv.base import FieldConv, Fields, Links
from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.layout import Pair

#: A smaller sum of weights counts as none, whose inverse has no gradient.
TINY = 1e-12


class FIVESConv(FieldConv):
    r"""The propagation of the `"FIVES: Feature Interaction Via Edge Search for
    Large-Scale Tabular Data" <https://arxiv.org/abs/2007.14573>`_ paper
    (Eq. 2), which raises the order of interactions by one.

    .. math::
        \mathbf{x}^{\prime}_i = \mathbf{x}_i \odot \frac{1}{Z_i} \sum_j w_{ij}
        \mathbf{W}_j \mathbf{e}_j, \qquad Z_i = \sum_j w_{ij},

    where the sources :math:`\mathbf{e}_j` are the embeddings and the targets
    :math:`\mathbf{x}_i` what the layer before has given, at first the
    embeddings as well. The weights are usually those of
    :class:`~pyg_featgraph.nn.AdjacencyTensor`, the same for all rows. The
    paper shares :math:`\mathbf{W}_j` between all layers: use one instance for
    all, or, so that it is computed once, one without it behind a
    :class:`~pyg_featgraph.nn.FieldLinear`.

    Since a soft :math:`w_{ij}` is divided by its sum, equally small weights
    act as the mean of everything; :obj:`normalize=False` does not divide.

    Args:
        channels (int): Size of each node vector, or :obj:`-1` to take it from
            the first input.
        num_fields (int, optional): The number :math:`n` of fields, each with
            its own :math:`\mathbf{W}_j`; :obj:`None` shares one.
            (default: :obj:`None`)
        edge (FieldEdge, optional): The module that gives the edges weights,
            from sources and targets. (default: all edges are alike)
        normalize (bool, optional): If set to :obj:`False`, :math:`Z_i = 1`.
            (default: :obj:`True`)
        transform (bool, optional): If set to :obj:`False`, there is no
            :math:`\mathbf{W}_j`: the sources are what is summed up.
            (default: :obj:`True`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)` or those of sources and
          targets :math:`((|\mathcal{V_s}|, F), (|\mathcal{V_t}|, F))`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` *(optional)*,
          field of each node :math:`(|\mathcal{V}|)` *(if* :obj:`num_fields`
          *is given)*; or :math:`(B, n, F)`, with weights :math:`(n, n)` or
          :math:`(B, n, n)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}_t|, F)` or
          :math:`(B, n, F)`
    """

    def __init__(
        self,
        channels: int,
        num_fields: int | None = None,
        edge: FieldEdge | None = None,
        normalize: bool = True,
        transform: bool = True,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(edge, **kwargs)
        self.num_fields = num_fields
        self.normalize = normalize
        self.in_channels = channels
        self.lin = None
        if transform:
            self.lin = FieldLinear(channels, channels, num_fields, bias=False)
        self.reset_parameters()

    @property
    def channels(self) -> int:
        r"""Size of each node vector."""
        return self.in_channels if self.lin is None else self.lin.in_channels

    def convolve(
        self, x: Pair, links: Links, field: Fields
    ) -> tuple[Tensor, Tensor | None]:
        weight = links.weight
        is_scaled = not self.normalize
        is_whole = links.ends is None and links.mask is None
        if not is_scaled and is_whole and weight is not None:
            # All sources are there: to scale weights costs less than outputs.
            total = weight.sum(dim=-1, keepdim=True)
            weight, is_scaled = weight / _positive(total), True
        message = x[0] if self.lin is None else self.lin(x[0], field[0])
        out = self.spread(message, links, weight, gate=x[1])
        if not is_scaled:
            ones = x[0].new_ones(*x[0].size()[:-1], 1)
            total = _positive(self.spread(ones, links, weight))
            out = out / total
            if links.needs_alpha:
                weight = self._normalized(weight, links, total.squeeze(-1))
        return out, weight

    def _normalized(
        self, weight: Tensor | None, links: Links, total: Tensor
    ) -> Tensor | None:
        # What messages have been multiplied with in effect.
        if links.ends is not None:
            total = total[links.ends[1]]
            return 1 / total if weight is None else weight / total
        if weight is None:
            weight = (
                total.new_ones(1, 1) if links.pairs is None else links.pairs
            )
        return weight / total.unsqueeze(-1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields})'
        )


def _positive(total: Tensor) -> Tensor:
    return total.clamp(min=max(TINY, torch.finfo(total.dtype).tiny))

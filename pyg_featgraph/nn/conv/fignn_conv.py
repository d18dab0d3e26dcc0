r"""The gated propagation of Fi-GNN."""

from __future__ import annotations

import typing

import torch
from torch import Tensor
from torch_geometric.nn.inits import zeros

from pyg_featgraph.nn.conv.base import FieldConv, Fields, Links
from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.kernels import (
    gated_steps,
    gru_step,
    has_gated_steps,
)
from pyg_featgraph.nn.layout import Pair
from pyg_featgraph.nn.lazy import LazyModule


class FiGNNConv(FieldConv, LazyModule):
    r"""The gated propagation of the `"Fi-GNN: Modeling Feature Interactions
    via Graph Neural Networks for CTR Prediction"
    <https://arxiv.org/abs/1910.05552>`_ paper (Eqs. 4 to 6).

    Starting from :math:`\mathbf{h}^{(0)}_i = \mathbf{x}_i`, each of
    :math:`T` steps computes

    .. math::
        \mathbf{a}_i &= \mathbf{W}^{in}_i \sum_j w_{ij} \mathbf{W}^{out}_j
        \mathbf{h}^{(t-1)}_j + \mathbf{b}

        \mathbf{h}^{(t)}_i &= \mathrm{GRU}(\mathbf{a}_i,
        \mathbf{h}^{(t-1)}_i) + \mathbf{x}_i

    with transformations :math:`\mathbf{W}^{out}_j` and
    :math:`\mathbf{W}^{in}_i` of each field and one GRU and one bias for all
    fields and steps. The weights :math:`w_{ij}` usually come from
    :class:`~pyg_featgraph.nn.AttentionEdge`; without weights all other nodes
    are summed up, as the code released later has it. The GRU is that of
    :class:`torch.nn.GRUCell`, whose reset gate acts behind the matrix product;
    in the paper and the released code it acts before.

    On a bipartite graph sources keep their features in all steps.

    Args:
        channels (int): Size of each node vector, or :obj:`-1` to take it from
            the first input.
        num_fields (int, optional): The number :math:`n` of fields, each with
            its own transformations; :obj:`None` shares them.
            (default: :obj:`None`)
        num_layers (int, optional): The number :math:`T` of steps.
            (default: :obj:`2`)
        edge (FieldEdge, optional): The module that gives the edges weights,
            once, from :math:`\mathbf{x}`.
            (default: all edges but self loops are alike)
        share_weights (bool, optional): If set to :obj:`True`, the
            transformations are the same in all steps.
            (default: :obj:`False`)
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

    self_loops = False

    lin_out: typing.Any
    lin_in: typing.Any
    bias: Tensor
    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor

    def __init__(
        self,
        channels: int,
        num_fields: int | None = None,
        num_layers: int = 2,
        edge: FieldEdge | None = None,
        share_weights: bool = False,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(edge, **kwargs)
        self.in_channels = channels
        self.num_fields = num_fields
        self.num_layers = num_layers
        self.share_weights = share_weights

        count = min(1, num_layers) if share_weights else num_layers
        self.lin_out = torch.nn.ModuleList(
            FieldLinear(channels, channels, num_fields, bias=False)
            for _ in range(count)
        )
        self.lin_in = torch.nn.ModuleList(
            FieldLinear(channels, channels, num_fields, bias=False)
            for _ in range(count)
        )
        self.add_parameter('bias', -1)
        # Those of `torch.nn.GRUCell`, whose size may not be known yet:
        self.add_parameter('weight_ih', -3, -1)
        self.add_parameter('weight_hh', -3, -1)
        self.add_parameter('bias_ih', -3)
        self.add_parameter('bias_hh', -3)
        self.reset_parameters()

    @property
    def channels(self) -> int:
        r"""Size of each node vector."""
        return self.in_channels

    def materialize(self, in_channels: int) -> None:
        super().materialize(in_channels)
        # They are not always called, which would do it:
        for lin in (*self.lin_out, *self.lin_in):
            if lin.is_lazy:
                lin.materialize(in_channels)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        if self.is_lazy:
            return
        zeros(self.bias)
        for parameter in self._gru:
            torch.nn.init.uniform_(
                parameter, -(self.channels**-0.5), self.channels**-0.5
            )

    @property
    def _gru(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def convolve(
        self, x: Pair, links: Links, field: Fields
    ) -> tuple[Tensor, Tensor | None]:
        source, h = x
        # What goes into the GRU has the bias, which is one of the gates then:
        bias = self.bias_ih + (self.weight_ih * self.bias).sum(dim=1)
        gru = self.weight_ih, self.weight_hh, bias, self.bias_hh
        is_whole = links.ends is None and source is h and self.num_layers > 0
        if is_whole and has_gated_steps(h):
            # All steps of a row in one go:
            outgoing, incoming = (
                torch.stack([lin.matrices(h) for lin in lins])
                for lins in (self.lin_out, self.lin_in)
            )
            weight = self._all_weights(x, links)
            matrices = outgoing, incoming
            h = gated_steps(h, weight, *matrices, *gru, self.num_layers)
            return h, links.weight
        for step in range(self.num_layers):
            k = 0 if self.share_weights else step
            message = self.lin_out[k](source, field[0])
            out = self.spread(message, links, links.weight)
            out = self.lin_in[k](out, field[1])
            h, first = h.flatten(0, -2), x[1].flatten(0, -2)
            h = gru_step(out.flatten(0, -2), h, first, *gru).view_as(x[1])
            source = h if x[0] is x[1] else source
        return h, links.weight

    def _all_weights(self, x: Pair, links: Links) -> Tensor:
        # Those of the dense layout; what is not there sends nothing.
        if links.weight is None:
            return self.edge.dense(x, links.pairs)
        if links.mask is None:
            return links.weight
        return links.weight * links.mask.unsqueeze(1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.channels}, '
            f'num_fields={self.num_fields}, num_layers={self.num_layers})'
        )

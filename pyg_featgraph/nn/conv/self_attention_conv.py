r"""The interacting layer of AutoInt."""

from __future__ import annotations

import math
import typing

from torch import Tensor
from torch_geometric.nn.dense.linear import Linear

from pyg_featgraph.nn.conv.base import FieldConv, Fields, Links
from pyg_featgraph.nn.edge.base import FieldEdge
from pyg_featgraph.nn.kernels.small_attention import small_attention
from pyg_featgraph.nn.layout import (
    Pair,
    edge_softmax,
    heads_first,
    masked_softmax,
)


class SelfAttentionConv(FieldConv):
    r"""The interacting layer of the `"AutoInt: Automatic Feature Interaction
    Learning via Self-Attentive Neural Networks"
    <https://arxiv.org/abs/1810.11921>`_ paper (Eqs. 5 to 8), which Fi-GNN has
    as its input layer, too.

    .. math::
        \mathbf{x}^{\prime}_i = \mathrm{ReLU} \Big( \Big\Vert_{h=1}^{H} \sum_j
        w_{ij} \alpha^h_{ij} \mathbf{V}^h \mathbf{x}_j + \mathbf{R} \mathbf{x}_i
        \Big), \qquad \alpha^h_{ij} = \underset{j}{\mathrm{softmax}} \;
        \frac{(\mathbf{Q}^h \mathbf{x}_i)^{\top} \mathbf{K}^h
        \mathbf{x}_j}{\sqrt{F_{out}}}

    The paper has no edge weights, :math:`w_{ij} = 1`. With some, the softmax
    is over the edges whose weight is not zero.

    Args:
        in_channels (int): Size of each input sample, or :obj:`-1` to take it
            from the first input.
        out_channels (int): Size of each output sample (of each head).
        heads (int, optional): Number of attention heads. (default: :obj:`1`)
        edge (FieldEdge, optional): The module that gives the edges their
            weights. (default: all edges are alike)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F_{in})` or those of sources and
          targets :math:`((|\mathcal{V_s}|, F_{in}), (|\mathcal{V_t}|,
          F_{in}))`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` or :math:`(|\mathcal{E}|, H)`
          *(optional)*; or :math:`(B, n, F_{in})`, with weights
          :math:`(n, n)`, :math:`(B, n, n)` or :math:`(B, n, n, H)`
          *(optional)*
        - **output:** node features :math:`(|\mathcal{V}_t|, H * F_{out})` or
          :math:`(B, n, H * F_{out})`.
          If :obj:`return_attention_weights=True`, then also the edges and
          :math:`w_{ij} \alpha^h_{ij}`, :math:`(|\mathcal{E}|, H)` or
          :math:`(B, n, n, H)`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        edge: FieldEdge | None = None,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(edge, **kwargs)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = self.num_heads = heads
        total = heads * out_channels
        self.lin_query = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_key = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_value = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.lin_res = Linear(
            in_channels, total, bias=False, weight_initializer='glorot'
        )
        self.reset_parameters()

    def convolve(
        self, x: Pair, links: Links, field: Fields
    ) -> tuple[Tensor, Tensor | None]:
        source, target = x
        query = self._split(self.lin_query(target))
        key = self._split(self.lin_key(source))
        value = self._split(self.lin_value(source))
        if links.ends is None:
            out, alpha = self._attend_dense(query, key, value, links)
        else:
            out, alpha = self._attend_graph(
                query, key, value, links, *links.ends
            )
        return (out.flatten(-2) + self.lin_res(target)).relu(), alpha

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.size()[:-1], self.heads, self.out_channels)

    def _attend_graph(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        links: Links,
        source: Tensor,
        target: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        logit = (query[target] * key[source]).sum(dim=-1)
        logit = logit / math.sqrt(self.out_channels)
        keep, weight = None, links.weight
        if weight is not None:
            weight = weight.unsqueeze(1) if weight.dim() == 1 else weight
            keep = weight != 0
        alpha = edge_softmax(logit, keep, target, query.size(0))
        alpha = alpha if weight is None else alpha * weight
        return self.spread(value, links, alpha), alpha

    def _attend_dense(
        self, query: Tensor, key: Tensor, value: Tensor, links: Links
    ) -> tuple[Tensor, Tensor | None]:
        keep = None if links.pairs is None else links.pairs.unsqueeze(1)
        if links.weight is None and keep is None and not links.needs_alpha:
            return small_attention(query, key, value), None
        query, key, value = (v.transpose(1, 2) for v in (query, key, value))
        logit = query @ key.mT / math.sqrt(self.out_channels)
        weight = links.weight
        if weight is None:
            alpha = masked_softmax(logit, keep)
        else:
            weight = heads_first(weight)
            is_edge = weight != 0
            keep = is_edge if keep is None else keep & is_edge
            alpha = masked_softmax(logit, keep) * weight
        return (alpha @ value).transpose(1, 2), alpha.permute(0, 2, 3, 1)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, heads={self.heads})'
        )

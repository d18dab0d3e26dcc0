r"""The interaction layer of GraphFM."""

from __future__ import annotations

import typing

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot, ones, zeros

from pyg_featgraph.nn.conv.base import FieldConv, Fields, Links
from pyg_featgraph.nn.dense.field_linear import FieldLinear
from pyg_featgraph.nn.edge.base import FieldEdge, has_hooks
from pyg_featgraph.nn.edge.hadamard_score import HadamardScore
from pyg_featgraph.nn.edge.top_m import TopM
from pyg_featgraph.nn.kernels.hadamard_attention import (
    attention_weights,
    hadamard_attention,
)
from pyg_featgraph.nn.kernels.selected_attention import selected_attention
from pyg_featgraph.nn.layout import Pair, edge_softmax, heads_first
from pyg_featgraph.nn.lazy import LazyModule


class GraphFMConv(FieldConv, LazyModule):
    r"""The interaction layer of the `"GraphFM: Graph Factorization Machines
    for Feature Interaction Modeling" <https://arxiv.org/abs/2105.11866>`_
    paper (Eqs. 9 to 14), which aggregates the interactions with selected
    neighbours by attention.

    With :math:`\mathbf{v}_{ij} = \mathbf{x}_i \odot \mathbf{x}_j` and edge
    weights :math:`w_{ij}`, which are zero for all but the neighbours
    :math:`\mathcal{N}_i`, the form of the paper (:obj:`variant="paper"`) is

    .. math::
        \mathbf{x}^{\prime}_i &= \Big\Vert_{h=1}^{H} \mathrm{ReLU} \Big(
        \sum_{j \in \mathcal{N}_i} \alpha^h_{ij} w_{ij} \mathbf{W}^h
        \mathbf{v}_{ij} \Big)

        \alpha^h_{ij} &= \underset{j \in \mathcal{N}_i}{\mathrm{softmax}}
        \; \mathrm{LeakyReLU} \big( \mathbf{a}_h^{\top} \mathbf{v}_{ij} \big).

    In the form of the released code (:obj:`variant="reference"`) the weights
    scale the logits instead, so that no edge is ever dropped, and the logits
    are rectified and have a bias:

    .. math::
        \alpha^h_{ij} = \underset{j}{\mathrm{softmax}} \; w_{ij} \,
        \mathrm{ReLU} \big( \mathbf{a}_h^{\top} \mathbf{v}_{ij} + b_h \big),
        \qquad \mathbf{x}^{\prime}_i = \Big\Vert_{h=1}^{H} \mathrm{ReLU}
        \Big( \sum_{j} \alpha^h_{ij} \mathbf{W}_i^h \mathbf{v}_{ij} \Big)

    The edges of the paper are :obj:`TopM(HadamardScore(in_channels), m)`, with
    :obj:`ties="all"` for the released code.

    Since :math:`\sum_j w_{ij} \mathbf{v}_{ij} = \mathbf{x}_i \odot \sum_j
    w_{ij} \mathbf{x}_j` and :math:`\mathbf{a}^{\top} \mathbf{v}_{ij} =
    (\mathbf{a} \odot \mathbf{x}_i)^{\top} \mathbf{x}_j`, no
    :math:`\mathbf{v}_{ij}` is stored.

    Args:
        in_channels (int): Size of each input sample, or :obj:`-1` to take it
            from the first input.
        out_channels (int): Size of each output sample (of each head).
        edge (FieldEdge, optional): The module that gives the edges their
            weights. (default: all edges are alike)
        heads (int, optional): Number of attention heads. (default: :obj:`1`)
        concat (bool, optional): If set to :obj:`False`, the heads are
            averaged before the activation instead of concatenated.
            (default: :obj:`True`)
        variant (str, optional): The form of the layer, :obj:`"paper"` or
            :obj:`"reference"`. (default: :obj:`"paper"`)
        num_fields (int, optional): If given, every field has its own
            transformations :math:`\mathbf{W}_i`, residual and normalisation,
            as the released code has. (default: :obj:`None`)
        residual (bool, optional): If set to :obj:`True`, adds
            :math:`\mathrm{ReLU}(\mathbf{R}_i \mathbf{x}_i + \mathbf{r}_i)`
            before the activation. (default: :obj:`False`)
        norm (bool, optional): If set to :obj:`True`, normalises the output
            over its channels. (default: :obj:`False`)
        negative_slope (float, optional): LeakyReLU angle of the negative
            slope. (default: :obj:`0.2`)
        dropout (float, optional): Dropout probability of the attention
            weights. (default: :obj:`0`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F_{in})` or those of sources and
          targets :math:`((|\mathcal{V_s}|, F_{in}), (|\mathcal{V_t}|,
          F_{in}))`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          edge weights :math:`(|\mathcal{E}|)` or :math:`(|\mathcal{E}|, H)`
          *(optional)*,
          field of each node :math:`(|\mathcal{V}|)` *(if* :obj:`num_fields`
          *is given)*; or :math:`(B, n, F_{in})`, with weights :math:`(n, n)`,
          :math:`(B, n, n)` or :math:`(B, n, n, H)` *(optional)*
        - **output:** node features :math:`(|\mathcal{V}_t|, H * F_{out})` or
          :math:`(B, n, H * F_{out})`.
          If :obj:`return_attention_weights=True`, then also the edges and
          what scales :math:`\mathbf{v}_{ij}`, :math:`(|\mathcal{E}|, H)` or
          :math:`(B, n, n, H)`
    """

    att: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        edge: FieldEdge | None = None,
        heads: int = 1,
        concat: bool = True,
        variant: str = 'paper',
        num_fields: int | None = None,
        residual: bool = False,
        norm: bool = False,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        **kwargs: typing.Any,
    ) -> None:
        if variant not in ('paper', 'reference'):
            raise ValueError(
                f"'variant' must be 'paper' or 'reference' (got '{variant}')"
            )
        super().__init__(edge, **kwargs)

        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = self.num_heads = heads
        self.concat = concat
        self.variant = variant
        self.num_fields = num_fields
        self.residual = residual
        self.negative_slope = negative_slope
        self.dropout = dropout

        self.add_parameter('att', heads, -1)
        if variant == 'reference':
            self.att_bias = Parameter(torch.empty(heads))
        else:
            self.register_parameter('att_bias', None)

        total = out_channels * (heads if concat else 1)
        self.lin = FieldLinear(
            in_channels, out_channels, num_fields, heads=heads, bias=False
        )
        self.res = (
            FieldLinear(in_channels, total, num_fields) if residual else None
        )
        if norm:
            size = (total,) if num_fields is None else (num_fields, total)
            self.norm_weight = Parameter(torch.empty(size))
            self.norm_bias = Parameter(torch.empty(size))
        else:
            self.register_parameter('norm_weight', None)
            self.register_parameter('norm_bias', None)

        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        super().reset_parameters()
        if not self.is_lazy:
            glorot(self.att)
        zeros(self.att_bias)
        ones(self.norm_weight)
        zeros(self.norm_bias)

    def convolve(
        self, x: Pair, links: Links, field: Fields
    ) -> tuple[Tensor, Tensor | None]:
        alpha = None
        if links.by_operator:
            out = self._attend_selected(x[0])
        elif links.ends is None:
            out, alpha = self._attend_dense(x, links)
        else:
            out, alpha = self._attend_graph(x, links, *links.ends)
        out = self.lin(out, field[1])
        out = out.flatten(-2) if self.concat else out.mean(dim=-2)
        if self.res is not None:
            out = out + self.res(x[1], field[1]).relu()
        out = out.relu()
        if self.norm_weight is not None:
            # NOTE[DIFF] The default of 1e-5 would rule the tiny variances at
            # the initialisation of the released code, which has 1e-8.
            size, eps = out.shape[-1:], 1e-8
            scale: Tensor = self.norm_weight
            shift: Tensor = self.norm_bias
            if self.num_fields is None:
                return F.layer_norm(out, size, scale, shift, eps), alpha
            if field[1] is not None:
                scale, shift = scale[field[1]], shift[field[1]]
            out = F.layer_norm(out, size, eps=eps) * scale + shift
        return out, alpha

    def _attend_graph(
        self, x: Pair, links: Links, source: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        v = x[1][target] * x[0][source]
        logit = F.linear(v, self.att, self.att_bias)
        slope, scale_logits = self._form
        logit = F.leaky_relu(logit, slope)
        weight = links.weight
        if weight is not None and weight.dim() == 1:
            weight = weight.unsqueeze(1)
        size = x[1].size(0)
        if scale_logits:
            logit = logit if weight is None else logit * weight
            alpha = edge_softmax(logit, None, target, size)
        else:
            keep = None if weight is None else weight != 0
            alpha = edge_softmax(logit, keep, target, size)
            alpha = alpha if weight is None else alpha * weight
        alpha = F.dropout(alpha, p=self.dropout, training=self.training)
        out = self.spread(x[0].unsqueeze(1), links, alpha)
        return out * x[1].unsqueeze(1), alpha

    def _attend_dense(
        self, x: Pair, links: Links
    ) -> tuple[Tensor, Tensor | None]:
        source, target = x
        size, n, _ = target.size()
        keep = None if links.pairs is None else links.pairs.unsqueeze(1)
        weight = target.new_ones(1, 1, 1, 1)
        if links.weight is not None:
            weight = heads_first(links.weight)
        weight = weight.expand(size, -1, n, n)
        drop = self._dropout_mask(target)
        args = (self.att, self._bias, weight, keep, *self._form)
        alpha = None
        if source is not target or links.needs_alpha:
            alpha = attention_weights(x, *args)
            alpha = alpha if drop is None else alpha * drop
        if source is target:
            out = hadamard_attention(source, *args, dropout_mask=drop)
        else:
            assert alpha is not None
            out = (alpha @ source.unsqueeze(1)).transpose(1, 2)
            out = out * target.unsqueeze(2)
        return out, None if alpha is None else alpha.permute(0, 2, 3, 1)

    def weighs(self, x: Pair) -> bool:
        # What is computed in one go is not seen by hooks of the edge module.
        top = self.edge if isinstance(self.edge, TopM) else None
        score = self.edge if top is None else top.edge
        return (
            x[0] is x[1]
            and type(score) is HadamardScore
            and score.self_loops
            and (top is None or not top.binary)
            and not has_hooks(self.edge, score)
        )

    def _attend_selected(self, x: Tensor) -> Tensor:
        m, ties, score = x.size(1), False, self.edge
        if isinstance(self.edge, TopM):
            m, ties = self.edge.m, self.edge.ties == 'all'
            score = self.edge.edge
        assert isinstance(score, HadamardScore)
        return selected_attention(
            x,
            score.weight,
            score.bias,
            score.att,
            score.att_bias,
            self.att,
            self._bias,
            m,
            ties,
            *self._form,
            dropout_mask=self._dropout_mask(x),
        )

    def _dropout_mask(self, x: Tensor) -> Tensor | None:
        if self.dropout == 0 or not self.training:
            return None
        size, n, _ = x.size()
        mask = x.new_ones(size, self.heads, n, n)
        return F.dropout(mask, p=self.dropout)

    @property
    def _bias(self) -> Tensor:
        if self.att_bias is None:
            return self.att.new_zeros(self.heads)
        return self.att_bias

    @property
    def _form(self) -> tuple[float, bool]:
        # The slope of the activation, and whether weights scale the logits.
        if self.variant == 'paper':
            return self.negative_slope, False
        return 0.0, True

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, heads={self.heads}, '
            f"variant='{self.variant}')"
        )

from __future__ import annotations

import typing

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.inits import glorot, ones, zeros
from torch_geometric.utils import (
    add_remaining_self_loops,
    is_torch_sparse_tensor,
    softmax,
    to_edge_index,
)

from pyg_featgraph.nn.conv.field_linear import FieldLinear
from pyg_featgraph.nn.edge import HadamardScore, TopM
from pyg_featgraph.nn.kernels.hadamard_attention import (
    EXCLUDED,
    attention_weights,
    hadamard_attention,
)


class GraphFMConv(MessagePassing):
    r"""The interaction layer of the `"GraphFM: Graph Factorization Machines
    for Feature Interaction Modeling" <https://arxiv.org/abs/2105.11866>`_
    paper (Eqs. 6 to 13), which selects beneficial interactions as edges and
    aggregates them by attention.

    With :math:`\mathbf{v}_{ij} = \mathbf{x}_i \odot \mathbf{x}_j`, the
    benefit :math:`p_{ij}` of :class:`~pyg_featgraph.nn.HadamardScore` and the
    :math:`m` best neighbours :math:`\mathcal{N}_i` of
    :class:`~pyg_featgraph.nn.TopM`, the form of the paper
    (:obj:`variant="paper"`) is

    .. math::
        \mathbf{x}^{\prime}_i &= \Big\Vert_{h=1}^{H} \mathrm{ReLU} \Big(
        \sum_{j \in \mathcal{N}_i} \alpha^h_{ij} p_{ij} \mathbf{W}^h
        \mathbf{v}_{ij} \Big)

        \alpha^h_{ij} &= \underset{j \in \mathcal{N}_i}{\mathrm{softmax}}
        \; \mathrm{LeakyReLU} \big( \mathbf{a}_h^{\top} \mathbf{v}_{ij} \big).

    In the form of the released code (:obj:`variant="reference"`) the selected
    scores scale the logits instead, so that no neighbour is ever dropped, the
    logits are rectified and have a bias, and ties at the cut are all kept:

    .. math::
        \alpha^h_{ij} = \underset{j}{\mathrm{softmax}} \; p_{ij} \,
        \mathbb{1}[j \in \mathcal{N}_i] \, \mathrm{ReLU} \big(
        \mathbf{a}_h^{\top} \mathbf{v}_{ij} + b_h \big), \qquad
        \mathbf{x}^{\prime}_i = \Big\Vert_{h=1}^{H} \mathrm{ReLU} \Big(
        \sum_{j} \alpha^h_{ij} \mathbf{W}_i^h \mathbf{v}_{ij} \Big)

    Since :math:`\sum_j w_{ij} \mathbf{v}_{ij} = \mathbf{x}_i \odot \sum_j
    w_{ij} \mathbf{x}_j` and :math:`\mathbf{a}^{\top} \mathbf{v}_{ij} =
    (\mathbf{a} \odot \mathbf{x}_i)^{\top} \mathbf{x}_j`, no
    :math:`\mathbf{v}_{ij}` is stored.

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample (of each head).
        m (int): The number of neighbours to select, the node itself being one
            of the candidates.
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
        use_score (bool, optional): If set to :obj:`False`, :math:`p_{ij}`
            only selects and does not scale. (default: :obj:`True`)
        score_channels (int, optional): Hidden size of the score.
            (default: :obj:`16`)
        negative_slope (float, optional): LeakyReLU angle of the negative
            slope. (default: :obj:`0.2`)
        dropout (float, optional): Dropout probability of the attention
            weights. (default: :obj:`0`)
        add_self_loops (bool, optional): If set to :obj:`False`, will not add
            self loops to the input graph. (default: :obj:`True`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F_{in})`,
          edge indices :math:`(2, |\mathcal{E}|)`,
          field of each node :math:`(|\mathcal{V}|)` *(if* :obj:`num_fields`
          *is given)*; or rows of equal size :math:`(B, n, F_{in})` with an
          optional mask of pairs :math:`(n, n)`
        - **output:** node features :math:`(|\mathcal{V}|, H * F_{out})` or
          :math:`(B, n, H * F_{out})`.
          If :obj:`return_attention_weights=True`, then also the edges and
          their weights :math:`(|\mathcal{E}|, H)` or :math:`(B, n, n, H)`,
          the second index being the source
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        m: int,
        heads: int = 1,
        concat: bool = True,
        variant: str = 'paper',
        num_fields: int | None = None,
        residual: bool = False,
        norm: bool = False,
        use_score: bool = True,
        score_channels: int = 16,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        **kwargs: typing.Any,
    ) -> None:
        if variant not in ('paper', 'reference'):
            raise ValueError(
                f"'variant' must be 'paper' or 'reference' (got '{variant}')"
            )
        kwargs.setdefault('aggr', 'add')
        super().__init__(node_dim=0, **kwargs)

        self.in_channels = in_channels
        self.out_channels = out_channels
        self.m = m
        self.heads = heads
        self.concat = concat
        self.variant = variant
        self.num_fields = num_fields
        self.residual = residual
        self.use_score = use_score
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops

        self.score = HadamardScore(in_channels, score_channels)
        # NOTE[DIFF] The released code keeps all ties at the cut.
        self.select = TopM(m, 'lowest' if variant == 'paper' else 'all')
        self.att = Parameter(torch.empty(heads, in_channels))
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
        self.score.reset_parameters()
        self.lin.reset_parameters()
        if self.res is not None:
            self.res.reset_parameters()
        glorot(self.att)
        zeros(self.att_bias)
        ones(self.norm_weight)
        zeros(self.norm_bias)

    if typing.TYPE_CHECKING:

        @typing.overload
        def forward(
            self,
            x: Tensor,
            edge_index: Tensor | None = None,
            field: Tensor | None = None,
            return_attention_weights: None = None,
        ) -> Tensor: ...

        @typing.overload
        def forward(
            self,
            x: Tensor,
            edge_index: Tensor | None = None,
            field: Tensor | None = None,
            return_attention_weights: bool = ...,
        ) -> tuple[Tensor, tuple[Tensor | None, Tensor]]: ...

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor | None, Tensor]]:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features, of a graph or of rows of
                equal size.
            edge_index (torch.Tensor, optional): The edges of the graph. For
                rows of equal size a boolean mask of pairs (target, source),
                or :obj:`None` for all pairs. (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node of a
                graph, if fields have their own transformations.
                (default: :obj:`None`)
            return_attention_weights (bool, optional): If set to :obj:`True`,
                will additionally return the tuple
                :obj:`(edge_index, attention_weights)`. The weight is what
                scales :math:`\mathbf{v}_{ij}`. (default: :obj:`None`)
        """
        if x.dim() == 3:
            out, alpha = self._forward_rows(
                x, edge_index, bool(return_attention_weights)
            )
        else:
            edge_index = self._edges(x, edge_index)
            # edge_updater_type: (x: Tensor)
            alpha = self.edge_updater(edge_index, x=x, size=None)
            # propagate_type: (x: Tensor, alpha: Tensor)
            out = self.propagate(edge_index, x=x, alpha=alpha, size=None)
            out = out * x.unsqueeze(1)

        out = self.lin(out, field)
        out = out.flatten(-2) if self.concat else out.mean(dim=-2)
        if self.res is not None:
            out = out + self.res(x, field).relu()
        out = out.relu()
        if self.norm_weight is not None:
            # NOTE[DIFF] The default of 1e-5 would rule the tiny variances at
            # the initialisation of the released code, which has 1e-8.
            out = F.layer_norm(out, out.shape[-1:], eps=1e-8)
            by_node = self.num_fields is not None and field is not None
            scale = self.norm_weight[field] if by_node else self.norm_weight
            shift = self.norm_bias[field] if by_node else self.norm_bias
            out = out * scale + shift

        if return_attention_weights:
            return out, (edge_index, typing.cast(Tensor, alpha))
        return out

    def edge_weight(
        self, x: Tensor, edge_index: Tensor | None = None
    ) -> Tensor:
        r"""The scores of the selected edges, zero for all others.

        They are what Figure 4 of the paper shows.

        Args:
            x (torch.Tensor): The node features.
            edge_index (torch.Tensor, optional): As in :meth:`forward`; self
                loops are not added. (default: :obj:`None`)

        Returns:
            torch.Tensor: With shape :math:`(|\mathcal{E}|)` or
            :math:`(B, n, n)`, rows being targets.
        """
        score = self.score(x, edge_index if x.dim() == 2 else None)
        if x.dim() == 2:
            return score * self.select(score, edge_index, x.size(0))
        mask = self._candidates(x, edge_index)
        return score * self.select(score, mask=mask)

    def edge_update(
        self,
        x_i: Tensor,
        x_j: Tensor,
        edge_index: Tensor,
        index: Tensor,
        ptr: Tensor | None,
        dim_size: int | None,
    ) -> Tensor:
        v = x_i * x_j
        score = self.score.score_products(v)
        keep = self.select(score, edge_index, dim_size)
        scale = score * keep if self.use_score else keep.to(score.dtype)
        scale = scale.unsqueeze(-1)
        negative_slope, scale_logits = self._attention_form
        alpha = F.linear(v, self.att, self.att_bias)
        alpha = F.leaky_relu(alpha, negative_slope)
        if scale_logits:
            alpha = softmax(alpha * scale, index, ptr, dim_size)
        else:
            alpha = alpha.masked_fill(~keep.unsqueeze(-1), EXCLUDED)
            alpha = softmax(alpha, index, ptr, dim_size) * scale
        return F.dropout(alpha, p=self.dropout, training=self.training)

    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return alpha.unsqueeze(-1) * x_j.unsqueeze(1)

    def _forward_rows(
        self, x: Tensor, mask: Tensor | None, return_alpha: bool
    ) -> tuple[Tensor, Tensor | None]:
        mask = self._candidates(x, mask)
        score = self.score(x)
        keep = self.select(score, mask=mask)
        scale = score * keep if self.use_score else keep.to(x.dtype)
        if self.variant == 'reference':
            # Pairs that are not selected still take part:
            keep = None if mask is None else mask.unsqueeze(0)
        bias = x.new_zeros(self.heads)
        if self.att_bias is not None:
            bias = self.att_bias
        args = (x, self.att, bias, scale, keep, *self._attention_form)
        drop = None
        if self.dropout > 0 and self.training:
            drop = x.new_ones(x.size(0), self.heads, x.size(1), x.size(1))
            drop = F.dropout(drop, p=self.dropout)
        out = hadamard_attention(*args, dropout_mask=drop)
        if not return_alpha:
            return out, None
        alpha = attention_weights(*args)
        alpha = alpha if drop is None else alpha * drop
        return out, alpha.permute(0, 2, 3, 1)

    @property
    def _attention_form(self) -> tuple[float, bool]:
        # The slope of the activation, and whether scores scale the logits.
        if self.variant == 'paper':
            return self.negative_slope, False
        return 0.0, True

    def _candidates(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        n = x.size(1)
        if mask is not None and (
            mask.dtype != torch.bool or mask.size() != (n, n)
        ):
            raise ValueError(
                f"For rows of {n} nodes 'edge_index' must be a boolean mask "
                f'of shape [{n}, {n}] or None (got {mask.dtype} of shape '
                f'{list(mask.size())})'
            )
        if mask is None and self.add_self_loops:
            return None
        diagonal = torch.eye(n, dtype=torch.bool, device=x.device)
        if mask is None:
            return ~diagonal
        return mask | diagonal if self.add_self_loops else mask

    def _edges(self, x: Tensor, edge_index: Tensor | None) -> Tensor:
        if edge_index is None:
            raise ValueError(
                "'edge_index' is required for node features of shape "
                '[num_nodes, channels]; rows of equal size have shape '
                '[num_rows, num_fields, channels]'
            )
        if is_torch_sparse_tensor(edge_index):
            edge_index = to_edge_index(edge_index)[0].flip(0)
        if not self.add_self_loops:
            return edge_index
        return add_remaining_self_loops(edge_index, num_nodes=x.size(0))[0]

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, m={self.m}, heads={self.heads}, '
            f"variant='{self.variant}')"
        )

from __future__ import annotations

import typing
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import degree

from pyg_featgraph.nn.kernels import TuplePlan, plan_tuples, tuple_product

#: The interaction functions of the paper.
FUNCTIONS = ('inner', 'outer', 'vector', 'scalar')


class InteractionConv(MessagePassing):
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
    inner product up to a sign. An interaction with an absent member is zero.

    No memory grows with the product of rows, interactions and channels in the
    regular layout, see :func:`~pyg_featgraph.nn.kernels.tuple_product`.

    Args:
        channels (int): Size of each node vector.
        interactions (list of tuple): The fields of each interaction, all of
            the same order :math:`p \ge 2`.
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
            and variance. (default: :obj:`0.1`)
        **kwargs (optional): Additional arguments of
            :class:`torch_geometric.nn.conv.MessagePassing`.

    Shapes:
        - **input:**
          node features :math:`(|\mathcal{V}|, F)`,
          edge indices :math:`(2, |\mathcal{E}|)` from nodes to interactions,
          see :meth:`edges`,
          field of each node :math:`(|\mathcal{V}|)`; or rows of equal size
          :math:`(B, n, F)` alone
        - **output:** the interactions of each row :math:`(B, Q)`
    """

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
        super().__init__(aggr='mul', node_dim=0, **kwargs)
        self.channels = channels
        self.interactions = tuples
        self.function = function
        self.order = len(tuples[0])
        self.init_gate = gate
        size = len(tuples)
        self.register_buffer('index', torch.tensor(tuples), persistent=False)
        plan = plan_tuples(tuples)
        self._groups = plan.shared, plan.ptr, plan.starts
        for name in ('other', 'permutation', 'inverse'):
            self.register_buffer(name, getattr(plan, name), persistent=False)
        shape = {
            'inner': None,
            'outer': (self.order, channels),
            'vector': (size, channels),
            'scalar': (size, 1),
        }[function]
        if shape is None:
            self.register_parameter('weight', None)
        else:
            self.weight = Parameter(torch.empty(shape))
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
        if self.function == 'outer':
            torch.nn.init.normal_(self.weight, std=self.channels**-0.5)
        elif self.weight is not None:
            torch.nn.init.ones_(self.weight)
        if self.init_gate is not None:
            # A little noise, so that not all gates close in the same step:
            low, high = 0.998 * self.init_gate, 1.002 * self.init_gate
            torch.nn.init.uniform_(self.gate, low, high)
        if self.norm is not None:
            self.norm.reset_parameters()

    @property
    def plan(self) -> TuplePlan:
        r"""How the regular layout goes through the interactions."""
        return TuplePlan(
            *self._groups, self.other, self.permutation, self.inverse
        )

    def edges(
        self, field: Tensor, batch: Tensor, size: int, num_fields: int
    ) -> Tensor:
        r"""The edges from the nodes of a batch to the interactions, of which
        number :math:`b Q + q` is interaction :math:`q` of row :math:`b`.

        Args:
            field (torch.Tensor): The field of each node.
            batch (torch.Tensor): The row of each node.
            size (int): The number :math:`B` of rows.
            num_fields (int): The number of fields.
        """
        node = field.new_full((size, num_fields), -1)
        node[batch, field] = torch.arange(field.numel(), device=field.device)
        source = node[:, self.index].flatten()
        target = torch.arange(
            size * len(self.interactions), device=field.device
        ).repeat_interleave(self.order)
        return torch.stack([source, target])[:, source >= 0]

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
        size: int | None = None,
    ) -> Tensor:
        r"""Runs the forward pass of the module.

        Args:
            x (torch.Tensor): The node features.
            edge_index (torch.Tensor, optional): The edges from nodes to
                interactions. (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node.
                (default: :obj:`None`)
            size (int, optional): The number of rows. (default: as many as
                have edges)
        """
        if x.dim() == 3 and edge_index is None:
            out = self._forward_rows(x)
        elif x.dim() == 3 or edge_index is None or field is None:
            raise ValueError(
                "Node features of shape [num_nodes, channels] need 'edge_index'"
                " and 'field', rows [num_rows, num_fields, channels] have none "
                f'(got shape {list(x.size())})'
            )
        else:
            out = self._forward_nodes(x, edge_index, field, size)
        if self.norm is not None:
            out = self._normalize(out)
        return out if self.gate is None else out * self.gate

    def _normalize(self, x: Tensor) -> Tensor:
        if x.size(0) != 1:
            return self.norm(x)
        # A single row has no variance:
        mean, var = self.norm.running_mean, self.norm.running_var
        return F.batch_norm(x, mean, var, eps=self.norm.eps)

    def _forward_rows(self, x: Tensor) -> Tensor:
        if self.function == 'outer':
            out = x @ self.weight.t()
            factors = [out[:, self.index[:, s], s] for s in range(self.order)]
            return torch.stack(factors).prod(dim=0)
        if self.function == 'scalar':
            return tuple_product(x, None, self.plan) * self.weight.squeeze(1)
        return tuple_product(x, self.weight, self.plan)

    def _forward_nodes(
        self, x: Tensor, edge_index: Tensor, field: Tensor, size: int | None
    ) -> Tensor:
        source, target = edge_index
        num = len(self.interactions)
        if size is None:
            size = int(target.max()) // num + 1 if target.numel() else 0
        weight = None
        if self.function == 'outer':
            members = self.index[target % num]
            position = (members == field[source].unsqueeze(1)).int().argmax(1)
            weight = self.weight[position]
        # propagate_type: (x: Tensor, weight: Optional[Tensor])
        out = self.propagate(
            edge_index, x=x, weight=weight, size=(x.size(0), size * num)
        )
        # The product of some of the members, or of none, is no interaction:
        complete = degree(target, size * num, x.dtype) == self.order
        out = (out * complete.unsqueeze(1)).view(size, num, out.size(1))
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

r"""A linear layer with weights of each field's own."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.nn.inits import glorot, zeros

from pyg_featgraph.nn.kernels.field_linear import field_linear
from pyg_featgraph.nn.kernels.field_product import field_product
from pyg_featgraph.nn.lazy import LazyModule


class FieldLinear(LazyModule):
    r"""A linear transformation with weights of its own for every field.

    Args:
        in_channels (int): Size of each input sample, or :obj:`-1` to take it
            from the first input.
        out_channels (int): Size of each output sample, or :obj:`-1` for that
            of the input.
        num_fields (int, optional): The number of fields; :obj:`None` shares
            one transformation. (default: :obj:`None`)
        heads (int, optional): If given, samples are :math:`H` vectors, each
            with its own transformation. (default: :obj:`None`)
        bias (bool, optional): If set to :obj:`False`, the layer will not
            learn an additive bias. (default: :obj:`True`)

    Shapes:
        - **input:** :math:`(B, n, [H,] F_{in})`, or
          :math:`(|\mathcal{V}|, [H,] F_{in})` with the field of each node
          :math:`(|\mathcal{V}|)`
        - **output:** as the input, with :math:`F_{out}`
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_fields: int | None = None,
        heads: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.num_fields = num_fields
        self.heads = heads
        size = (1 if num_fields is None else num_fields, heads or 1)
        self.add_parameter('weight', *size, -1, out_channels)
        if bias:
            self.add_parameter('bias', *size, out_channels)
        else:
            self.register_parameter('bias', None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if not self.is_lazy:
            glorot(self.weight)
            zeros(self.bias)

    def forward(self, x: Tensor, field: Tensor | None = None) -> Tensor:
        r"""Transforms each node by the weights of its field.

        Args:
            x (torch.Tensor): The node vectors.
            field (torch.Tensor, optional): The field of each node; not
                needed in the dense layout, whose nodes are in field order.
                (default: :obj:`None`)

        Raises:
            ValueError: If fields have weights of their own, but it is not
                known which node is of which field.
        """
        if self.heads is None:
            x = x.unsqueeze(-2)
        bias = self.bias
        if self.num_fields is None:
            # A node is a row of one field then, in either layout:
            nodes = x.flatten(0, -3).unsqueeze(1)
            out = field_product(nodes, self.weight).view(*x.size()[:-1], -1)
            bias = None if bias is None else bias[0]
        elif field is not None:
            out = field_linear(x, self.weight, field)
            bias = None if bias is None else bias[field]
        elif x.dim() == 4 and x.size(1) == self.num_fields:
            out = field_product(x, self.weight)
        else:
            raise self._needs_field(x)
        if bias is not None:
            out = out + bias
        return out.squeeze(-2) if self.heads is None else out

    def matrices(self, x: Tensor) -> Tensor:
        r"""The matrices alone, for an operator that multiplies nodes of the
        dense layout with them itself, with shape :math:`(n, F_{in}, F_{out})`
        or, where all fields share one, :math:`(1, F_{in}, F_{out})`.

        Args:
            x (torch.Tensor): The node vectors, with shape :math:`(B, n,
                F_{in})`.

        Raises:
            ValueError: If these are not the nodes of all fields.
        """
        if self.num_fields is not None and x.size(1) != self.num_fields:
            raise self._needs_field(x)
        return self.weight.squeeze(1)

    def _needs_field(self, x: Tensor) -> ValueError:
        return ValueError(
            f"'field' is required, since each of the {self.num_fields} fields "
            f'has its own weights (got shape {list(x.size())})'
        )

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, num_fields={self.num_fields})'
        )

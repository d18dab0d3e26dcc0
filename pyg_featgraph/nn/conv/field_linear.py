from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.inits import glorot, zeros


class FieldLinear(torch.nn.Module):
    r"""A linear transformation with weights of its own for every field.

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample.
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
        self.weight = Parameter(torch.empty(*size, in_channels, out_channels))
        if bias:
            self.bias = Parameter(torch.empty(*size, out_channels))
        else:
            self.register_parameter('bias', None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        glorot(self.weight)
        zeros(self.bias)

    def forward(self, x: Tensor, field: Tensor | None = None) -> Tensor:
        r"""Transforms each node by the weights of its field.

        Args:
            x (torch.Tensor): The node vectors.
            field (torch.Tensor, optional): The field of each node; not
                needed for rows, whose nodes are in field order.
                (default: :obj:`None`)
        """
        if self.heads is None:
            x = x.unsqueeze(-2)
        if self.num_fields is None:
            out = torch.einsum('...hi,hio->...ho', x, self.weight[0])
            if self.bias is not None:
                out = out + self.bias[0]
        elif field is not None:
            out = self._by_field(x, field)
        elif x.dim() == 4:
            out = torch.einsum('bnhi,nhio->bnho', x, self.weight)
            if self.bias is not None:
                out = out + self.bias
        else:
            raise ValueError(
                "'field' is required, since each of the "
                f'{self.num_fields} fields has its own weights'
            )
        return out.squeeze(-2) if self.heads is None else out

    def _by_field(self, x: Tensor, field: Tensor) -> Tensor:
        # A gathered weight per node would be far larger than the nodes, so
        # nodes are taken field by field:
        perm = field.argsort(stable=True)
        size = torch.bincount(field, minlength=self.weight.size(0)).tolist()
        parts = [
            torch.einsum('vhi,hio->vho', part, weight)
            for part, weight in zip(
                x[perm].split(size), self.weight, strict=True
            )
        ]
        out = torch.cat(parts)[perm.argsort()]
        return out if self.bias is None else out + self.bias[field]

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.in_channels}, '
            f'{self.out_channels}, num_fields={self.num_fields})'
        )

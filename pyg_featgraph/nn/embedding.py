from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldBatch, FieldGraph, FieldInfo


class NodeEmbedding(torch.nn.Module):
    r"""Base class of modules that turn ids and values into node vectors."""

    info: FieldInfo

    def embed(self, data: FieldBatch | FieldGraph) -> Tensor:
        r"""The node vectors of a batch, or of one graph.

        Returns:
            torch.Tensor: With shape :math:`(B, n, d)` if every row of a
            :class:`FieldBatch` has all fields, else :math:`(N, d)`.
        """
        if isinstance(data, FieldBatch):
            x = self(data.slot_index, data.slot_value)
            return x if data.mask is None else x[data.mask]
        return self(data.node_index, data.node_value)


class FieldEmbedding(NodeEmbedding):
    r"""The node vectors of field graphs.

    All fields share one table in which each owns a block of rows. The vector
    of a node is the sum over its slots of value times row,

    .. math::
        \mathbf{e}_i = \sum_{s \in \mathcal{S}_i} v_s \, \mathbf{T}_{t_s},

    which is a lookup for a category, a scaled vector for a number and a mean
    for multi-valued fields.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int): The size :math:`d` of each vector.
        std (float, optional): The standard deviation of the initial table.
            (default: :obj:`0.1`)
        sparse (bool, optional): Whether gradients hold only the rows that a
            batch has touched; they need an optimizer such as
            :class:`torch.optim.SparseAdam`. (default: :obj:`False`)

    Shapes:
        - **input:** slot ids and values :math:`(B, S)`, or, for nodes,
          :math:`(N)` or :math:`(N, L)` with at most :math:`L` slots each
        - **output:** :math:`(B, n, d)` for rows, :math:`(N, d)` for nodes
    """

    slot_field: Tensor

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int,
        std: float = 0.1,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.info = info
        self.embedding_dim = embedding_dim
        self.std = std
        self.sparse = sparse
        self.weight = Parameter(torch.empty(info.num_embeddings, embedding_dim))
        self.register_buffer('slot_field', info.slot_field, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        torch.nn.init.normal_(self.weight, std=self.std)

    def forward(self, index: Tensor, value: Tensor) -> Tensor:
        r"""Looks up the vectors of rows or nodes.

        Args:
            index (torch.Tensor): The ids.
            value (torch.Tensor): The values, of the same shape.
        """
        x = F.embedding(index, self.weight, sparse=self.sparse)
        x = x * value.unsqueeze(-1)
        if self.info.has_single_slots:
            return x
        if index.size(-1) == self.info.num_slots:
            out = x.new_zeros(x.size(0), self.info.num_fields, x.size(-1))
            return out.index_add(1, self.slot_field, x)
        return x.sum(-2)

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({self.info.num_embeddings}, '
            f'{self.embedding_dim}, num_fields={self.info.num_fields})'
        )

r"""What all embeddings have in common: two layouts, one table per field."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.data import Data

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.nn.embedding.member_scale import MemberScale
from pyg_featgraph.nn.layout import Nodes

#: From how many numbers on a table of vectors is large.
LARGE = 2**22


def is_large(num_rows: int, num_columns: int) -> bool:
    r"""Whether a table has so many numbers that its gradients are better
    sparse, unless something else is asked for. From 4,194,304 numbers on (16
    for each of 262,144 ids, say) a step of AdamW on all of them takes several
    times as long as one on those that a batch has.

    Args:
        num_rows (int): The number of vectors.
        num_columns (int): The size of each.
    """
    return num_rows * num_columns >= LARGE


class NodeEmbedding(torch.nn.Module, ABC):
    r"""Base class of modules that turn ids and values into node vectors.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int): The size :math:`d` of each vector.
        members (int, optional): The number of members of the model, each of
            which scales the vectors in its own way. (default: :obj:`1`)
    """

    def __init__(
        self, info: FieldInfo, embedding_dim: int, members: int = 1
    ) -> None:
        super().__init__()
        self.info = info
        self.embedding_dim = embedding_dim
        #: The scales of the members, if there are several.
        self.scale = (
            MemberScale(members, info.num_fields, embedding_dim)
            if members > 1
            else None
        )

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        if self.scale is not None:
            self.scale.reset_parameters()

    @abstractmethod
    def forward(self, slot_index: Tensor, slot_value: Tensor) -> Tensor:
        r"""The vectors of all fields, from the slots of rows.

        Args:
            slot_index (torch.Tensor): The ids, with shape :math:`(B, S)`.
            slot_value (torch.Tensor): The values, with shape :math:`(B, S)`.

        Shapes:
            - **output:** vectors :math:`(B, n, d)`
        """

    @abstractmethod
    def embed_nodes(self, node_index: Tensor, node_value: Tensor) -> Tensor:
        r"""The vectors of any nodes, in any order.

        Args:
            node_index (torch.Tensor): The ids, with shape :math:`(N)`, or
                :math:`(N, L)` for nodes of up to :math:`L` slots.
            node_value (torch.Tensor): The values, of the same shape.

        Shapes:
            - **output:** vectors :math:`(N, d)`
        """

    def embed(self, data: Data) -> Tensor:
        r"""The vectors of a batch, or of one graph.

        Args:
            data (Data): A :class:`~pyg_featgraph.data.FieldBatch`, or any
                graph with :obj:`node_index` and :obj:`node_value`.

        Shapes:
            - **output:** vectors :math:`(B, n, d)` of a
              :class:`~pyg_featgraph.data.FieldBatch`, zero where a field is
              left out, else :math:`(N, d)`
        """
        if not isinstance(data, FieldBatch):
            return self.embed_nodes(data.node_index, data.node_value)
        x: Tensor = self(data.slot_index, data.slot_value)
        return x if data.mask is None else x * data.mask.unsqueeze(-1)

    def for_members(self, x: Tensor, nodes: Nodes) -> Tensor:
        r"""The vectors of nodes, each as its member sees it.

        Args:
            x (torch.Tensor): The vectors.
            nodes (Nodes): The nodes that they belong to, those of all members,
                one member behind the other.
        """
        if self.scale is None:
            return x
        out: Tensor = self.scale(x, nodes)
        return out

    def adapt(self, data: FieldTable) -> None:
        r"""Takes from training rows what the vectors depend on; nothing by
        default.

        Args:
            data (FieldTable): The training rows.
        """

    @abstractmethod
    def by_table(self, values: Tensor) -> list[tuple[Parameter, Tensor]]:
        r"""The tables that are learned, each with the values of its rows.

        Args:
            values (torch.Tensor): A number for each id, with shape
                :math:`(T)`.
        """

    @abstractmethod
    def grow(self, info: FieldInfo, sources: Sequence[Tensor]) -> None:
        r"""Gives the fields more ids.

        Args:
            info (FieldInfo): The layout with the new sizes.
            sources (list of torch.Tensor): For each field the number, from
                zero, of the vector that each of its ids gets.
        """

    @property
    @abstractmethod
    def dims(self) -> list[list[int]]:
        r"""Which of the :math:`d` dimensions each field has."""

    @abstractmethod
    def table(self, field: int) -> Tensor:
        r"""The vectors of all ids of a field.

        Args:
            field (int): The number of the field.

        Shapes:
            - **output:** vectors :math:`(T_i, d)`, zero in dimensions that
              the field does not have
        """

    @torch.no_grad()
    def assign(self, field: int, table: Tensor) -> None:
        r"""Copies vectors into the table of a field; dimensions that it does
        not have are left out.

        Args:
            field (int): The number of the field.
            table (torch.Tensor): The vectors, with shape :math:`(T_i, d)`.

        Raises:
            ValueError: If :obj:`table` has another shape.
        """
        size = (self.info.sizes[field], self.embedding_dim)
        if table.size() != size:
            raise ValueError(
                f"The table of '{self.info.names[field]}' is {list(size)} "
                f'(got {list(table.size())})'
            )
        if self.dims[field]:
            self._weight(field).copy_(table[:, self.dims[field]])

    @abstractmethod
    def _weight(self, field: int) -> Tensor:
        # The part of the parameters that a field owns, [T_i, d_i].
        ...

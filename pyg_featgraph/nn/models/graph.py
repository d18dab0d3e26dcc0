from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import add_remaining_self_loops

from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.base import (
    FieldModel,
    batch_vector,
    nodes_to_rows,
)


class Nodes(NamedTuple):
    r"""What the layers of a :class:`GraphModel` work on: rows
    :math:`(B, n, d)` alone, or nodes :math:`(N, d)` with all else.

    Args:
        x (torch.Tensor): The node vectors.
        edge_index (torch.Tensor, optional): The edges, with self loops.
        field (torch.Tensor, optional): The field of each node.
        batch (torch.Tensor, optional): The row of each node.
        size (int, optional): The number of rows.
    """

    x: Tensor
    edge_index: Any = None
    field: Any = None
    batch: Any = None
    size: Any = None

    def to_rows(self, x: Tensor, num_fields: int) -> Tensor:
        r"""Vectors of these nodes as :math:`(B, n, F)`, absent fields being
        zero.
        """
        return nodes_to_rows(x, num_fields, self.field, self.batch, self.size)

    def edges_to_rows(self, weight: Tensor, num_fields: int) -> Tensor:
        r"""Weights of these edges as :math:`(B, n, n)`, rows being targets."""
        if self.edge_index is None:
            return weight
        out = weight.new_zeros(self.size, num_fields, num_fields)
        source, target = self.edge_index
        row = self.batch[target]
        out[row, self.field[target], self.field[source]] = weight
        return out


class GraphModel(FieldModel):
    r"""Base class of models that pass messages between the fields of a row.

    A subclass has an :obj:`embedding` and defines :meth:`propagate`, in
    which it hands :obj:`edge_index` and :obj:`field` on to its operators;
    both layouts and explainers then work.
    """

    embedding: FieldEmbedding

    def forward(
        self,
        x: Data | Tensor,
        edge_index: Tensor | None = None,
        field: Tensor | None = None,
        batch: Tensor | None = None,
    ) -> Tensor:
        r"""The logits :math:`(B)` of a batch.

        Args:
            x (Data or torch.Tensor): A batch of field graphs. Or the node
                vectors themselves, as explainers need it: rows
                :math:`(B, n, d)`, or nodes :math:`(N, d)` with the following
                arguments.
            edge_index (torch.Tensor, optional): The edges; self loops are
                added. (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node.
                (default: :obj:`None`)
            batch (torch.Tensor, optional): The row of each node.
                (default: a single row)
        """
        if isinstance(x, Data):
            return self.propagate(self.unpack(x))
        if edge_index is not None:
            edge_index = _with_self_loops(edge_index, x)
        return self.propagate(Nodes(x, edge_index, field, batch))

    @abstractmethod
    def propagate(self, nodes: Nodes) -> Tensor:
        r"""The logits :math:`(B)` from node vectors."""

    def unpack(self, data: Data) -> Nodes:
        r"""The nodes of a batch in the layout that fits it."""
        x = self.embedding.embed(data)
        if x.dim() == 3:
            return Nodes(x)
        batch, size = batch_vector(data)
        edge_index = _with_self_loops(data.edge_index, x)
        return Nodes(x, edge_index, data.field, batch, size)


def _with_self_loops(edge_index: Tensor, x: Tensor) -> Tensor:
    return add_remaining_self_loops(edge_index, num_nodes=x.size(0))[0]

r"""The one place that knows the two layouts of field graphs.

.. list-table::
    :header-rows: 1

    * -
      - graph
      - dense
    * - node vectors
      - :math:`(N, d)`
      - :math:`(B, n, d)`, node :math:`i` of every row being field :math:`i`
    * - edges
      - :obj:`edge_index` :math:`(2, E)`
      - all pairs of fields of a row
    * - weights
      - :math:`(E)`, or :math:`(E, H)` for heads
      - :math:`(B, n, n)`, or :math:`(n, n)` for all rows, or :math:`(B, n, n,
        H)`; the first :math:`n` are targets
    * - missing fields
      - are no nodes
      - :obj:`mask` :math:`(B, n)` of those that are there
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.typing import Adj, OptTensor
from torch_geometric.utils import add_remaining_self_loops, scatter, softmax

Pair = tuple[Tensor, Tensor]


def by_member(x: Tensor, members: int) -> Tensor:
    r"""The rows of each member, with shape :math:`(k, B, *)`.

    Args:
        x (torch.Tensor): The rows of all members, one member behind the
            other, with shape :math:`(k B, *)`.
        members (int): The number :math:`k` of members.
    """
    return x.reshape(members, x.size(0) // members, *x.size()[1:])


def is_dense(
    x: Tensor | Pair, index: Adj | None, mask: Tensor | None = None
) -> bool:
    r"""Whether node vectors are in the dense layout.

    Args:
        x (torch.Tensor or tuple): The node vectors, or those of sources and
            targets.
        index (torch.Tensor, optional): The edges of a graph.
        mask (torch.Tensor, optional): The fields that are there.

    Raises:
        ValueError: If the arguments belong to neither layout.
    """
    pair = (x,) if isinstance(x, Tensor) else x
    dims = {v.dim() for v in pair if v is not None}
    size = list(pair[0].size())
    if dims == {3} and index is None:
        if mask is not None and mask.size() != pair[0].size()[:2]:
            raise ValueError(
                f"'mask' must have shape {size[:2]} (got {list(mask.size())})"
            )
        return True
    if dims == {2} and index is not None and mask is None:
        return False
    raise ValueError(
        'Node vectors of a graph have shape [num_nodes, channels] and need '
        'the edges; those of the dense layout have shape [batch_size, '
        "num_fields, channels], no edges and an optional 'mask' (got shape "
        f'{size}, {"no " if index is None else ""}edges and '
        f'{"no " if mask is None else "a "}mask)'
    )


def same_size(size: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    r"""Whether two sizes are equal, numbers of dimensions first: otherwise
    what is exported would hold only for sizes that happen to differ.

    Args:
        size (tuple): A size.
        shape (tuple): Another one.
    """
    return len(size) == len(shape) and size == shape


def pairs_of(
    mask: Tensor | None, num_fields: int, self_loops: bool, like: Tensor
) -> Tensor | None:
    r"""Which pairs of fields can be edges in the dense layout.

    Args:
        mask (torch.Tensor, optional): The fields that are there.
        num_fields (int): The number :math:`n` of fields.
        self_loops (bool): Whether a field is paired with itself.
        like (torch.Tensor): A tensor on the device.

    Returns:
        torch.Tensor: With shape :math:`(B, n, n)` or :math:`(1, n, n)`, or
        :obj:`None` for all pairs.
    """
    out = None
    if mask is not None:
        out = mask.unsqueeze(2) & mask.unsqueeze(1)
    if not self_loops:
        other = ~torch.eye(num_fields, dtype=torch.bool, device=like.device)
        out = other.unsqueeze(0) if out is None else out & other
    return out


def heads_first(weight: Tensor) -> Tensor:
    r"""Dense weights of any form as :math:`(B, H, n, n)`, where :math:`B` and
    :math:`H` are one if all rows or heads share them.

    Args:
        weight (torch.Tensor): The weights.
    """
    if weight.dim() == 4:
        return weight.permute(0, 3, 1, 2)
    return weight.view(-1, 1, *weight.size()[-2:])


def masked_softmax(logit: Tensor, keep: Tensor | None) -> Tensor:
    r"""The softmax over sources in the dense layout, zero for those that are
    left out; a target without sources has zeros only.

    Args:
        logit (torch.Tensor): The logits, with sources in the last dimension.
        keep (torch.Tensor, optional): Which pairs take part.
    """
    if keep is None:
        return logit.softmax(dim=-1)
    # Many times as fast as filling by a mask. What is taken off is finite, so
    # that no precision turns a target without sources into NaN:
    taken_off = torch.finfo(logit.dtype).max / 2
    used = keep.to(logit.dtype)
    return (logit + (used - 1) * taken_off).softmax(dim=-1) * used


def edge_softmax(
    logit: Tensor, keep: Tensor | None, target: Tensor, num_nodes: int
) -> Tensor:
    r"""The same as :func:`masked_softmax` over the edges of a graph.

    Args:
        logit (torch.Tensor): The logits, with shape :math:`(E)` or
            :math:`(E, H)`.
        keep (torch.Tensor, optional): Which edges take part, of the same
            shape or :math:`(E, 1)`.
        target (torch.Tensor): The target of each edge.
        num_nodes (int): The number of targets.
    """
    if keep is None:
        return softmax(logit, target, num_nodes=num_nodes)
    logit = logit.masked_fill(~keep, torch.finfo(logit.dtype).min)
    return softmax(logit, target, num_nodes=num_nodes) * keep


class Nodes(NamedTuple):
    r"""The nodes of a batch, which the layers of a model work on.

    Args:
        x (tuple of torch.Tensor): The node vectors of each table of a model.
        edge_index (torch.Tensor, optional): The edges, in the graph layout.
        field (torch.Tensor, optional): The field of each node of a graph.
        batch (torch.Tensor, optional): The row of each node of a graph.
        batch_size (int, optional): The number :math:`B` of rows of a graph.
        mask (torch.Tensor, optional): The fields that are there, in the dense
            layout.
    """

    x: tuple[Tensor, ...]
    edge_index: Any = None
    field: OptTensor = None
    batch: OptTensor = None
    batch_size: int = 1
    mask: OptTensor = None

    @property
    def is_dense(self) -> bool:
        r"""Whether these are nodes of the dense layout."""
        return self.edge_index is None

    @property
    def batch_vector(self) -> Tensor:
        r"""The row of each node of a graph."""
        if self.batch is not None:
            return self.batch
        x = self.x[0]
        return torch.zeros(x.size(0), dtype=torch.long, device=x.device)

    @property
    def num_rows(self) -> int:
        r"""The number of rows."""
        return self.x[0].size(0) if self.is_dense else self.batch_size

    def repeat(self, times: int) -> Nodes:
        r"""The same rows several times, one time behind the other.

        Args:
            times (int): How many times.
        """
        if self.is_dense:
            x = tuple(v.repeat(times, 1, 1) for v in self.x)
            mask = None if self.mask is None else self.mask.repeat(times, 1)
            return self._replace(x=x, mask=mask)
        size, batch = self.x[0].size(0), self.batch_vector
        shift = torch.arange(times, device=batch.device)
        index = self.edge_index.repeat(1, times)
        index = index + size * shift.repeat_interleave(
            self.edge_index.size(1), output_size=index.size(1)
        )
        rows = shift.repeat_interleave(size, output_size=times * size)
        return Nodes(
            tuple(v.repeat(times, 1) for v in self.x),
            index,
            None if self.field is None else self.field.repeat(times),
            batch.repeat(times) + self.batch_size * rows,
            self.batch_size * times,
        )

    def fill(self, multiple: int) -> Nodes:
        r"""The same rows and, behind them, rows without nodes, so that their
        number is a multiple of another.

        Args:
            multiple (int): The other number.
        """
        missing = -self.num_rows % multiple
        if not self.is_dense:
            return self._replace(batch_size=self.batch_size + missing)
        if missing == 0:
            return self
        mask = self.mask
        if mask is None:
            mask = torch.ones_like(self.x[0][..., 0], dtype=torch.bool)
        return self._replace(
            x=tuple(F.pad(v, (0, 0, 0, 0, 0, missing)) for v in self.x),
            mask=F.pad(mask, (0, 0, 0, missing)),
        )

    def with_self_loops(self) -> Nodes:
        r"""The same nodes, with an edge of each to itself."""
        if self.is_dense:
            return self
        size = self.x[0].size(0)
        index, _ = add_remaining_self_loops(self.edge_index, num_nodes=size)
        return self._replace(edge_index=index)

    def edge_weight(self, matrix: Tensor) -> Tensor:
        r"""Weights of pairs of fields, the same for all rows, as weights of
        these edges.

        Args:
            matrix (torch.Tensor): The weights :math:`(n, n)`, the first
                :math:`n` being targets.
        """
        if self.is_dense:
            return matrix
        source, target = self.edge_index
        _, field = self.place()
        return matrix[field[target], field[source]]

    def to_dense(self, x: Tensor, num_fields: int) -> Tensor:
        r"""Vectors of the nodes as :math:`(B, n, *)`, missing ones zero.

        Args:
            x (torch.Tensor): The vectors.
            num_fields (int): The number :math:`n` of fields.
        """
        if self.is_dense:
            return x if self.mask is None else x * self.mask.unsqueeze(-1)
        out = x.new_zeros(self.batch_size, num_fields, *x.size()[1:])
        return out.index_put(self.place(), x)

    def dense(self, num_fields: int) -> Nodes:
        r"""The same nodes in the dense layout, in which all pairs of fields
        of a row are connected.

        Args:
            num_fields (int): The number :math:`n` of fields.
        """
        if self.is_dense:
            return self
        place = self.place()
        mask = torch.zeros(
            self.batch_size,
            num_fields,
            dtype=torch.bool,
            device=place[0].device,
        )
        mask = mask.index_put(
            place, torch.ones_like(place[0], dtype=torch.bool)
        )
        x = tuple(self.to_dense(v, num_fields) for v in self.x)
        return Nodes(x, mask=mask)

    def weigh(self, edge: Any, x: Tensor) -> Tensor:
        r"""The weights :math:`(B, n, n)` that an edge module gives to all pairs
        of fields, in the dense layout; zero for missing fields.

        Args:
            edge (FieldEdge): The module.
            x (torch.Tensor): The vectors of the nodes.
        """
        weight: Tensor = edge(x, mask=self.mask)
        weight = weight.expand(x.size(0), -1, -1)
        pairs = pairs_of(self.mask, x.size(1), True, x)
        return weight if pairs is None else weight * pairs

    def through(self, convs: Iterable[Any], x: Tensor) -> list[Tensor]:
        r"""Passes vectors of the nodes through layers.

        Args:
            convs (list of FieldConv): The layers.
            x (torch.Tensor): The vectors.

        Returns:
            list of torch.Tensor: The input of the first layer and the outputs
            of all.
        """
        outs = [x]
        for conv in convs:
            x = conv(x, self.edge_index, None, self.field, mask=self.mask)
            outs.append(x)
        return outs

    def weigh_layers(self, convs: Iterable[Any], x: Tensor) -> list[Tensor]:
        r"""The weights that the edge modules of layers give to all pairs of
        fields, see :meth:`weigh`.

        Args:
            convs (list of FieldConv): The layers.
            x (torch.Tensor): The input of the first layer.
        """
        layers = list(convs)
        inputs = self.through(layers[:-1], x)
        return [
            self.weigh(conv.edge, v)
            for conv, v in zip(layers, inputs, strict=True)
        ]

    def pool(self, x: Tensor, reduce: str = 'sum') -> Tensor:
        r"""The sum or the mean over the nodes of each row, :math:`(B, *)`.

        Args:
            x (torch.Tensor): Vectors of the nodes.
            reduce (str, optional): :obj:`"sum"` or :obj:`"mean"`.
                (default: :obj:`"sum"`)
        """
        if not self.is_dense:
            return scatter(
                x, self.batch_vector, 0, dim_size=self.batch_size, reduce=reduce
            )
        if self.mask is None:
            return x.sum(dim=1) if reduce == 'sum' else x.mean(dim=1)
        out = (x * self.mask.unsqueeze(-1)).sum(dim=1)
        if reduce == 'sum':
            return out
        return out / self.mask.sum(dim=1, keepdim=True).clamp(min=1)

    def place(self) -> Pair:
        r"""The row and the field of each node of a graph.

        Raises:
            ValueError: If the fields are not known.
        """
        if self.field is None:
            raise ValueError("'field' is required to tell the nodes apart")
        return self.batch_vector, self.field

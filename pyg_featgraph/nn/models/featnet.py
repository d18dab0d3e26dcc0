r"""FeatNet: pruned subsets of fields and queries of each."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn.conv.induced_set_conv import InducedSetConv
from pyg_featgraph.nn.dense.grouped_mlp import GroupedMLP
from pyg_featgraph.nn.dense.member_linear import MemberLinear
from pyg_featgraph.nn.edge import (
    FieldEdge,
    SoftThreshold,
    SubsetEdge,
    make_edge,
)
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.field_model import FieldModel
from pyg_featgraph.nn.heads import Head
from pyg_featgraph.nn.layout import Nodes

#: How many combinations of more than two fields are kept in a ranking.
MAX_COMBINATIONS = 10_000


class DeadEdges(NamedTuple):
    r"""What no row of some data makes use of, see :meth:`FeatNet.dead`.

    Args:
        edges (torch.Tensor): Which edges from a field to a subset, with shape
            :math:`(n, S)`.
        subsets (torch.Tensor): Which subsets, with shape :math:`(S)`.
        queries (torch.Tensor): Which queries, with shape :math:`(S, E)`.
    """

    edges: Tensor
    subsets: Tensor
    queries: Tensor


class FeatNet(FieldModel):
    r"""The model of the `"FeatNet: Feature Interaction Pruning Networks for
    CTR Prediction"` paper.

    The embeddings decide which fields are members of each of :math:`S` subsets
    (:class:`~pyg_featgraph.nn.SubsetEdge`), and :math:`E` queries of each
    subset which of its members they combine
    (:class:`~pyg_featgraph.nn.InducedSetConv`). Both prune with learned
    thresholds. Each subset has a perceptron of its own, on the concatenated
    combinations of all its queries, and

    .. math::
        \hat{y} = \mathbf{w}^{\top} \big\Vert_{s=1}^{S} \, \mathrm{MLP}_s
        \big( \mathbf{x}^{\prime}_{s1} \Vert \ldots \Vert
        \mathbf{x}^{\prime}_{sE} \big) + b.

    Time and memory are linear in the number of fields. An absent field is
    member of no subset.

    Pruned edges have no gradient: a field, subset or query that is pruned in
    all rows stays so. Training tells of it, see :meth:`monitor`.
    :obj:`fit(..., architecture_lr=0.03)` learns thresholds on validation rows.
    The paper learns them on training rows, where fields without effect seem
    of use as well, since their embeddings learn the rows by heart.

    :obj:`interactions(table, by="edges")` ranks what survives together, which
    is where the queries look; :obj:`interactions(table)` ranks pairs by what
    they do to the logit.

    Args:
        info (FieldInfo): The layout of the fields.
        embedding_dim (int, optional): The size of the node vectors.
            (default: :obj:`16`)
        num_subsets (int, optional): The number :math:`S` of subsets, as many
            as there are fields for other edges than those of the paper.
            (default: :obj:`10`)
        num_queries (int, optional): The number :math:`E` of queries of each
            subset; the paper has 16 and, elsewhere, 40. (default: :obj:`16`)
        rank (int, optional): The size of the layer that weighs fields.
            (default: :obj:`4`)
        edge (str or FieldEdge, optional): What gives the edges from fields to
            subsets their weights: :obj:`"subset"` is that of the paper; with
            any other, by name or as a module whose options are taken over
            (:func:`~pyg_featgraph.nn.make_edge`), subsets are the
            neighbourhoods of the fields. (default: :obj:`"subset"`)
        hidden_channels (list of int, optional): The sizes of the layers of
            each perceptron. (default: :obj:`[128, 128, 128]`)
        dropout (float, optional): Dropout probability of each layer of the
            perceptrons. (default: :obj:`0`)
        threshold_init (float, optional): The initial :math:`\tau` of all
            thresholds, see :class:`~pyg_featgraph.nn.SoftThreshold`.
            (default: :obj:`-7`)
        share_queries (bool, optional): If set to :obj:`True`, all subsets have
            the same queries. (default: :obj:`False`)
        share_keys (bool, optional): If set to :obj:`False`, each subset has
            its own keys. (default: :obj:`True`)
        share_thresholds (bool, optional): If set to :obj:`False`, each subset
            has its own thresholds of scores. (default: :obj:`True`)
        embedding_std (float, optional): The standard deviation of the initial
            node vectors. (default: :obj:`0.1`)
        sparse (bool, optional): Whether the table has sparse gradients.
            (default: if it is large)
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number of members, see
            :class:`~pyg_featgraph.nn.FieldModel`. (default: :obj:`1`)
        field_dropout (float, optional): The probability that a field is left
            out of a row. (default: :obj:`0`)
    """

    # Thresholds would close before the embeddings have left zero:
    embedding_l2: ClassVar[float] = 0.0

    def __init__(
        self,
        info: FieldInfo,
        embedding_dim: int = 16,
        num_subsets: int = 10,
        num_queries: int = 16,
        rank: int = 4,
        edge: str | FieldEdge = 'subset',
        hidden_channels: Sequence[int] = (128, 128, 128),
        dropout: float = 0.0,
        threshold_init: float = -7.0,
        share_queries: bool = False,
        share_keys: bool = True,
        share_thresholds: bool = True,
        embedding_std: float = 0.1,
        sparse: bool | None = None,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__(info, head, members, field_dropout)
        n = info.num_fields
        self.embedding = FieldEmbedding(
            info,
            embedding_dim,
            std=embedding_std,
            sparse=sparse,
            members=members,
        )
        self.edge: FieldEdge
        if edge == 'subset':
            self.edge = SubsetEdge(
                embedding_dim, n, num_subsets, rank, threshold_init
            )
        else:
            num_subsets = n
            self.edge = make_edge(edge, embedding_dim, n)
        self.conv = InducedSetConv(
            embedding_dim,
            n,
            num_subsets,
            num_queries,
            share_queries,
            share_keys,
            share_thresholds,
            threshold_init,
            # Members have about half the length of a node vector, twice:
            query_std=4.0,
        )
        channels = [num_queries * embedding_dim, *hidden_channels]
        self.mlp = GroupedMLP(
            channels, num_subsets, plain_last=False, dropout=dropout
        )
        self.lin = MemberLinear(
            num_subsets * channels[-1], self.head.out_channels, members
        )

    def propagate(self, nodes: Nodes) -> Tensor:
        index, weight = self._incidence(nodes)
        num_edges = None
        if not nodes.is_dense:
            num_edges = nodes.batch_size * self.conv.num_subsets
        out = self.conv(
            nodes.x[0], index, weight, nodes.field, num_edges, nodes.mask
        )
        out = self.mlp(out.flatten(2).transpose(0, 1)).transpose(0, 1)
        logits: Tensor = self.lin(out.flatten(1))
        return logits

    def _incidence(self, nodes: Nodes) -> tuple[Tensor | None, Tensor]:
        # The edges from fields to subsets, and their weights.
        (x,) = nodes.x
        if isinstance(self.edge, SubsetEdge):
            member = self.edge.members(x, nodes.field)
            if nodes.is_dense:
                return None, member.mT
            return self.conv.hyperedges(member, nodes.batch_vector)
        if nodes.is_dense:
            # A missing field has no neighbourhood:
            return None, nodes.weigh(self.edge, x)
        if self.edge.self_loops:
            nodes = nodes.with_self_loops()
        weight = self.edge(x, nodes.edge_index, nodes.field)
        source, target = nodes.edge_index
        assert nodes.field is not None
        subset = nodes.batch_vector * self.conv.num_subsets + nodes.field
        return torch.stack([source, subset[target]]), weight

    def architecture_parameters(self) -> list[torch.nn.Parameter]:
        r"""The thresholds of both kinds of edges."""
        return [
            module.weight
            for part in (self.edge, self.conv)
            for module in part.modules()
            if isinstance(module, SoftThreshold)
        ]

    @property
    def coverage(self) -> int:
        r"""The number :math:`S \cdot E` of field combinations of a row."""
        return self.conv.num_subsets * self.conv.num_queries

    @torch.no_grad()
    def subset_weights(self, data: Data | FieldTable) -> Tensor:
        r"""The weights :math:`(B, n, S)` of the edges from fields to subsets,
        zero if they are pruned or the field is absent.

        The number of features in different subsets (Figure 3 of the paper)
        is :obj:`(model.subset_weights(data) > 0).sum(1)`.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table.
        """
        return torch.cat([weight for _, weight, _ in self._parts(data)])

    @torch.no_grad()
    def scores(self, data: Data | FieldTable) -> Tensor:
        r"""The scores :math:`(B, S, E, n)` of each field for each query, zero
        if they are pruned or the field is absent.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table.
        """
        parts = [self._scores(x, w) for x, w, _ in self._parts(data)]
        return torch.cat(parts).movedim(1, -1)

    @torch.no_grad()
    def orders(self, data: Data | FieldTable) -> Tensor:
        r"""The number :math:`(B, S, E)` of fields in each combination (Figure
        4 of the paper).

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table.
        """
        parts = self._parts(data)
        return torch.cat(
            [(self._scores(x, w) > 0).sum(dim=1) for x, w, _ in parts]
        )

    @torch.no_grad()
    def subset_members(self, data: Data | FieldTable) -> Tensor:
        r"""In which share of the rows each field is member of each subset,
        with shape :math:`(n, S)`; of the rows that have the field.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table.
        """
        members, present = self._count_members(self._parts(data))
        return members / present.clamp(min=1).unsqueeze(1)

    @torch.no_grad()
    def pruned_share(self, data: Data | FieldTable) -> Tensor:
        r"""The share :math:`(S)` of the fields that each subset has pruned, of
        those present; the paper has 0.05 to 0.3, and 0.1 on average.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table.
        """
        return _pruned(*self._count_members(self._parts(data)))

    @torch.no_grad()
    def dead(self, data: Data | FieldTable) -> DeadEdges:
        r"""What is pruned in every row: edges from fields (those that no row
        has are not counted), subsets without members and queries that combine
        nothing. It gets no gradient from these rows.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table,
                large enough to speak for all rows.
        """
        return self._survey(data)[0]

    @torch.no_grad()
    def monitor(self, data: Data | FieldTable) -> dict[str, float]:
        r"""The share of the edges to subsets that is pruned, and the numbers
        of dead subsets and queries, see :meth:`dead`.

        Warns if there are such subsets or queries. Dead edges alone are what
        pruning is for.

        Args:
            data (Data or FieldTable): A batch of field graphs, or a table,
                large enough to speak for all rows.
        """
        (_, subsets, queries), pruned = self._survey(data)
        if queries.any():
            warnings.warn(
                f'{int(subsets.sum())} of {subsets.numel()} subsets have no '
                f'members and {int(queries.sum())} of {queries.numel()} '
                'queries combine nothing in any of these rows. They get no '
                'gradient and may stay so: train anew with a lower '
                "'threshold_init', learning rate or weight decay, or with "
                'fewer subsets and queries',
                stacklevel=2,
            )
        return {
            'pruned': float(pruned.mean()),
            'dead_subsets': float(subsets.sum()),
            'dead_queries': float(queries.sum()),
        }

    @torch.no_grad()
    def _interactions_by_edges(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> InteractionSet:
        # Every query of every row is one combination. Its weight is the
        # geometric mean of the weights in its sum; the score is the mean over
        # all queries and rows. Larger combinations count as a whole only,
        # pairs also where they are part of a larger one: there are few of
        # them, and most queries keep many fields.
        table = self._draw(data, num_rows, seed)
        n = self.info.num_fields
        weights, counts = np.zeros((n, n)), np.zeros((n, n))
        larger, strengths = [], []
        for x, weight, _ in self._parts(table):
            alpha = self._scores(x, weight) * weight.unsqueeze(3)
            alpha = alpha.movedim(1, -1).flatten(0, 2).double().cpu()
            member = alpha > 0
            root, one = alpha.sqrt(), member.double()
            weights += (root.t() @ root).numpy()
            counts += (one.t() @ one).numpy()
            is_larger = member.sum(dim=1) > 2
            alpha, member = alpha[is_larger], member[is_larger]
            log = alpha.where(member, 1).log().sum(dim=1)
            strengths.append((log / member.sum(dim=1)).exp().numpy())
            larger.append(np.packbits(member.numpy(), axis=1))
        total = max(1, len(table) * self.coverage)
        first, second = np.nonzero(np.triu(counts, 1))
        found: list[tuple[tuple[int, ...], float, float]] = [
            ((i, j), weights[i, j], counts[i, j])
            for i, j in zip(first.tolist(), second.tolist(), strict=True)
        ]
        found += _sum_equal(np.concatenate(larger), np.concatenate(strengths))
        return InteractionSet(
            Interaction(
                tuple(self.info.names[i] for i in fields),
                strength / total,
                f'{self.__class__.__name__} edges',
                {
                    'unit': 'mean edge weight',
                    'rows': len(table),
                    'frequency': count / total,
                },
            )
            for fields, strength, count in found
        )

    def _parts(
        self, data: Data | FieldTable
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        # Node vectors, weights [B, n, S] of edges to subsets and which fields
        # are there, of some rows at a time.
        n, device = self.info.num_fields, self.lin.weight.device
        parts: Any = [data]
        if isinstance(data, FieldTable):
            starts = range(0, len(data), 64)
            parts = (data.batch(slice(i, i + 64)).to(device) for i in starts)
        for part in parts:
            nodes = self.nodes(part).dense(n)
            (x,) = nodes.x
            weight = self._incidence(nodes)[1].mT.expand(x.size(0), -1, -1)
            mask = nodes.mask
            if mask is None:
                mask = torch.ones_like(x[..., 0], dtype=torch.bool)
            weight = weight * mask.unsqueeze(2)
            # Few at a time, as there are many scores:
            chunks = (torch.split(v, 64) for v in (x, weight, mask))
            yield from zip(*chunks, strict=True)

    def _scores(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.conv.scores(x, edge_weight=weight.mT)

    def _survey(self, data: Data | FieldTable) -> tuple[DeadEdges, Tensor]:
        # What is dead and which share is pruned, in one pass over the rows.
        # Rows are not kept: there may be many.
        live, counts = [], []
        for part in self._parts(data):
            score = self._scores(*part[:2])
            live.append((score > 0).any(dim=1).any(dim=0))
            counts.append(self._count_members([part]))
        members, present = (
            torch.stack(x).sum(dim=0) for x in zip(*counts, strict=True)
        )
        pruned = members == 0
        dead = DeadEdges(
            pruned & (present > 0).unsqueeze(1),
            pruned.all(dim=0),
            ~torch.stack(live).any(dim=0),
        )
        return dead, _pruned(members, present)

    def _count_members(
        self, parts: Iterable[tuple[Tensor, Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        # In how many rows a field is member of each subset, and present.
        counts = [
            ((weight > 0).sum(dim=0), present.sum(dim=0))
            for _, weight, present in parts
        ]
        members, presents = zip(*counts, strict=True)
        return torch.stack(members).sum(dim=0), torch.stack(presents).sum(dim=0)


def _pruned(members: Tensor, present: Tensor) -> Tensor:
    return 1 - members.sum(0) / present.sum().clamp(min=1)


def _sum_equal(
    packed: Any, strength: Any
) -> list[tuple[tuple[int, ...], float, float]]:
    # The members of each different combination, the sum of its weights and
    # how often there is one, for those of the largest sums.
    packed, inverse = np.unique(packed, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    total = np.bincount(inverse, strength, len(packed))
    count = np.bincount(inverse, minlength=len(packed))
    best = np.argsort(-total, kind='stable')[:MAX_COMBINATIONS]
    members = np.unpackbits(packed[best], axis=1)
    return [
        (tuple(np.nonzero(m)[0].tolist()), float(t), float(c))
        for m, t, c in zip(members, total[best], count[best], strict=True)
    ]

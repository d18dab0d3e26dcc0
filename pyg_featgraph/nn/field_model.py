r"""The base class of models."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn.inits import reset
from torch_geometric.typing import Adj

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet
from pyg_featgraph.nn.chance import warn_if_chance_on
from pyg_featgraph.nn.config import (
    Configurable,
    Rule,
    at_least,
    between,
)
from pyg_featgraph.nn.effects import joint_effects
from pyg_featgraph.nn.embedding import NodeEmbedding
from pyg_featgraph.nn.gates.gates import members
from pyg_featgraph.nn.growth import grown_counts, grown_from
from pyg_featgraph.nn.heads import Head, make_head
from pyg_featgraph.nn.layout import Nodes, by_member, is_dense
from pyg_featgraph.nn.model_file import read_model, write_model
from pyg_featgraph.nn.ranking import rank_by_effect


class FieldModel(Configurable, torch.nn.Module):
    r"""Base class of the models: :obj:`model(batch) -> logits` of shape
    :math:`(B)`, or :math:`(B, C)` of several outputs.

    A subclass has an :obj:`embedding` and defines :meth:`propagate`, which
    makes logits of node vectors; both layouts, explainers, :meth:`save`,
    :meth:`load` and the rankings of :meth:`interactions` then work. What the
    :math:`C` outputs mean, the :obj:`head` knows.

    With :obj:`members`, a model is :math:`k` models that share all that is
    large, as in the `"TabM: Advancing Tabular Deep Learning with
    Parameter-Efficient Ensembling" <https://arxiv.org/abs/2410.24210>`_ paper:
    each has scales of its own for the node vectors
    (:class:`~pyg_featgraph.nn.MemberScale`) and a last layer of its own
    (:class:`~pyg_featgraph.nn.MemberLinear`). They predict together, by the
    mean of their predictions, for which every row is run :math:`k` times. In
    training the rows of a batch are dealt out to the members instead, so that a
    step takes hardly longer than that of a single model; batches have to be
    shuffled, as loaders for training do.

    Args:
        info (FieldInfo): The layout of the fields.
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
        members (int, optional): The number :math:`k` of members.
            (default: :obj:`1`)
        field_dropout (float, optional): The probability in training that the
            node vectors of a field are left out of a row as a whole; others
            are scaled up. (default: :obj:`0`)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        'embedding_dim': at_least(1),
        'hidden_channels': at_least(1),
        'num_layers': at_least(0),
        'heads': at_least(1),
        'dropout': between(0, 1),
        'embedding_dropout': between(0, 1),
        'embedding_std': at_least(0, float),
        'members': at_least(1),
        'field_dropout': between(0, 1),
    }
    _no_options = ('info',)
    #: The learning rate with which it is trained if none is told.
    lr: ClassVar[float] = 1e-3
    #: The penalty of its embeddings, likewise; one is that of scikit-learn.
    embedding_l2: ClassVar[float] = 1.0

    embedding: NodeEmbedding

    def __init__(
        self,
        info: FieldInfo,
        head: str | Head = 'binary',
        members: int = 1,
        field_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.info = info
        self.head = make_head(head)
        self.members = members
        self.field_dropout = field_dropout
        #: How many rows it has learned from have each id, if that is kept
        #: (see the option :obj:`memory` of a training).
        self.rows_seen: Tensor | None
        self.register_buffer('rows_seen', None)

    @property
    def tables(self) -> tuple[NodeEmbedding, ...]:
        r"""The embeddings whose vectors :meth:`propagate` gets."""
        return (self.embedding,)

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.children():
            reset(module)

    def forward(
        self,
        x: Data | Tensor,
        edge_index: Adj | None = None,
        field: Tensor | None = None,
        batch: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""The logits of a batch, with shape :math:`(B)`, or :math:`(B, C)` of
        several outputs.

        Args:
            x (Data or torch.Tensor): A batch of field graphs. Or the node
                vectors themselves, as :meth:`embed` gives them and explainers
                need them: :math:`(B, n, d)`, or :math:`(N, d)` with the edges.
            edge_index (torch.Tensor, optional): The edges of a graph.
                (default: :obj:`None`)
            field (torch.Tensor, optional): The field of each node of a graph.
                (default: :obj:`None`)
            batch (torch.Tensor, optional): The row of each node of a graph.
                (default: a single row)
            mask (torch.Tensor, optional): The fields that are there, in the
                dense layout. (default: all)
        """
        if isinstance(x, Data):
            return self.merge(self.propagate(self.nodes(x)))
        sizes = [table.embedding_dim for table in self.tables]
        is_dense(x, edge_index, mask)
        size = 1 if batch is None else int(batch.max()) + 1
        nodes = Nodes(x.split(sizes, -1), edge_index, field, batch, size, mask)
        return self.merge(self.propagate(self._for_all(nodes)))

    def member_logits(self, data: Data) -> Tensor:
        r"""The logits of each member, with shape :math:`(k, B)`, or :math:`(k,
        B, C)` of several outputs.

        Args:
            data (Data): A batch of field graphs.
        """
        out = self._squeeze(self.propagate(self.nodes(data)))
        return by_member(out, self.members)

    def merge(self, out: Tensor) -> Tensor:
        r"""The logits of the model from those of its members.

        Args:
            out (torch.Tensor): What :meth:`propagate` gives, with shape
                :math:`(k B, C)`.

        Shapes:
            - **output:** :math:`(B)` or :math:`(B, C)`
        """
        out = self._squeeze(out)
        if self.members == 1:
            return out
        return self.head.merge(by_member(out, self.members))

    @abstractmethod
    def propagate(self, nodes: Nodes) -> Tensor:
        r"""The logits :math:`(k B, C)` from node vectors.

        Args:
            nodes (Nodes): The nodes, with the vectors of each of
                :attr:`tables`; the rows are those of all :math:`k` members,
                one member behind the other.
        """

    def nodes(self, data: Data) -> Nodes:
        r"""The nodes of a batch as :meth:`propagate` gets them, with the rows
        of all members. They are in the layout that fits the batch: dense for a
        :class:`~pyg_featgraph.data.FieldBatch`.

        Args:
            data (Data): A batch of field graphs, or a single one.
        """
        return self._for_all(self._look_up(data))

    def _look_up(self, data: Data) -> Nodes:
        x = tuple(table.embed(data) for table in self.tables)
        if isinstance(data, FieldBatch):
            return Nodes(x, mask=data.mask)
        size = 1 if data.batch is None else data.num_graphs
        return Nodes(x, data.edge_index, data.field, data.batch, size)

    def _for_all(self, nodes: Nodes) -> Nodes:
        # The same rows for every member.
        if self.members > 1:
            nodes = nodes.repeat(self.members)
        return self._for_each(nodes)

    def _for_each(self, nodes: Nodes) -> Nodes:
        # The rows of all members, one member behind the other, as each of
        # them sees its own.
        x = tuple(
            table.for_members(v, nodes)
            for table, v in zip(self.tables, nodes.x, strict=True)
        )
        if self.training and self.field_dropout > 0:
            kept = F.dropout(torch.ones_like(x[0][..., :1]), self.field_dropout)
            x = tuple(v * kept for v in x)
        return nodes._replace(x=x)

    def embed(self, data: Data) -> Tensor:
        r"""The node vectors of a batch, those of all :attr:`tables` one behind
        the other: what :meth:`forward` takes in place of a batch.

        Args:
            data (Data): A batch of field graphs, or a single one.
        """
        return torch.cat(self._look_up(data).x, dim=-1)

    def loss(self, data: Data) -> Tensor:
        r"""The mean loss of a batch, which training lowers. Each member has a
        loss of its own, on its part of the rows.

        Args:
            data (Data): A batch of field graphs.
        """
        nodes = self._look_up(data)
        size, part = nodes.num_rows, None
        if self.members > 1:
            nodes = nodes.fill(self.members)
            part = nodes.num_rows // self.members
        weight = data.get('sample_weight')
        losses = [
            self.head.loss(self._squeeze(out)[:size], data.y, weight, part)
            for out in self.outputs(self._for_each(nodes))
        ]
        return torch.stack(losses).mean()

    def outputs(self, nodes: Nodes) -> Sequence[Tensor]:
        r"""What training lowers the losses of: by default the logits of
        :meth:`propagate` alone.

        Args:
            nodes (Nodes): The nodes, see :meth:`propagate`.

        Returns:
            list of torch.Tensor: Logits :math:`(k B, C)`.
        """
        return [self.propagate(nodes)]

    def _mean(self, weights: Sequence[Tensor]) -> list[Tensor]:
        # Over the members.
        return [by_member(x, self.members).mean(dim=0) for x in weights]

    def _squeeze(self, out: Tensor) -> Tensor:
        return out.squeeze(-1) if self.head.out_channels == 1 else out

    def adapt(self, data: FieldTable) -> None:
        r"""Takes from training rows what the model needs to know of them: what
        its head and its :attr:`tables` do. A training does so at its start.

        Args:
            data (FieldTable): The training rows, with labels.
        """
        if data.y is None:
            raise DataError('The training rows have no labels')
        self.head.adapt(data.y, data.sample_weight)
        for table in self.tables:
            table.adapt(data)

    def grow(self, info: FieldInfo, reused: Tensor | None = None) -> None:
        r"""Gives the model more ids, those that
        :meth:`~pyg_featgraph.data.FieldEncoder.update` has given to new
        categories. A new id starts with the vector of those that are rare or
        unseen, which the category had until then: no logit changes, neither of
        rows that have it nor of others. Then train it on rows that have it.

        Args:
            info (FieldInfo): The layout of the fields with the new sizes.
            reused (torch.Tensor, optional): The ids that new categories have
                from old ones, as :obj:`info` numbers them, which start anew.
                (default: none)

        Raises:
            ValueError: If :obj:`info` differs in more than more categories.
        """
        sources = grown_from(self.info, info, reused)
        if self.rows_seen is not None:
            self.rows_seen = grown_counts(self.rows_seen, self.info, sources)
        module: Any
        for module in self.modules():
            if isinstance(module, NodeEmbedding):
                module.grow(info, sources)
            elif isinstance(getattr(module, 'info', None), FieldInfo):
                module.info = info

    def architecture_parameters(self) -> list[torch.nn.Parameter]:
        r"""The parameters that choose interactions, which
        :func:`~pyg_featgraph.training.fit` can learn apart from all others.
        None by default.
        """
        return []

    def interactions(
        self,
        data: FieldTable | None = None,
        top: int | None = None,
        by: str = 'effect',
        num_rows: int = 256,
        seed: int = 0,
        batch_size: int = 2048,
        progress: bool = False,
        candidates: InteractionSet | None = None,
        num_bootstraps: int = 200,
    ) -> InteractionSet:
        r"""The interactions that the model has learned, ranked.

        Args:
            data (FieldTable, optional): The rows to measure on.
                (default: :obj:`None`)
            top (int, optional): How many to return. (default: all)
            by (str, optional): :obj:`"effect"` ranks sets of fields by what
                they do together to the logits, as the root of the mean over
                rows of :func:`~pyg_featgraph.nn.joint_effects`;
                :obj:`"edges"`, for models that have some, by the mean over
                rows and layers of the edge weights. They say where a layer
                looks, not what the model makes of it.
                (default: :obj:`"effect"`)
            num_rows (int, optional): The number of rows to draw.
                (default: :obj:`256`)
            seed (int, optional): The seed of the draw. (default: :obj:`0`)
            batch_size (int, optional): The number of rows at a time, for
                effects. (default: :obj:`2048`)
            progress (bool, optional): Whether to show a progress bar, for
                effects. (default: :obj:`False`)
            candidates (InteractionSet, optional): What effects are measured
                of, of any order; details are kept. (default: all pairs)
            num_bootstraps (int, optional): How often rows are drawn anew for
                the interval that each effect has as
                :obj:`detail["interval"]`, which holds the effect over all
                rows with 95 %; none if it is zero. (default: :obj:`200`)

        Effects have :obj:`detail["unit"]` and :obj:`detail["rows"]`, what they
        are and on how many rows they were measured. With several
        :obj:`members`, :obj:`detail["members"]` holds the lowest
        and the highest effect on the logits of one of them.

        If the rows have labels, a model warns that predicts 10,000 of them no
        better than chance would, or than the mean of numbers does. This tells
        what its interactions are worth only on rows that it was not trained
        on.

        Raises:
            DataError: If a candidate has a field that the model has not.
            ValueError: If no rows are given, or if the model has no edges.
        """
        if data is not None and data.y is not None:
            warn_if_chance_on(self, self._draw(data, 10_000, seed))
        if by == 'edges':
            return self._interactions_by_edges(data, num_rows, seed).top(top)
        if by != 'effect':
            raise ValueError(f"'by' must be 'effect' or 'edges' (got '{by}')")
        if candidates is None:
            pairs = combinations(self.info.names, 2)
            candidates = InteractionSet(Interaction(x, 0) for x in pairs)
        effects = joint_effects(
            self,
            self._rows_for(data),
            [members(x, self.info) for x in candidates],
            num_rows,
            batch_size,
            seed,
            progress,
            by_member=self.members > 1,
        )
        source = self.__class__.__name__
        return rank_by_effect(
            candidates, effects, source, self.head.unit, num_bootstraps, seed
        ).top(top)

    def monitor(self, data: Data) -> dict[str, float]:
        r"""What there is to tell of the edges during training, which shows it
        after each epoch; the model may warn as well. Nothing by default.

        Args:
            data (Data): A batch of validation rows.
        """
        return {}

    def edge_weights(self, data: Data) -> list[Tensor]:
        r"""The edge weights of each layer, for models that have some.

        Args:
            data (Data): A batch of field graphs.

        Returns:
            list of torch.Tensor: For each layer :math:`(B, n, n)`, rows being
            the fields that receive.

        Raises:
            ValueError: If the model has none.
        """
        raise ValueError(f'{self.__class__.__name__} has no edge weights')

    def _interactions_by_edges(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> InteractionSet:
        table = self._draw(data, num_rows, seed)
        device = next(self.parameters()).device
        weights = self.edge_weights(table.batch().to(device))
        return InteractionSet.from_matrix(
            torch.stack(weights).mean(dim=(0, 1)).cpu().numpy(),
            self.info.names,
            f'{self.__class__.__name__} edges',
            {'unit': 'mean edge weight', 'rows': len(table)},
        )

    def _draw(
        self, data: FieldTable | None, num_rows: int, seed: int
    ) -> FieldTable:
        table = self._rows_for(data)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(table), generator=generator)
        return table.subset(rows[:num_rows])

    def _rows_for(self, data: FieldTable | None) -> FieldTable:
        if data is None:
            raise ValueError(
                f'The interactions of {self.__class__.__name__} depend on '
                "the rows: pass a table as 'data'"
            )
        return data

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes configuration and weights as one safetensors file.

        The file appears as a whole or not at all, and carries a checksum.
        """
        write_model(path, type(self), self.info, self.config, self.state_dict())

    @staticmethod
    def load(path: str | os.PathLike[str], device: str = 'cpu') -> FieldModel:
        r"""Reads a model written by :meth:`save`, of whichever class; the
        module of a class of your own is to be imported before.

        Raises:
            DataError: If the file is damaged, no model, of an unknown version
                or of an unknown class.
        """
        model: FieldModel = read_model(path, device)
        return model

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any
    ) -> None:
        # It is there only where it is counted:
        seen = state_dict.get(f'{prefix}rows_seen')
        self.rows_seen = None if seen is None else seen.clone()
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        config = ', '.join(f'{k}={v!r}' for k, v in self.config.items())
        return (
            f'{self.__class__.__name__}(num_fields={self.info.num_fields}'
            f'{", " if config else ""}{config})'
        )

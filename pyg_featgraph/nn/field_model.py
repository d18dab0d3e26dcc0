r"""The base class of models."""

from __future__ import annotations

import errno
import json
import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn.inits import reset
from torch_geometric.typing import Adj

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, reading, sealing
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.config import (
    Configurable,
    Rule,
    at_least,
    between,
    decode,
    encode,
    find_class,
    qualified_name,
)
from pyg_featgraph.nn.effects import pair_effects
from pyg_featgraph.nn.embedding import NodeEmbedding
from pyg_featgraph.nn.heads import Head, make_head
from pyg_featgraph.nn.layout import Nodes, is_dense

#: The version of the model file format.
VERSION = 2


class FieldModel(Configurable, torch.nn.Module):
    r"""Base class of the models: :obj:`model(batch) -> logits` of shape
    :math:`(B)`, or :math:`(B, C)` of several outputs.

    A subclass has an :obj:`embedding` and defines :meth:`propagate`, which
    makes logits of node vectors; both layouts, explainers, :meth:`save`,
    :meth:`load` and the rankings of :meth:`interactions` then work. What the
    :math:`C` outputs mean, the :attr:`head` knows.

    Args:
        info (FieldInfo): The layout of the fields.
        head (str or Head, optional): What the outputs mean, see
            :func:`~pyg_featgraph.nn.make_head`. (default: :obj:`"binary"`)
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        'embedding_dim': at_least(1),
        'hidden_channels': at_least(1),
        'num_layers': at_least(0),
        'heads': at_least(1),
        'dropout': between(0, 1),
        'embedding_dropout': between(0, 1),
        'embedding_std': at_least(0, float),
    }
    _no_options = ('info',)

    embedding: NodeEmbedding

    def __init__(self, info: FieldInfo, head: str | Head = 'binary') -> None:
        super().__init__()
        self.info = info
        self.head = make_head(head)

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
            return self._squeeze(self.propagate(self.nodes(x)))
        sizes = [table.embedding_dim for table in self.tables]
        is_dense(x, edge_index, mask)
        size = 1 if batch is None else int(batch.max()) + 1
        nodes = Nodes(x.split(sizes, -1), edge_index, field, batch, size, mask)
        return self._squeeze(self.propagate(nodes))

    @abstractmethod
    def propagate(self, nodes: Nodes) -> Tensor:
        r"""The logits :math:`(B, C)` from node vectors.

        Args:
            nodes (Nodes): The nodes, with the vectors of each of
                :attr:`tables`.
        """

    def nodes(self, data: Data) -> Nodes:
        r"""The nodes of a batch, in the layout that fits it: dense for a
        :class:`~pyg_featgraph.data.FieldBatch`.

        Args:
            data (Data): A batch of field graphs, or a single one.
        """
        x = tuple(table.embed(data) for table in self.tables)
        if isinstance(data, FieldBatch):
            return Nodes(x, mask=data.mask)
        size = 1 if data.batch is None else data.num_graphs
        return Nodes(x, data.edge_index, data.field, data.batch, size)

    def embed(self, data: Data) -> Tensor:
        r"""The node vectors of a batch, those of all :attr:`tables` one behind
        the other: what :meth:`forward` takes in place of a batch.

        Args:
            data (Data): A batch of field graphs, or a single one.
        """
        return torch.cat(self.nodes(data).x, dim=-1)

    def loss(self, data: Data) -> Tensor:
        r"""The mean loss of a batch, which training lowers."""
        return self._loss(self(data), data)

    def _loss(self, out: Tensor, data: Data) -> Tensor:
        weight = data.get('sample_weight')
        return self.head.loss(out, data.y, weight)

    def _squeeze(self, out: Tensor) -> Tensor:
        return out.squeeze(-1) if self.head.out_channels == 1 else out

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
    ) -> InteractionSet:
        r"""The interactions that the model has learned, ranked.

        Args:
            data (FieldTable, optional): The rows to measure on.
                (default: :obj:`None`)
            top (int, optional): How many to return. (default: all)
            by (str, optional): :obj:`"effect"` ranks pairs by what they do to
                the logits, :func:`~pyg_featgraph.nn.pair_effects`;
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

        Raises:
            ValueError: If no rows are given, or if the model has no edges.
        """
        if by == 'edges':
            return self._interactions_by_edges(data, num_rows, seed).top(top)
        if by != 'effect':
            raise ValueError(f"'by' must be 'effect' or 'edges' (got '{by}')")
        effects = pair_effects(
            self, self._rows_for(data), num_rows, batch_size, seed, progress
        )
        ranking = InteractionSet.from_matrix(
            effects.numpy(), self.info.names, self.__class__.__name__
        )
        # Below are differences of rounding in single precision:
        return InteractionSet(x for x in ranking if x.score > 1e-5).top(top)

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
        meta = {
            'version': VERSION,
            'class': qualified_name(type(self)),
            'info': self.info.to_dict(),
            'config': encode(self.config),
        }
        state = {k: v.contiguous() for k, v in self.state_dict().items()}
        texts = {'pyg_featgraph.model': json.dumps(meta), 'checksum': SEAL}
        with sealing(path) as temporary:
            try:
                save_file(state, temporary, texts)
            except safetensors.SafetensorError as error:
                raise OSError(errno.EIO, str(error)) from error

    @staticmethod
    def load(path: str | os.PathLike[str], device: str = 'cpu') -> FieldModel:
        r"""Reads a model written by :meth:`save`, of whichever class; the
        module of a class of your own is to be imported before.

        Raises:
            DataError: If the file is damaged, no model, of an unknown version
                or of an unknown class.
        """
        with (
            reading(path, 'model'),
            safetensors.safe_open(path, 'pt', device=device) as file,
        ):
            values = json.loads(file.metadata()['pyg_featgraph.model'])
            if values['version'] != VERSION:
                raise DataError(
                    'this release cannot read it (format version '
                    f'{values["version"]!r}, not {VERSION})'
                )
            cls: Any = find_class(values['class'])
            model: FieldModel = cls(
                FieldInfo.from_dict(values['info']), **decode(values['config'])
            )
            model.load_state_dict(
                {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            )
            return model.to(device)

    def __repr__(self) -> str:
        config = ', '.join(f'{k}={v!r}' for k, v in self.config.items())
        return (
            f'{self.__class__.__name__}(num_fields={self.info.num_fields}'
            f'{", " if config else ""}{config})'
        )

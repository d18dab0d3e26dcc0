from __future__ import annotations

import errno
import json
import os
from typing import Any, ClassVar

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, reading, sealing
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.embedding import NodeEmbedding
from pyg_featgraph.nn.models.effects import pair_effects

#: The version of the model file format.
VERSION = 2


class FieldModel(torch.nn.Module):
    r"""Base class of the models: :obj:`model(batch) -> logits` of shape
    :math:`(B)`.

    A subclass passes the arguments of its constructor on as :obj:`config`, so
    that :meth:`save` and :meth:`load` can build it again.

    Args:
        info (FieldInfo): The layout of the fields.
        **config: JSON-compatible arguments of the subclass.
    """

    _classes: ClassVar[dict[str, type[FieldModel]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        FieldModel._classes[cls.__name__] = cls

    def __init__(self, info: FieldInfo, **config: Any) -> None:
        super().__init__()
        self.info = info
        self.config = config

    def reset_parameters(self) -> None:
        r"""Resets all learnable parameters of the module."""
        for module in self.children():
            reset = getattr(module, 'reset_parameters', None)
            if reset is not None:
                reset()

    def loss(self, data: Data) -> Tensor:
        r"""The mean binary log loss of a batch, which training lowers."""
        return F.binary_cross_entropy_with_logits(self(data), data.y)

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
        **kwargs: Any,
    ) -> InteractionSet:
        r"""The interactions that the model has learned, ranked.

        Args:
            data (FieldTable, optional): The rows to measure on.
                (default: :obj:`None`)
            top (int, optional): How many to return. (default: all)
            by (str, optional): :obj:`"effect"` ranks pairs by what they do to
                the logits, :func:`~pyg_featgraph.nn.models.pair_effects`;
                :obj:`"edges"`, for models that have some, by the mean over
                rows and layers of the edge weights. They say where a layer
                looks, not what the model makes of it.
                (default: :obj:`"effect"`)
            num_rows (int, optional): The number of rows to draw.
                (default: :obj:`256`)
            seed (int, optional): The seed of the draw. (default: :obj:`0`)
            **kwargs (optional): Further arguments of
                :func:`~pyg_featgraph.nn.models.pair_effects`.

        Raises:
            ValueError: If no rows are given, or if the model has no edges.
        """
        if by == 'edges':
            return self._interactions_by_edges(data, num_rows, seed).top(top)
        if by != 'effect':
            raise ValueError(f"'by' must be 'effect' or 'edges' (got '{by}')")
        effects = pair_effects(
            self, self._rows_for(data), num_rows, seed=seed, **kwargs
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
        table = self._rows_for(data)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(table), generator=generator)[:num_rows]
        device = next(self.parameters()).device
        weights = self.edge_weights(table.batch(rows).to(device))
        return InteractionSet.from_matrix(
            torch.stack(weights).mean(dim=(0, 1)).cpu().numpy(),
            self.info.names,
            f'{self.__class__.__name__} edges',
        )

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
            'class': self.__class__.__name__,
            'info': self.info.to_dict(),
            'config': self.config,
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
        r"""Reads a model written by :meth:`save`, of whichever class.

        Raises:
            DataError: If the file is damaged, no model or of an unknown
                version.
        """
        with (
            reading(path, 'model'),
            safetensors.safe_open(path, 'pt', device=device) as file,
        ):
            values = json.loads(file.metadata()['pyg_featgraph.model'])
            cls = FieldModel._classes.get(values['class'])
            if values['version'] != VERSION or cls is None:
                raise DataError(
                    'this release cannot read it (class '
                    f'{values["class"]!r}, format version '
                    f'{values["version"]!r})'
                )
            model = cls(FieldInfo.from_dict(values['info']), **values['config'])
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


def batch_vector(data: Data) -> tuple[Tensor, int]:
    r"""The row of each node, and the number of rows."""
    if isinstance(data, FieldBatch):
        return data.batch, data.num_graphs
    if data.batch is None:
        return data.field.new_zeros(data.field.numel()), 1
    return data.batch, data.num_graphs


def nodes_to_rows(
    x: Tensor,
    num_fields: int,
    field: Tensor | None = None,
    batch: Tensor | None = None,
    size: int | None = None,
) -> Tensor:
    r"""The node vectors as :math:`(B, n, F)`, absent fields being zero; rows
    stay as they are, and without :obj:`batch` all nodes are of one row.
    """
    if x.dim() == 3:
        return x
    if field is None:
        raise ValueError(
            "'field' is required for node vectors of shape [num_nodes, "
            'channels]'
        )
    if batch is None:
        batch, size = torch.zeros_like(field), 1
    elif size is None:
        size = int(batch.max()) + 1 if batch.numel() else 0
    out = x.new_zeros(size, num_fields, x.size(-1))
    return out.index_put((batch, field), x)


def embed_regular(embedding: NodeEmbedding, data: Data) -> Tensor:
    r"""The vectors :math:`(B, n, d)` of all fields, absent ones being zero."""
    return data_to_rows(embedding.embed(data), data, embedding.info.num_fields)


def data_to_rows(x: Tensor, data: Data, num_fields: int) -> Tensor:
    r"""The node vectors of a batch as :math:`(B, n, F)`, in either layout."""
    if x.dim() == 3:
        return x
    batch, size = batch_vector(data)
    return nodes_to_rows(x, num_fields, data.field, batch, size)


def pool_sum(x: Tensor, data: Data) -> Tensor:
    r"""The sum over the nodes of each row, in either layout."""
    if x.dim() == 3:
        return x.sum(dim=1)
    batch, size = batch_vector(data)
    return scatter(x, batch, dim=0, dim_size=size, reduce='sum')

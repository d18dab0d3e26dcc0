from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.utils import scatter

from pyg_featgraph.data import FieldBatch, FieldInfo, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import InteractionSet
from pyg_featgraph.nn.embedding import FieldEmbedding
from pyg_featgraph.nn.models.effects import pair_effects

#: The version of the model file format.
VERSION = 1


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

    def interactions(
        self,
        data: FieldTable | None = None,
        top: int | None = None,
        **kwargs: Any,
    ) -> InteractionSet:
        r"""The pairs of fields that interact in the logits of the model,
        ranked by :func:`~pyg_featgraph.nn.models.pair_effects`.

        Args:
            data (FieldTable, optional): The rows to measure on.
                (default: :obj:`None`)
            top (int, optional): How many pairs to return. (default: all that
                interact)
            **kwargs (optional): Arguments of
                :func:`~pyg_featgraph.nn.models.pair_effects`.

        Raises:
            ValueError: If no rows are given.
        """
        effects = pair_effects(self, self._rows_for(data), **kwargs)
        ranking = InteractionSet.from_matrix(
            effects.numpy(), self.info.names, self.__class__.__name__
        )
        # Below are differences of rounding in single precision:
        return InteractionSet(x for x in ranking if x.score > 1e-5).top(top)

    def _rows_for(self, data: FieldTable | None) -> FieldTable:
        if data is None:
            raise ValueError(
                f'The interactions of {self.__class__.__name__} depend on '
                "the rows: pass a table as 'data'"
            )
        return data

    def save(self, path: str | os.PathLike[str]) -> None:
        r"""Writes configuration and weights as one safetensors file.

        The file appears as a whole or not at all.
        """
        meta = {
            'version': VERSION,
            'class': self.__class__.__name__,
            'info': self.info.to_dict(),
            'config': self.config,
        }
        path = Path(path)
        temporary = path.with_name(path.name + '.tmp')
        save_file(
            {k: v.contiguous() for k, v in self.state_dict().items()},
            temporary,
            metadata={'pyg_featgraph.model': json.dumps(meta)},
        )
        os.replace(temporary, path)

    @staticmethod
    def load(path: str | os.PathLike[str], device: str = 'cpu') -> FieldModel:
        r"""Reads a model written by :meth:`save`, of whichever class.

        Raises:
            DataError: If the file is no model or of an unknown version.
        """
        try:
            with safetensors.safe_open(path, 'pt', device=device) as file:
                meta = (file.metadata() or {}).get('pyg_featgraph.model')
                state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        except safetensors.SafetensorError as error:
            raise DataError(f"'{path}' is not a model: {error}") from error
        values = json.loads(meta) if meta else {}
        cls = FieldModel._classes.get(values.get('class', ''))
        if values.get('version') != VERSION or cls is None:
            raise DataError(
                f"'{path}' holds no model that this release can read "
                f'(class {values.get("class")!r}, format version '
                f'{values.get("version")!r})'
            )
        model = cls(FieldInfo.from_dict(values['info']), **values['config'])
        model.load_state_dict(state)
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


def embed_regular(embedding: FieldEmbedding, data: Data) -> Tensor:
    r"""The vectors :math:`(B, n, d)` of all fields, absent ones being zero."""
    x = embedding.embed(data)
    if x.dim() == 3:
        return x
    batch, size = batch_vector(data)
    out = x.new_zeros(size, embedding.info.num_fields, x.size(-1))
    return out.index_put((batch, data.field), x)


def pool_sum(x: Tensor, data: Data) -> Tensor:
    r"""The sum over the nodes of each row, in either layout."""
    if x.dim() == 3:
        return x.sum(dim=1)
    batch, size = batch_vector(data)
    return scatter(x, batch, dim=0, dim_size=size, reduce='sum')

r"""The file of a model: configuration and weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import safetensors
from safetensors.torch import save
from torch import Tensor

from pyg_featgraph.data import FieldInfo
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import SEAL, reading, sealing
from pyg_featgraph.nn.config import (
    decode,
    encode,
    find_class,
    qualified_name,
)

#: The version of the format.
VERSION = 3


def write_model(
    path: str | os.PathLike[str],
    cls: type,
    info: FieldInfo,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> None:
    r"""Writes a model, see :meth:`~pyg_featgraph.nn.FieldModel.save`.

    Args:
        path (str): The file.
        cls (type): The class of the model.
        info (FieldInfo): The layout of the fields.
        config (dict): The options of the model.
        state (dict): Its parameters and buffers.
    """
    meta = {
        'version': VERSION,
        'class': qualified_name(cls),
        'info': info.to_dict(),
        'config': encode(config),
    }
    tensors = {k: v.contiguous() for k, v in state.items()}
    texts = {'pyg_featgraph.model': json.dumps(meta), 'checksum': SEAL}
    with sealing(path) as temporary:
        # Its own way to write files leaves others beside them when killed:
        temporary.write_bytes(save(tensors, texts))


def read_model(path: str | os.PathLike[str], device: str) -> Any:
    r"""Reads a model, see :meth:`~pyg_featgraph.nn.FieldModel.load`."""
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
        model = cls(
            FieldInfo.from_dict(values['info']), **decode(values['config'])
        )
        model.load_state_dict(
            {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        )
        return model.to(device)

r"""Files with the state of a training, and the state of random numbers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.plugins.io import CheckpointIO

from pyg_featgraph.files import reading, sealing


class SealedCheckpointIO(CheckpointIO):
    r"""Writes checkpoints that appear as a whole or not at all, on any file
    system, and whose checksum is verified when they are read. They stay files
    that :func:`torch.load` reads, and carry no code.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: Any,
        storage_options: Any | None = None,
    ) -> None:
        r"""Writes the state of a training."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with sealing(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self,
        path: Any,
        map_location: Any | None = None,
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        r"""Reads the state of a training.

        Raises:
            DataError: If the file is damaged.
        """
        with reading(path, 'checkpoint'):
            checkpoint: dict[str, Any] = torch.load(
                path, map_location='cpu', weights_only=True
            )
        return checkpoint

    def remove_checkpoint(self, path: Any) -> None:
        r"""Removes the state of a training."""
        Path(path).unlink(missing_ok=True)


def random_state() -> dict[str, Any]:
    r"""The state of all generators that a training may draw from, as values
    that a checkpoint can hold.
    """
    kind, keys, *rest = cast(Any, np.random.get_state())  # noqa: NPY002
    state = {
        'torch': torch.get_rng_state(),
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), *rest],
        'python': random.getstate(),
    }
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    r"""The inverse of :func:`random_state`."""
    torch.set_rng_state(state['torch'])
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, values, gauss = state['python']
    random.setstate((version, tuple(values), gauss))
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state['cuda'])


def seed_all(seed: int) -> None:
    r"""Seeds all these generators."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)

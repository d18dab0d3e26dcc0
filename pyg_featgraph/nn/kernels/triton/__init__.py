r"""Kernels for GPUs in Triton."""

from __future__ import annotations

import importlib
import logging
import subprocess
from functools import lru_cache

import torch

_LOG = logging.getLogger('pyg_featgraph')

#: The kernels, with the largest last dimension of what they work on that leaves
#: room for their tiles on every GPU.
LARGEST = {
    'gru_step': 128,
    'hadamard_attention': 128,
    'induced_set': 128,
    'pair_score': 128,
    'small_attention': 128,
    'sum_softmax': 1024,
    'top_m': 256,
    'tuple_product': 128,
}


def usable(device: torch.device, required: bool = False) -> bool:
    r"""Whether kernels can run on a GPU; where they cannot, one line in the
    log says so.

    Args:
        device (torch.device): The GPU.
        required (bool, optional): Whether it is an error if they cannot.
            (default: :obj:`False`)

    Raises:
        RuntimeError: If they are required and cannot run.
    """
    reason = _obstacle(torch.cuda.get_device_capability(device))
    if reason and required:
        raise RuntimeError(f'There are no kernels for this GPU: {reason}')
    return not reason


@lru_cache
def _obstacle(capability: tuple[int, int]) -> str:
    try:
        # Says which GPU there is, for which it needs a C compiler once:
        runtime = importlib.import_module('triton.runtime')
        runtime.driver.active.get_current_target()
        reason = ''
    except (
        ImportError,
        OSError,
        RuntimeError,
        subprocess.SubprocessError,
    ) as error:
        reason = str(error).splitlines()[0]
    if not reason and capability < (8, 0):
        reason = 'Triton needs compute capability 8.0'
    if reason:
        _LOG.warning('The portable kernels are used: %s', reason)
    return reason

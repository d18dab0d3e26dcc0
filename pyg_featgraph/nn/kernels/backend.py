r"""Which form of a kernel runs.

Each custom operator has a portable form in plain torch and, for some devices,
a native one: in C++ on a CPU, compiled when it is first used and kept from
then on, in Triton on a GPU. All compute the same numbers.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import torch
from torch import Tensor

from pyg_featgraph.process_memory import keep_freed_memory

#: Chooses between the forms: ``portable``; ``native``, which is an error where
#: the kernels cannot be had; or ``triton``, also for tensors on a CPU, where
#: its interpreter runs them (``TRITON_INTERPRET=1``), to see that they are
#: right. Without it native kernels are used if they can be.
VARIABLE = 'PYG_FEATGRAPH_KERNELS'
_CHOICES = ('portable', 'native', 'triton')


def native_form(name: str, x: Tensor) -> ModuleType | None:
    r"""The module with :obj:`forward` and :obj:`backward` of a kernel for the
    device and the type of a tensor; :obj:`None` where the portable form is to
    be used.

    Args:
        name (str): The name of the kernel.
        x (torch.Tensor): What it is to work on.

    Raises:
        ValueError: If the variable has another value.
        RuntimeError: If native kernels are asked for and cannot be built.
    """
    choice = os.environ.get(VARIABLE, '')
    if choice and choice not in _CHOICES:
        raise ValueError(
            f'{VARIABLE} must be one of {", ".join(_CHOICES)} (got {choice!r})'
        )
    if x.device.type == 'cpu':
        keep_freed_memory()
    if choice == 'portable':
        return None
    if x.is_cuda or choice == 'triton':
        return _triton_form(name, x, required=bool(choice))
    if x.device.type != 'cpu' or x.dtype not in (torch.float32, torch.float64):
        return None
    native = importlib.import_module('pyg_featgraph.nn.kernels.native')
    required = choice == 'native'
    if name not in native.NAMES or native.library(required) is None:
        return None
    return importlib.import_module(f'{native.__name__}.{name}')


def _triton_form(name: str, x: Tensor, required: bool) -> ModuleType | None:
    triton = importlib.import_module('pyg_featgraph.nn.kernels.triton')
    if name not in triton.LARGEST:
        return None
    if x.is_cuda:
        # Numbers of double precision are too large for the tiles.
        fits = x.dtype != torch.float64 and x.size(-1) <= triton.LARGEST[name]
        if not (fits and triton.usable(x.device, required)):
            return None
    return importlib.import_module(f'{triton.__name__}.{name}')

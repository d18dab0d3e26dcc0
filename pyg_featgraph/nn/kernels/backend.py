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

#: Chooses between the forms: ``portable`` or ``native``, which is an error
#: where the kernels cannot be had. Without it they are used if they can.
VARIABLE = 'PYG_FEATGRAPH_KERNELS'


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
    if choice not in ('', 'portable', 'native'):
        raise ValueError(
            f"{VARIABLE} must be 'portable' or 'native' (got {choice!r})"
        )
    required = choice == 'native'
    if choice == 'portable':
        return None
    if x.is_cuda:
        return _triton_form(name, x, required)
    if x.device.type != 'cpu' or x.dtype not in (torch.float32, torch.float64):
        return None
    native = importlib.import_module('pyg_featgraph.nn.kernels.native')
    if name not in native.NAMES or native.library(required) is None:
        return None
    return importlib.import_module(f'{native.__name__}.{name}')


def _triton_form(name: str, x: Tensor, required: bool) -> ModuleType | None:
    # Numbers of double precision are too large for the tiles.
    triton = importlib.import_module('pyg_featgraph.nn.kernels.triton')
    if x.dtype == torch.float64 or x.size(-1) > triton.LARGEST.get(name, 0):
        return None
    if not triton.usable(x.device, required):
        return None
    return importlib.import_module(f'{triton.__name__}.{name}')

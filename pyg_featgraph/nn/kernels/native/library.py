r"""The compiled kernels: built once for a machine, and called.

They are a plain library without any header of torch, which takes seconds to
compile and does not depend on the version of torch. It shares torch's threads
by using the OpenMP library that torch has loaded.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

_LOG = logging.getLogger('pyg_featgraph')
_FOLDER = Path(__file__).parent
_NAMES = {torch.float32: 'f32', torch.float64: 'f64'}


def call(name: str, *args: Tensor | float | None) -> None:
    r"""Calls a kernel for the type of the first tensor, with as many threads
    as torch has.

    Args:
        name (str): The name of the kernel.
        *args (torch.Tensor, int or float, optional): The arguments; outputs
            are contiguous, and inputs are made so.

    Raises:
        TypeError: If tensors have different types.
    """
    # What is made contiguous has to live until the kernel has run:
    alive = [v.contiguous() if isinstance(v, Tensor) else v for v in args]
    types = {v.dtype for v in alive if isinstance(v, Tensor)}
    types -= {torch.bool, torch.int64}
    if len(types) != 1:
        raise TypeError(f'{name} needs tensors of one type (got {types})')
    kernels = library()
    assert kernels is not None
    function = getattr(kernels, f'{name}_{_NAMES[types.pop()]}')
    function(*map(_as_c, alive), _as_c(torch.get_num_threads()))


def check_sizes(*pairs: tuple[Tensor | None, tuple[int, ...]]) -> None:
    r"""Makes sure that tensors are as large as a kernel takes them to be, which
    would read whatever lies behind them in memory otherwise.

    Args:
        *pairs (tuple): The tensors and their sizes.

    Raises:
        RuntimeError: If a tensor has another size.
    """
    for tensor, size in pairs:
        if tensor is not None and tuple(tensor.size()) != size:
            raise RuntimeError(
                f'Sizes do not match: a tensor of {list(size)} is needed (got '
                f'{list(tensor.size())})'
            )


def _as_c(value: Tensor | float | None) -> ctypes._SimpleCData:  # type: ignore[type-arg]
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_double(value)
    return ctypes.c_void_p() if value is None else ctypes.c_int64(value)


def library(required: bool = False) -> ctypes.CDLL | None:
    r"""The compiled kernels, or :obj:`None`, with one line in the log, where
    they cannot be had.

    Args:
        required (bool, optional): Whether that is an error.
            (default: :obj:`False`)

    Raises:
        RuntimeError: If they are required and cannot be had.
    """
    found, reason = _library()
    if found is None and required:
        raise RuntimeError(f'There are no native kernels: {reason}')
    return found


@lru_cache(maxsize=1)
def _library() -> tuple[ctypes.CDLL | None, str]:
    try:
        return ctypes.CDLL(str(_built())), ''
    except (OSError, RuntimeError) as error:
        _LOG.warning('The portable kernels are used: %s', error)
        return None, str(error)


def _built() -> Path:
    # The file of the kernels for this machine, compiled if there is none yet.
    compiler = os.environ.get('CXX') or next(
        filter(shutil.which, ('c++', 'g++', 'clang++')), None
    )
    if compiler is None:
        raise RuntimeError('no C++ compiler is found (c++, g++ or clang++)')
    sources = [*sorted(_FOLDER.glob('*.h')), _FOLDER / 'kernels.cpp']
    facts = [compiler, _run([compiler, '--version']), _processor()]
    facts += [torch.__file__, *(path.read_text() for path in sources)]
    digest = hashlib.sha256('\0'.join(facts).encode()).hexdigest()[:16]
    folder = _cache()
    path = folder / f'kernels-{digest}.so'
    if not path.exists():
        _LOG.info('The kernels are compiled, once, which takes seconds')
        with tempfile.TemporaryDirectory(dir=folder) as own:
            built = Path(own) / 'kernels.so'
            _compile(compiler, Path(own) / 'kernels.o', built)
            # As a whole or not at all, if others build it at the same time:
            os.replace(built, path)
    return path


def _compile(compiler: str, unit: Path, built: Path) -> None:
    options = ['-std=c++17', '-O3', '-fPIC', '-march=native', '-fopenmp']
    source = str(_FOLDER / 'kernels.cpp')
    _run([compiler, *options, '-c', source, '-o', str(unit)])
    threads = [*(Path(torch.__file__).parent / 'lib').glob('libgomp*.so*')]
    link = [str(path) for path in threads[:1]] or ['-fopenmp']
    _run([compiler, '-shared', str(unit), *link, '-o', str(built)])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ['no message']
        raise RuntimeError(f'{" ".join(command[:2])} failed: {lines[0]}')
    return done.stdout


def _processor() -> str:
    # What code for this very processor may use.
    info = Path('/proc/cpuinfo')
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = info.read_text().splitlines()
    names = ('model name', 'flags', 'Features', 'CPU part')
    return '\n'.join(sorted({v for v in lines if v.startswith(names)}))


def _cache() -> Path:
    home = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    folder = Path(home) / 'pyg_featgraph'
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A home that cannot be written to: kept as long as the process.
        folder = Path(tempfile.mkdtemp(prefix='pyg_featgraph_'))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder

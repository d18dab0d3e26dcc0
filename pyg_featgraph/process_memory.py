r"""Memory that stays at hand between steps, and large tables in large pages.

A step frees what it has allocated, and the next one allocates the same sizes
again. The allocator of GNU systems hands large pieces back to the kernel in
between, which clears each page when it is touched again: a fifth to a third of
a step. There it is told to keep some.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from functools import lru_cache

from torch import Tensor

#: Pieces of up to so many bytes are kept when they are freed,
LARGEST_PIECE = 2**27
#: and so many bytes in all.
LARGEST_TOTAL = 2**29

#: Tensors of so many bytes are large.
LARGE_TENSOR = 2**26

# What <malloc.h> calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD:
_TRIM, _PIECE = -1, -3


class _Info(ctypes.Structure):
    # struct mallinfo2, of which `fordblks` is what is free.
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            'arena',
            'ordblks',
            'smblks',
            'hblks',
            'hblkhd',
            'usmblks',
            'fsmblks',
            'uordblks',
            'fordblks',
            'keepcost',
        )
    ]


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    r"""Lets the process keep some of the memory that it frees, once. Nothing is
    done where another allocator is at work or has been told by the environment
    (``MALLOC_TRIM_THRESHOLD_`` and others) what to do.

    Returns:
        bool: Whether it was told.
    """
    told = ('MALLOC_', 'GLIBC_TUNABLES', 'LD_PRELOAD')
    if sys.platform != 'linux' or any(k.startswith(told) for k in os.environ):
        return False
    libc = _libc()
    if not (hasattr(libc, 'mallopt') and hasattr(libc, 'mallinfo2')):
        return False
    return bool(
        libc.mallopt(_PIECE, LARGEST_PIECE)
        and libc.mallopt(_TRIM, LARGEST_TOTAL)
    )


def free_surplus() -> None:
    r"""Hands back what is free beyond :obj:`LARGEST_TOTAL`, if memory is kept.
    The allocator by itself looks at nothing but what is free behind all else,
    while what stays of each batch, such as its predictions, lies in between.
    """
    if keep_freed_memory() and _free() > LARGEST_TOTAL:
        _libc().malloc_trim(0)


def _free() -> int:
    mallinfo = _libc().mallinfo2
    mallinfo.restype = _Info
    return int(mallinfo().fordblks)


def in_large_pages(x: Tensor) -> Tensor:
    r"""Asks for large pages for a large tensor on a CPU, whose rows are looked
    up here and there: each row of a table of gigabytes costs a search for its
    page otherwise. Nothing is done where the system has no such pages.

    Args:
        x (torch.Tensor): A tensor whose memory has not been touched yet.

    Returns:
        torch.Tensor: The same tensor.
    """
    advice = getattr(mmap, 'MADV_HUGEPAGE', None)
    # Tensors of other classes may have no memory:
    is_plain = type(x) is Tensor and x.device.type == 'cpu'
    if advice is None or not is_plain or x.nbytes < LARGE_TENSOR:
        return x
    size = mmap.PAGESIZE
    # Whole pages only:
    start = -(-x.data_ptr() // size) * size
    length = (x.data_ptr() + x.nbytes) // size * size - start
    _libc().madvise(
        ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice)
    )
    return x


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)

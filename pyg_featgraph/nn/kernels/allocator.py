r"""Memory that stays at hand between steps.

A step frees what it has allocated, and the next one allocates the same sizes
again. The allocator of GNU systems hands large pieces back to the kernel in
between, which clears each page when it is touched again: a fifth to a third of
a step. There it is told to keep some.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache

#: Pieces of up to so many bytes are kept when they are freed,
LARGEST_PIECE = 2**27
#: and so many bytes in all.
LARGEST_TOTAL = 2**29

# What <malloc.h> calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD:
_TRIM, _PIECE = -1, -3


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
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    return bool(
        mallopt(_PIECE, LARGEST_PIECE) and mallopt(_TRIM, LARGEST_TOTAL)
    )

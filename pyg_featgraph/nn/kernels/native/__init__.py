r"""Kernels for the CPU in C++."""

from pathlib import Path

from pyg_featgraph.nn.kernels.native.library import call, library

#: The kernels that there are, each in a file of C++ and one of Python; what
#: several of them share is in C++ alone.
NAMES = frozenset(
    path.stem
    for path in Path(__file__).parent.glob('*.h')
    if path.with_suffix('.py').exists()
)

__all__ = ['NAMES', 'call', 'library']

r"""Kernels for the CPU in C++."""

from pyg_featgraph.nn.kernels.native.library import call, library

__all__ = ['call', 'library']

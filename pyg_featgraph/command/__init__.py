r"""The command :obj:`featgraph`: trainings, searches and what comes of them,
from configurations that repeat them.
"""

from pyg_featgraph.command.main import main

__all__ = ['main']

r"""The command :obj:`featgraph`: trainings, searches and what comes of them,
from configurations that repeat them.
"""

from pyg_featgraph.command.main import main
from pyg_featgraph.command.options import (
    CrossOptions,
    SchemaOptions,
    SplitOptions,
)
from pyg_featgraph.command.results import export, interactions, score
from pyg_featgraph.command.tables import TableFiles
from pyg_featgraph.command.training import search, train

__all__ = [
    'CrossOptions',
    'SchemaOptions',
    'SplitOptions',
    'TableFiles',
    'export',
    'interactions',
    'main',
    'score',
    'search',
    'train',
]

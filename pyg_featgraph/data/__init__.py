r"""From tables to field graphs: schema, encoder, table, batches, loader."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pyg_featgraph.data.batch import FieldBatch, FieldGraph
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.data.loader import FieldGraphLoader
from pyg_featgraph.data.table import FieldTable

if TYPE_CHECKING:
    from pyg_featgraph.data.encoder import FieldEncoder
    from pyg_featgraph.data.frames import to_frame
    from pyg_featgraph.data.row_files import RowFiles
    from pyg_featgraph.data.schema import Field, FieldSchema
    from pyg_featgraph.data.stored_table import StoredTable
    from pyg_featgraph.data.streams import FieldCounts

__all__ = [
    'Field',
    'FieldSchema',
    'FieldEncoder',
    'FieldInfo',
    'FieldTable',
    'StoredTable',
    'RowFiles',
    'FieldCounts',
    'FieldGraph',
    'FieldBatch',
    'FieldGraphLoader',
    'to_frame',
]

# What reads data frames is imported on first use, so that models on encoded
# tables need neither pandas nor pyarrow:
_MODULES = {
    'Field': 'schema',
    'FieldSchema': 'schema',
    'FieldEncoder': 'encoder',
    'StoredTable': 'stored_table',
    'RowFiles': 'row_files',
    'FieldCounts': 'streams',
    'to_frame': 'frames',
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

from pyg_featgraph.data.batch import FieldBatch, FieldGraph
from pyg_featgraph.data.encoder import FieldEncoder
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.data.loader import FieldGraphLoader
from pyg_featgraph.data.schema import Field, FieldSchema
from pyg_featgraph.data.table import FieldTable

__all__ = [
    'Field',
    'FieldSchema',
    'FieldEncoder',
    'FieldInfo',
    'FieldTable',
    'FieldGraph',
    'FieldBatch',
    'FieldGraphLoader',
]

r"""Modules that turn ids and values into node vectors."""

from pyg_featgraph.nn.embedding.base import NodeEmbedding, is_large
from pyg_featgraph.nn.embedding.field_embedding import FieldEmbedding
from pyg_featgraph.nn.embedding.member_scale import MemberScale
from pyg_featgraph.nn.embedding.ragged_embedding import RaggedEmbedding
from pyg_featgraph.nn.embedding.shrunk_embedding import ShrunkEmbedding

__all__ = [
    'FieldEmbedding',
    'MemberScale',
    'NodeEmbedding',
    'RaggedEmbedding',
    'ShrunkEmbedding',
    'is_large',
]

r"""What the outputs of a model mean: losses and predictions."""

from pyg_featgraph.nn.heads.base import Head, make_head
from pyg_featgraph.nn.heads.binary_head import BinaryHead
from pyg_featgraph.nn.heads.multiclass_head import MulticlassHead
from pyg_featgraph.nn.heads.poisson_head import PoissonHead
from pyg_featgraph.nn.heads.ranking_head import RankingHead
from pyg_featgraph.nn.heads.regression_head import RegressionHead

__all__ = [
    'Head',
    'BinaryHead',
    'MulticlassHead',
    'PoissonHead',
    'RankingHead',
    'RegressionHead',
    'make_head',
]

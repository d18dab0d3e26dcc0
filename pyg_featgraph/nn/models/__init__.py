r"""Models of whole rows: ``model(batch) -> logits``."""

from pyg_featgraph.nn.models.aim import AIM
from pyg_featgraph.nn.models.autoint import AutoInt
from pyg_featgraph.nn.models.deepfm import DeepFM
from pyg_featgraph.nn.models.dnn import DNN
from pyg_featgraph.nn.models.featnet import FeatNet
from pyg_featgraph.nn.models.fignn import FiGNN
from pyg_featgraph.nn.models.fives import FIVES
from pyg_featgraph.nn.models.fm import FM
from pyg_featgraph.nn.models.graphfm import GraphFM
from pyg_featgraph.nn.models.ipnn import IPNN
from pyg_featgraph.nn.models.lr import LR

__all__ = [
    'LR',
    'FM',
    'DNN',
    'DeepFM',
    'IPNN',
    'AutoInt',
    'AIM',
    'FeatNet',
    'FiGNN',
    'FIVES',
    'GraphFM',
]

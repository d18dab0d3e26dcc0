r"""Models of whole rows: ``model(batch) -> logits``."""

from pyg_featgraph.nn.models.aim import AIM
from pyg_featgraph.nn.models.autoint import AutoInt
from pyg_featgraph.nn.models.base import FieldModel
from pyg_featgraph.nn.models.deepfm import DeepFM
from pyg_featgraph.nn.models.derive import derive_interactions
from pyg_featgraph.nn.models.dnn import DNN
from pyg_featgraph.nn.models.effects import pair_effects
from pyg_featgraph.nn.models.featnet import FeatNet
from pyg_featgraph.nn.models.fignn import FiGNN
from pyg_featgraph.nn.models.fives import FIVES
from pyg_featgraph.nn.models.fm import FM
from pyg_featgraph.nn.models.graph import GraphModel
from pyg_featgraph.nn.models.graphfm import GraphFM
from pyg_featgraph.nn.models.interaction_layer import InteractionLayer
from pyg_featgraph.nn.models.ipnn import IPNN
from pyg_featgraph.nn.models.lr import LR

__all__ = [
    'FieldModel',
    'GraphModel',
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
    'InteractionLayer',
    'derive_interactions',
    'pair_effects',
]

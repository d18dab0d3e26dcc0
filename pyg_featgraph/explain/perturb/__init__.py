r"""What can be perturbed: the features of a row switched off."""

from pyg_featgraph.explain.perturb.base import Perturbation
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation
from pyg_featgraph.explain.perturb.fields import FieldPerturbation
from pyg_featgraph.explain.perturb.frame import FramePerturbation
from pyg_featgraph.explain.perturb.graph import (
    FeaturePerturbation,
    GraphPerturbation,
    NodePerturbation,
)
from pyg_featgraph.explain.perturb.image import (
    ImagePerturbation,
    grid_segments,
)
from pyg_featgraph.explain.perturb.tokens import TokenPerturbation

__all__ = [
    'FeaturePerturbation',
    'FieldPerturbation',
    'FramePerturbation',
    'GraphPerturbation',
    'ImagePerturbation',
    'ModelPerturbation',
    'NodePerturbation',
    'Perturbation',
    'TokenPerturbation',
    'grid_segments',
]

r"""Explanations of black boxes by the interactions that they use."""

from pyg_featgraph.explain.algorithm import (
    InteractionExplanation,
    MADEXExplainer,
)
from pyg_featgraph.explain.glider import (
    GlobalInteractions,
    count_interactions,
    glider,
    significant_count,
    split_agreement,
)
from pyg_featgraph.explain.local import LocalInteractions
from pyg_featgraph.explain.madex import detect_interactions, madex
from pyg_featgraph.explain.masks import (
    bernoulli_masks,
    kernel_weights,
    lime_masks,
)
from pyg_featgraph.explain.mlp import fit_mlps
from pyg_featgraph.explain.nid import (
    gradient_nid,
    input_hessian,
    nid,
    prune_redundant,
    r_precision,
)
from pyg_featgraph.explain.perturb import (
    FeaturePerturbation,
    FieldPerturbation,
    FramePerturbation,
    GraphPerturbation,
    ImagePerturbation,
    ModelPerturbation,
    NodePerturbation,
    Perturbation,
    TokenPerturbation,
    grid_segments,
)

__all__ = [
    'FeaturePerturbation',
    'FieldPerturbation',
    'FramePerturbation',
    'GlobalInteractions',
    'GraphPerturbation',
    'ImagePerturbation',
    'InteractionExplanation',
    'LocalInteractions',
    'MADEXExplainer',
    'ModelPerturbation',
    'NodePerturbation',
    'Perturbation',
    'TokenPerturbation',
    'bernoulli_masks',
    'count_interactions',
    'detect_interactions',
    'fit_mlps',
    'glider',
    'gradient_nid',
    'grid_segments',
    'input_hessian',
    'kernel_weights',
    'lime_masks',
    'madex',
    'nid',
    'prune_redundant',
    'r_precision',
    'significant_count',
    'split_agreement',
]

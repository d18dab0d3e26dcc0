r"""Files, tables and trainings on a cluster of `Ray <https://docs.ray.io>`_."""

from pyg_featgraph.ray.encoding import encode_on_ray, fit_encoder_on_ray
from pyg_featgraph.ray.training import fit_on_ray

__all__ = [
    'encode_on_ray',
    'fit_encoder_on_ray',
    'fit_on_ray',
]

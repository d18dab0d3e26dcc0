r"""The same trainings on a cluster of `Ray <https://docs.ray.io>`_."""

from pyg_featgraph.ray.training import fit_on_ray

__all__ = [
    'fit_on_ray',
]

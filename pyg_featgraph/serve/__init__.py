r"""Models where neither torch nor this package is:
:func:`~pyg_featgraph.serve.export` writes a folder,
:class:`~pyg_featgraph.serve.Scorer` scores rows with it.
"""

from typing import Any

from pyg_featgraph.serve.scorer import Scorer, ServingError

__all__ = ['Scorer', 'ServingError', 'export']


def __getattr__(name: str) -> Any:
    # The rules of entries are here as well, which are not to need torch:
    if name != 'export':
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    from pyg_featgraph.serve.exporting import export

    return export

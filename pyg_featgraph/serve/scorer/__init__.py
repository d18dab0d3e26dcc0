r"""Scores rows with a model of a folder that
:func:`pyg_featgraph.serve.export` has written.

This package needs NumPy and onnxruntime, and nothing of the one that it comes
from: it lies in each exported folder, to be imported from there.

.. code-block:: python

    import sys

    sys.path.append('exported')  # or copy the folder 'scorer' from it
    from scorer import Scorer

    scorer = Scorer('exported')
    scorer.score({'age': 31, 'city': 'Oslo', 'tags': ['a', 'b']})
"""

from .codecs import ServingError
from .scorer import Scorer

__all__ = ['Scorer', 'ServingError']

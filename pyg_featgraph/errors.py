r"""The errors of this package and the check for optional dependencies."""

from __future__ import annotations

import importlib
from types import ModuleType


class DataError(ValueError):
    r"""Input data cannot be used as it is.

    The message names the file or table, the line or row, the column and the
    offending value where they are known, and says what to do about it.
    """


def require(module: str, extra: str) -> ModuleType:
    r"""Imports an optional dependency.

    Args:
        module (str): The module to import, *e.g.*, :obj:`"matplotlib.pyplot"`.
        extra (str): The extra of this package that installs it.

    Raises:
        ImportError: One line that names the extra, if the module is absent.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"'{module.split('.')[0]}' is missing: run "
            f"pip install 'pyg-featgraph[{extra}]'"
        ) from error

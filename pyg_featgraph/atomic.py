r"""Files that appear as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    r"""Gives a temporary path next to :obj:`path` to write to, which takes
    its place in the end, or is removed if the writing fails.
    """
    path = Path(path)
    temporary = path.with_name(path.name + '.tmp')
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

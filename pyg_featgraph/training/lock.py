r"""One process at a time in a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

from pyg_featgraph.errors import DataError

try:
    import fcntl
except ImportError:  # There is none on Windows.
    fcntl = None  # type: ignore[assignment]


class DirectoryLock:
    r"""Keeps other processes, and other runs of this one, out of a directory.

    The operating system gives the lock up when the process ends, however it
    ends, so that none is ever left behind.

    Args:
        directory (pathlib.Path): The directory.
    """

    # With the process, since a child begins with what its parent has held:
    _held: ClassVar[set[tuple[int, Path]]] = set()

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._key: tuple[int, Path] | None = None
        self._file: Any = None

    def acquire(self) -> None:
        r"""Takes the lock.

        Raises:
            DataError: If it is taken, with the number of the process.
        """
        key = os.getpid(), self.directory.resolve()
        if key in self._held:
            raise self._taken(os.getpid())
        # A lock of the process rather than of the open file, which children
        # would keep, such as the workers of a loader:
        file = open(self.directory / 'run.lock', 'a+')  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            owner = file.read() or 'unknown'
            file.close()
            raise self._taken(owner) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file, self._key = file, key
        self._held.add(key)

    def release(self) -> None:
        r"""Gives the lock back, if it is held."""
        if self._key is not None:
            self._held.discard(self._key)
            self._file.close()
            self._key = self._file = None

    def _taken(self, owner: Any) -> DataError:
        return DataError(
            f"The directory '{self.directory}' is in use by process {owner}: "
            'wait for its end, or take another directory'
        )

r"""A directory that tells what was run in it and how it ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyg_featgraph
from pyg_featgraph.errors import DataError
from pyg_featgraph.files import read_json, write_json
from pyg_featgraph.training.lock import DirectoryLock

#: What runs leave in their directories. The record goes first: what is left
#: without one is nothing that anybody would read.
FILES = (
    'run.json',
    'last.ckpt',
    'best.ckpt',
    'model.safetensors',
    'interactions.json',
    'trials.json',
    'settings.json',
)


class RunRecord:
    r"""Opens the directory of a run, as a context.

    It belongs to this process until the end of the context. What was there
    before is removed, unless the run goes on. A run goes on only if nothing
    differs that its result depends on; its :obj:`result` is there if it has
    come to its end.

    Args:
        directory (str): The directory.
        fingerprint (dict): What the result depends on, as JSON-compatible
            values.
        resume (bool): Whether the run in the directory goes on, if there is
            one.
        parts (list of str, optional): Patterns of folders with parts of the
            run. (default: none)
        leads (bool, optional): Whether this process writes; others with the
            same training only look. (default: :obj:`True`)

    Raises:
        DataError: If another process uses the directory, if the run to go on
            with differs, or if its record is damaged.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        fingerprint: Mapping[str, Any],
        resume: bool,
        parts: Iterable[str] = (),
        leads: bool = True,
    ) -> None:
        self.directory = Path(directory)
        values = {'version': pyg_featgraph.__version__, **fingerprint}
        self.fingerprint = json.loads(json.dumps(values))
        self.result: dict[str, Any] | None = None
        #: Whether the run in the directory goes on.
        self.goes_on = False
        self._resume = resume
        self._parts = tuple(parts)
        self._leads = leads
        self._path = self.directory / 'run.json'
        self._lock = DirectoryLock(self.directory)

    def __enter__(self) -> RunRecord:
        if not self._leads:
            # All processes go on, or none:
            if self._resume and self._path.exists():
                self._take_up()
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            if self._resume and self._path.exists():
                self._take_up()
            else:
                self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()

    def finish(self, result: Mapping[str, Any]) -> None:
        r"""Writes down how the run has ended.

        Args:
            result (dict): JSON-compatible values.
        """
        self.result = dict(result)
        if self._leads:
            self._write()

    def _begin(self) -> None:
        folders = [self.directory]
        for pattern in self._parts:
            folders += self.directory.glob(pattern)
        for folder in folders:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        self._write()

    def _take_up(self) -> None:
        values = read_json(self._path, 'record of a run')
        before, now = values['fingerprint'], self.fingerprint
        changes = [
            f"'{name}' has changed from {str(before.get(name))[:60]} to "
            f'{str(now.get(name))[:60]}'
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        if changes:
            raise DataError(
                f"The run in '{self.directory}' cannot go on: "
                f'{"; ".join(changes)}. Set it back, or start again with '
                'resume=False'
            )
        self.result = values['result']
        self.goes_on = True

    def _write(self) -> None:
        values = {'fingerprint': self.fingerprint, 'result': self.result}
        write_json(self._path, values)

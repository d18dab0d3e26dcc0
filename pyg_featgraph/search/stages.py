r"""What searches of several stages share: where each keeps its state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyg_featgraph.errors import DataError
from pyg_featgraph.files import replacing


def open_directory(
    directory: Path,
    stages: Iterable[str],
    options: Mapping[str, Any],
    resume: bool,
) -> None:
    r"""Prepares the directory of a search, in which each stage has a folder.

    A new search forgets the checkpoints of all stages, so that a later resume
    does not take up one of a search before it.

    Args:
        directory (pathlib.Path): The directory.
        stages (list of str): The folders of the stages.
        options (dict): What the result depends on, as JSON-compatible values.
        resume (bool): Whether a search goes on.

    Raises:
        DataError: If the search to go on with had other options.
    """
    path = directory / 'search.json'
    if resume and path.exists():
        before = json.loads(path.read_text(encoding='utf-8'))
        now = json.loads(json.dumps(options))
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                change = ''.join(
                    f' {word} {str(values.get(name))[:60]}'
                    for word, values in (('from', before), ('to', now))
                )
                raise DataError(
                    f"The search in '{directory}' cannot be resumed: '{name}' "
                    f'has changed{change}. Set it back, or start again with '
                    'resume=False'
                )
        return
    directory.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        (directory / stage / 'last.ckpt').unlink(missing_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(dict(options)), encoding='utf-8')

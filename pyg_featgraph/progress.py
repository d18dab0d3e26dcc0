r"""How far something is: bars on a terminal, lines anywhere else.

Both go to the standard error, so that what a program prints stays clean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None, *, enabled: bool = True, **kwargs: Any
) -> Any:
    r"""A bar of :obj:`tqdm` over what there is to do. Nothing is shown if the
    standard error is no terminal, where bars would fill files with carriage
    returns.

    Args:
        items (iterable, optional): What to go through. (default: the bar is
            moved by its :meth:`update`)
        enabled (bool, optional): Whether to show a bar at all.
            (default: :obj:`True`)
        **kwargs (optional): Further arguments of :obj:`tqdm`.
    """
    # With `None` it looks whether there is a terminal:
    options: dict[str, Any] = {'dynamic_ncols': True, **kwargs}
    return tqdm(items, disable=None if enabled else True, **options)


def say(line: str) -> None:
    r"""Writes a line above the bars, or where they would be."""
    tqdm.write(line, file=sys.stderr)

r"""The entry point of the command."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from pyg_featgraph.errors import require
from pyg_featgraph.progress import say

USAGE = """usage: featgraph COMMAND [OPTIONS]

Field graphs with learnable edges for tabular and click-through-rate data.

commands:
  train         train a model on a table
  search        search the interactions of a table with FIVES or AIM
  interactions  rank the interactions of a model
  export        write a model for serving
  score         write what a model predicts for a table

'featgraph COMMAND --help' tells the options of each, and
'featgraph train --model.help GraphFM' those of a model."""


def main(args: Sequence[str] | None = None) -> int:
    r"""Runs a command.

    What a user can put right ends it with one line on the standard error and
    the status 2.

    Args:
        args (list of str, optional): The arguments. (default: those of the
            process)

    Returns:
        int: The exit status.
    """
    args = list(sys.argv[1:] if args is None else args)
    name = args[0] if args else '--help'
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning  # type: ignore[assignment]
        return _guarded(name, args[1:])


def _guarded(name: str, args: list[str]) -> int:
    try:
        if name in ('-h', '--help'):
            print(USAGE)
        else:
            _run(name, args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough. Nothing may be flushed at the end either:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except FloatingPointError as error:  # The numbers of a training.
        return _fail(name, error, 1)
    except (argparse.ArgumentError, ImportError, OSError, ValueError) as error:
        return _fail(name, error, 2)
    return 0


def _run(name: str, args: list[str]) -> None:
    require('jsonargparse', 'cli')
    from pyg_featgraph.command.parsers import parse
    from pyg_featgraph.command.results import COMMANDS

    if name not in COMMANDS:
        raise ValueError(
            f"there is no command '{name}', but {', '.join(COMMANDS)}"
        )
    COMMANDS[name](**parse(name, COMMANDS[name], args))


def _fail(name: str, error: BaseException, status: int) -> int:
    line = ' '.join(str(error).split())
    say(f'featgraph {name}: error: {line}')
    return status


def _show_warning(message: Any, category: type, *args: Any) -> None:
    if issubclass(category, UserWarning):
        say(f'featgraph: warning: {" ".join(str(message).split())}')

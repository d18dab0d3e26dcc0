r"""From command lines and configurations to calls."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyg_featgraph.command import training
from pyg_featgraph.errors import DataError, require
from pyg_featgraph.search.stages import SearchOptions

#: The commands that have a configuration.
CONFIGURED: dict[str, Callable[..., None]] = {
    'train': training.train,
    'search': training.search,
}
#: What is on or off.
SWITCHES = {
    'predictions': 'Whether to write what the model predicts for the test '
    'rows.',
    'resume': 'Whether to go on with the run that is found in the folder.',
}
#: What a trainer has here unless it is told otherwise.
TRAINER_DEFAULTS = {
    'devices': 1,
    'enable_model_summary': False,
    'logger': False,
    'num_sanity_val_steps': 0,
}


def make_parser(name: str, command: Callable[..., None]) -> Any:
    r"""The parser of a command.

    Args:
        name (str): The name of the command.
        command (callable): What it calls.
    """
    jsonargparse = require('jsonargparse', 'cli')

    class Parser(jsonargparse.ArgumentParser):  # type: ignore[name-defined]
        def format_help(self) -> str:
            # Docstrings are written for a page, not for a terminal:
            text: str = super().format_help()
            text = re.sub(r':\w+:`~?([^`]*)`', r'\1', text)
            return re.sub(r'`([^`<]*) <[^`]*>`_', r'\1', text)

    # Of searches there are two, told apart by the class of their options:
    jsonargparse.set_parsing_settings(subclasses_enabled=[SearchOptions])
    parser = Parser(
        prog=f'featgraph {name}',
        description=(inspect.getdoc(command) or '').split('\n\n')[0],
        exit_on_error=False,
        # What is nearly an option is none:
        allow_abbrev=False,
    )
    if name not in CONFIGURED:
        skip = {'output'} if name == 'score' else set()
        parser.add_function_arguments(
            command, as_group=False, as_positional=True, skip=skip
        )
        if name == 'score':
            parser.add_argument(
                '-o',
                '--output',
                type=str | None,
                help='The file to write, CSV or Parquet. (default: text on '
                'the standard output)',
            )
        return parser
    parser.add_argument(
        '--config', action='config', help='A file with a configuration.'
    )
    parser.add_function_arguments(
        command, as_group=False, skip={'config', 'trainer', *SWITCHES}
    )
    for switch, text in SWITCHES.items():
        parser.add_argument(
            f'--{switch}', action=jsonargparse.ActionYesNo, help=text
        )
    require('lightning.pytorch', 'train')
    from lightning.pytorch import Trainer

    parser.add_class_arguments(
        Trainer, 'trainer', skip={'callbacks', 'plugins'}, instantiate=False
    )
    parser.set_defaults(
        {f'trainer.{k}': v for k, v in TRAINER_DEFAULTS.items()}
    )
    return parser


def parse(
    name: str, command: Callable[..., None], args: list[str]
) -> dict[str, Any]:
    r"""The arguments that a command line says a command is called with.

    Args:
        name (str): The name of the command.
        command (callable): What it calls.
        args (list of str): What follows it.
    """
    parser = make_parser(name, command)
    try:
        values = parser.parse_args(args)
    except require('jsonargparse', 'cli').ArgumentError as error:
        raise DataError(_plain(str(error))) from error
    return _arguments(name, parser, values)


def read_config(path: Path) -> Any:
    r"""What the configuration of a result holds.

    Args:
        path (pathlib.Path): The file.

    Raises:
        DataError: If it is none.
    """
    jsonargparse = require('jsonargparse', 'cli')
    if not path.exists():
        raise DataError(f"There is no configuration '{path}'")
    is_search = re.search('^search:', path.read_text('utf-8'), re.MULTILINE)
    name = 'search' if is_search else 'train'
    parser = make_parser(name, CONFIGURED[name])
    try:
        return parser.instantiate(parser.parse_path(str(path)))
    except jsonargparse.ArgumentError as error:
        raise DataError(f"'{path}': {_plain(str(error))}") from error


def _plain(message: str) -> str:
    # Of all that is said of types, what a user has to know:
    key = re.search(r'Parser key "([^"]*)"', message)
    name = f"'{key[1]}'" if key else 'the configuration'
    option = re.search(r"Option '([^']*)' is not accepted", message)
    if option:
        return f"{name} has no option '{option[1]}'"
    unknown = re.search(r'Expected a dot import path string: (\S+)', message)
    if unknown:
        return f"{name}: there is no class '{unknown[1]}'"
    message = re.sub(r'Type \S+ expects a function or a .*?: ', '', message)
    return re.sub(r'\.? Got value: Namespace\(.*', '', message, flags=re.DOTALL)


def _arguments(name: str, parser: Any, values: Any) -> dict[str, Any]:
    out: dict[str, Any] = vars(parser.instantiate(values))
    out.pop('config', None)
    if name in CONFIGURED:
        # A result is repeated from its beginning:
        values = values.clone()
        values.config, values.resume = None, False
        del values['config']
        out['config'] = parser.dump(values, skip_unset=False)
        out['trainer'] = {
            k: v for k, v in vars(out['trainer']).items() if v is not None
        }
    return out

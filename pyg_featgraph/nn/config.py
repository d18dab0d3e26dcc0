r"""Options of modules, which are told once: in the constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from typing import Any, ClassVar, Self

from pyg_featgraph.errors import DataError
from pyg_featgraph.interactions import Interaction, InteractionSet

#: What is wrong with the value of an option, or nothing.
Rule = Callable[[Any], str | None]


def at_least(low: float, kind: type = int) -> Rule:
    r"""A number that is not below a limit, or a list of them.

    Args:
        low (float): The limit.
        kind (type, optional): The type of number. (default: :obj:`int`)
    """

    def rule(value: Any) -> str | None:
        values = value if isinstance(value, list | tuple) else [value]
        number = Integral if kind is int else Real
        for x in values:
            if (
                isinstance(x, bool)
                or not isinstance(x, number)
                or not float(x) >= low
            ):
                name = 'a whole number' if kind is int else 'a number'
                return f'must be {name} of at least {low}'
        return None

    return rule


def between(low: float, high: float) -> Rule:
    r"""A number in :math:`[low, high)`."""

    def rule(value: Any) -> str | None:
        if isinstance(value, Real) and low <= float(value) < high:
            return None
        return f'must be at least {low} and below {high}'

    return rule


def one_of(*names: str) -> Rule:
    r"""One of some names."""

    def rule(value: Any) -> str | None:
        if value in names:
            return None
        choices = ', '.join(f"'{name}'" for name in names)
        return f'must be one of {choices}'

    return rule


def some_of(*names: str) -> Rule:
    r"""A list of some names, at least one."""

    def rule(value: Any) -> str | None:
        if not isinstance(value, str) and value and {*value} <= {*names}:
            return None
        choices = ', '.join(f"'{name}'" for name in names)
        return f'must be a list of {choices}'

    return rule


def instance_of(cls: type) -> Rule:
    r"""An object of a class."""

    def rule(value: Any) -> str | None:
        return (
            None
            if isinstance(value, cls)
            else f'must be of the class {cls.__name__}'
        )

    return rule


def split_heads(hidden_channels: int, heads: int) -> int:
    r"""The channels of each head.

    Raises:
        ValueError: If they are not the same for all.
    """
    if hidden_channels % heads != 0:
        raise ValueError(
            "'hidden_channels' must be a multiple of 'heads' (got "
            f'{hidden_channels} and {heads})'
        )
    return hidden_channels // heads


class Configurable:
    r"""Base class of modules that can be built again from their options.

    The arguments of the constructor are captured when it is called, so that a
    subclass has nothing to hand on: :obj:`config` holds all of them, with
    defaults filled in. They are checked by :obj:`rules`, those of a subclass
    coming on top of those of its bases; :obj:`None` always passes where it is
    the default.

    A class is registered by its qualified name, under which it is found again
    in a file; a class of your own is so as soon as its module is imported.
    """

    #: What the values of options have to be.
    rules: ClassVar[Mapping[str, Rule]] = {}
    #: Arguments of the constructor that are no options.
    _no_options: ClassVar[tuple[str, ...]] = ()
    _registry: ClassVar[dict[str, type[Configurable]]] = {}

    config: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Configurable._registry[qualified_name(cls)] = cls

    # Before the constructor of the subclass, so that it can rely on values:
    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        # Of the constructor that runs, not of this method:
        signature = inspect.signature(cls.__init__.__get__(self))
        # A copy or a pickle has no arguments; it brings its own `config`:
        bound = signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        config: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                config |= value
            # A class without a constructor has that of `torch.nn.Module`:
            elif (
                kind is not inspect.Parameter.VAR_POSITIONAL
                and name not in cls._no_options
            ):
                config[name] = value
        defaults = {n: p.default for n, p in signature.parameters.items()}
        for name, rule in cls._all_rules().items():
            if name not in config or config[name] is defaults.get(name):
                continue
            error = rule(config[name])
            if error is not None:
                raise ValueError(
                    f"{cls.__name__}: '{name}' {error} (got {config[name]!r})"
                )
        # Not by `setattr`, for which `torch.nn.Module` is not ready yet:
        self.__dict__['config'] = config
        return self

    @classmethod
    def _all_rules(cls) -> dict[str, Rule]:
        out: dict[str, Rule] = {}
        for base in reversed(cls.__mro__):
            out |= vars(base).get('rules', {})
        return out


def qualified_name(cls: type) -> str:
    r"""The name under which a class is registered."""
    return f'{cls.__module__}.{cls.__qualname__}'


def find_class(name: Any) -> type[Configurable]:
    r"""The class with a qualified name.

    Raises:
        DataError: If no such class has been imported.
    """
    cls = Configurable._registry.get(name)
    if cls is None:
        raise DataError(
            f'There is no class {name!r}: if it is one of your own, import '
            'the module that defines it first'
        )
    return cls


def encode(value: Any) -> Any:
    r"""Options as JSON-compatible values: modules become their class and
    options, interactions their entries.
    """
    if isinstance(value, Configurable):
        return {
            'class': qualified_name(type(value)),
            'config': encode(value.config),
        }
    if isinstance(value, InteractionSet):
        return {'interactions': [asdict(x) for x in value]}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [encode(x) for x in value]
    # Those of NumPy are none of JSON's:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    return value


def decode(value: Any) -> Any:
    r"""The inverse of :func:`encode`; tuples have become lists."""
    if isinstance(value, list):
        return [decode(x) for x in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {'class', 'config'}:
        return find_class(value['class'])(**decode(value['config']))
    if value.keys() == {'interactions'}:
        return InteractionSet(Interaction(**x) for x in value['interactions'])
    return {k: decode(v) for k, v in value.items()}

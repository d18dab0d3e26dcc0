"""What a contestant is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pyg_featgraph.interactions import InteractionSet


class Outcome(NamedTuple):
    """What a training has led to."""

    #: Predictions for validation and test rows, as `tasks.metrics` has them.
    valid: Any
    test: Any
    #: Weights of nets and linear models, values in the leaves of trees.
    parameters: int
    #: The interactions that it has found, if it tells.
    found: InteractionSet | None = None


@dataclass(frozen=True)
class Contestant:
    """Something that learns a table.

    Args:
        run: A function of table, settings and seed that returns an outcome. It
            may look at validation rows to know when to stop.
        defaults: The settings without tuning.
        space: The ranges in which settings are searched.
        tune: A search of its own, a function of table, number of trials, seed
            and a folder for what has been tried that returns settings and
            their loss on the validation rows. It is taken up where it was
            stopped. (default: one in `space`)
    """

    run: Callable[..., Outcome]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: Mapping[str, BaseDistribution] = field(default_factory=dict)
    tune: Callable[..., tuple[dict[str, Any], float]] | None = None


def log(low, high):
    return FloatDistribution(low, high, log=True)


def uniform(low, high):
    return FloatDistribution(low, high)


def integer(low, high, log=False):
    return IntDistribution(low, high, log=log)


def choice(*values):
    return CategoricalDistribution(values)

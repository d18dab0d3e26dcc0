r"""Where a search of settings looks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from pyg_featgraph.errors import require
from pyg_featgraph.training.options import TrainingOptions

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

#: Choices, or a distribution of Optuna, by the name of a setting.
Space = Mapping[str, 'Sequence[Any] | BaseDistribution']


def default_space(model: Callable[..., Any]) -> dict[str, Any]:
    r"""The settings that matter most, of the training and of those options
    that a model has.

    Args:
        model (callable): The class of a model, or a partial one, whose
            arguments stay as they are.
    """
    require('optuna', 'tune')
    from optuna.distributions import FloatDistribution, IntDistribution

    of_training = {
        'lr': FloatDistribution(3e-4, 1e-2, log=True),
        'weight_decay': FloatDistribution(1e-4, 1.0, log=True),
        'embedding_l2': FloatDistribution(0.1, 100.0, log=True),
        'ema_decay': [None, 0.999],
    }
    of_model = {
        'embedding_dim': [4, 8, 16, 32],
        'dropout': FloatDistribution(0.0, 0.5),
        'embedding_dropout': FloatDistribution(0.0, 0.3),
        'field_dropout': FloatDistribution(0.0, 0.3),
        'num_layers': IntDistribution(1, 3),
        'max_order': [2, 3],
        'members': [1, 8],
    }
    options = _options(model)
    space = {k: x for k, x in of_model.items() if k in options}
    width = options.get('hidden_channels')
    if isinstance(width, int):
        space['hidden_channels'] = [32, 64, 128]
    elif width:
        space['hidden_channels'] = [[128], [256, 128], [256, 256], [512, 256]]
    return {**of_training, **space}


def split_settings(
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    r"""Parts settings into those of the model and those of
    :func:`~pyg_featgraph.training.fit`, by their names.

    Args:
        settings (dict): The settings.
    """
    from lightning.pytorch import Trainer

    known = {x.name for x in fields(TrainingOptions)}
    known |= {*inspect.signature(Trainer.__init__).parameters}
    of_fit = {k: v for k, v in settings.items() if k in known}
    return {k: v for k, v in settings.items() if k not in known}, of_fit


class SettingsSpace:
    r"""A space as Optuna has it: choices may be anything that JSON holds, such
    as lists, and are drawn by their numbers.

    Args:
        space (dict): Choices, or a distribution of Optuna, by the name of a
            setting.

    Raises:
        ValueError: If it is empty.
    """

    def __init__(self, space: Space) -> None:
        from optuna import distributions

        if not space:
            raise ValueError("'space' has no settings")
        base = distributions.BaseDistribution
        self.choices = {
            name: list(x)
            for name, x in space.items()
            if not isinstance(x, base)
        }
        self.distributions: dict[str, BaseDistribution] = {}
        for name, x in space.items():
            if isinstance(x, base):
                self.distributions[name] = x
            else:
                numbers = range(len(self.choices[name]))
                self.distributions[name] = (
                    distributions.CategoricalDistribution([*numbers])
                )

    def decode(self, params: Mapping[str, Any]) -> dict[str, Any]:
        r"""The settings of the parameters of a trial."""
        return {
            name: self.choices[name][value] if name in self.choices else value
            for name, value in params.items()
        }

    def to_dict(self) -> dict[str, Any]:
        r"""The space as JSON-compatible values."""
        from optuna.distributions import distribution_to_json

        return {
            name: self.choices.get(name) or distribution_to_json(x)
            for name, x in self.distributions.items()
        }


def _options(model: Callable[..., Any]) -> dict[str, Any]:
    bound = model.keywords if isinstance(model, partial) else {}
    return {
        name: x.default
        for name, x in inspect.signature(model).parameters.items()
        if name not in bound
    }

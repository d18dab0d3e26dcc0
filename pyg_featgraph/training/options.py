r"""The options of a training, told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

if TYPE_CHECKING:
    from torchmetrics import Metric

T = TypeVar('T', bound='TrainingOptions')


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    r"""What a training depends on beside the model, the data and the
    arguments of :class:`lightning.pytorch.Trainer`.

    Args:
        batch_size (int, optional): The number of rows of a training batch, of
            each process. (default: :obj:`1024`)
        lr (float, optional): The learning rate. (default: :obj:`1e-3`)
        weight_decay (float, optional): The L2 penalty of all parameters
            without sparse gradients. (default: :obj:`0`)
        architecture_lr (float, optional): If given, the architecture
            parameters of the model are learned with this rate on validation
            rows, in turns with all others on training rows (Algorithm 1 of
            FIVES): what an edge is worth shows in rows that the model has not
            learned by heart. A step takes about twice as long, and the
            validation metrics are no longer those of unseen rows.
            (default: :obj:`None`)
        optimizer (str or callable, optional): The optimizer, by its name in
            :mod:`torch.optim`. Tables with sparse gradients have
            :class:`torch.optim.SparseAdam` anyway. (default: :obj:`"Adam"`)
        optimizer_options (dict, optional): Its further arguments.
            (default: none)
        scheduler (str or callable, optional): A schedule of the learning
            rate, by its name in :mod:`torch.optim.lr_scheduler`.
            (default: :obj:`None`)
        scheduler_options (dict, optional): Its arguments. (default: none)
        scheduler_interval (str, optional): Whether it goes on after each
            :obj:`"epoch"` or each :obj:`"step"`. (default: :obj:`"epoch"`)
        loss (callable, optional): A function of logits and labels that
            returns their mean loss. (default: :meth:`model.loss`, and the log
            loss of validation and test rows)
        metrics (dict, optional): Metrics of :obj:`torchmetrics` that are
            reported beside :obj:`loss` and :obj:`auc`, by name. They see
            probabilities. (default: none)
        monitor (str, optional): The figure that decides which epoch is the
            best, *e.g.*, :obj:`"valid_auc"`; any that is logged.
            (default: :obj:`"valid_loss"`)
        mode (str, optional): Whether its :obj:`"min"` or :obj:`"max"` is best.
            (default: :obj:`"min"` of what ends in :obj:`loss`)
        patience (int, optional): The number of epochs without improvement
            after which the training ends. With :obj:`None` all epochs are run,
            and the last one is kept instead of the best one.
            (default: :obj:`2`)
        seed (int, optional): The seed of the order of the rows and of
            dropout. (default: :obj:`0`)
        save_steps (int, optional): The state is saved after so many steps,
            and after each epoch. (default: :obj:`None`)
        save_seconds (float, optional): The state is saved after so many
            seconds. (default: :obj:`300`)
    """

    batch_size: int = 1024
    lr: float = 1e-3
    weight_decay: float = 0.0
    architecture_lr: float | None = None
    optimizer: str | Callable[..., Optimizer] = 'Adam'
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str | Callable[..., LRScheduler] | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler_interval: str = 'epoch'
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    monitor: str = 'valid_loss'
    mode: str | None = None
    patience: int | None = 2
    seed: int = 0
    # What does not change the result is not compared:
    save_steps: int | None = field(default=None, compare=False)
    save_seconds: float | None = field(default=300.0, compare=False)

    def __post_init__(self) -> None:
        self._check_positive('batch_size', 'patience', 'save_steps')
        self._check_choice('scheduler_interval', 'epoch', 'step')
        if self.mode is None:
            mode = 'min' if self.monitor.endswith('loss') else 'max'
            object.__setattr__(self, 'mode', mode)
        self._check_choice('mode', 'min', 'max')
        for name in ('lr', 'weight_decay', 'architecture_lr', 'save_seconds'):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"'{name}' must not be negative (got {value})")

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"'{name}' must be positive (got {value})")

    def _check_choice(self, name: str, *choices: Any) -> None:
        value = getattr(self, name)
        if value not in choices:
            known = ' or '.join(repr(choice) for choice in choices)
            raise ValueError(f"'{name}' must be {known} (got {value!r})")

    def to_dict(self) -> dict[str, Any]:
        r"""The options that decide the result, as JSON-compatible values."""
        return {
            x.name: describe(getattr(self, x.name))
            for x in fields(self)
            if x.compare
        }


def split_options(
    options: T, changes: Mapping[str, Any]
) -> tuple[T, dict[str, Any]]:
    r"""Replaces the options that are named, and returns what is left, which
    belongs to a :class:`lightning.pytorch.Trainer`.
    """
    names = {x.name for x in fields(options)}
    own = {k: v for k, v in changes.items() if k in names}
    if 'monitor' in own:
        own.setdefault('mode', None)
    rest = {k: v for k, v in changes.items() if k not in names}
    return replace(options, **own), rest


def describe(value: Any) -> Any:
    r"""A value as JSON can hold it: objects by what they say of themselves."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(x) for x in value]
    if isinstance(value, partial):
        return [
            describe(value.func),
            *map(describe, (value.args, value.keywords)),
        ]
    if hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    # The address in the memory is another one each time:
    return repr(value).split(' object at ')[0]

r"""The optimizer and the schedule that options ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyg_featgraph.optim import JointOptimizer
from pyg_featgraph.training.options import TrainingOptions


def make_optimizer(
    model: Module,
    parameters: Sequence[Parameter],
    options: TrainingOptions,
    *others: Optimizer,
) -> Optimizer:
    r"""The optimizer of some parameters of a model: the one of the options,
    joined by :class:`torch.optim.SparseAdam` for those with sparse gradients,
    and by others.
    """
    sparse = {
        id(p)
        for module in model.modules()
        if getattr(module, 'sparse', False)
        for p in module.parameters(recurse=False)
    }
    tables = [p for p in parameters if id(p) in sparse]
    dense = [p for p in parameters if id(p) not in sparse]
    parts = list(others)
    if dense:
        make = _named(torch.optim, 'optimizer', options.optimizer)
        kwargs = {'lr': options.lr, **options.optimizer_options}
        if options.weight_decay:
            kwargs['weight_decay'] = options.weight_decay
        parts.append(make(dense, **kwargs))
    if tables:
        parts.append(torch.optim.SparseAdam(tables, lr=options.lr))
    return parts[0] if len(parts) == 1 else JointOptimizer(parts)


def make_scheduler(
    optimizer: Optimizer, options: TrainingOptions
) -> LRScheduler:
    r"""The schedule of an optimizer."""
    schedulers = torch.optim.lr_scheduler
    make = _named(schedulers, 'scheduler', options.scheduler)
    kwargs = dict(options.scheduler_options)
    if make is schedulers.ReduceLROnPlateau:
        kwargs.setdefault('mode', options.mode)
    scheduler: LRScheduler = make(optimizer, **kwargs)
    return scheduler


def _named(module: Any, kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not hasattr(module, value):
        raise ValueError(f"{module.__name__} has no {kind} '{value}'")
    return getattr(module, value)

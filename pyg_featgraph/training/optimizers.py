r"""The optimizer and the schedule that options ask for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch.nn import Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyg_featgraph.nn import FieldModel, FirstOrder
from pyg_featgraph.optim import JointOptimizer, RowWiseAdagrad
from pyg_featgraph.training.options import TrainingOptions
from pyg_featgraph.training.penalty import TABLES, is_sparse

#: Optimizers whose step can be one operator, and what asks for another form.
FUSED = (
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.SGD,
    torch.optim.Adagrad,
)
NOT_FUSED = {'fused', 'foreach', 'differentiable'}


def make_optimizer(
    model: Module,
    parameters: Sequence[Parameter],
    options: TrainingOptions,
    *others: Optimizer,
) -> Optimizer:
    r"""The optimizer of some parameters of a model: the one of the options,
    joined by :class:`~pyg_featgraph.optim.RowWiseAdagrad` for those with sparse
    gradients, and by others.
    """
    dense, tables = parameter_groups(model, parameters, options)
    lr = cast(float, options.lr)
    parts = list(others)
    if dense:
        make = _named(torch.optim, 'optimizer', options.optimizer)
        kwargs = {'lr': lr, **options.optimizer_options}
        on_cpu = all(p.device.type == 'cpu' for p in parameters)
        fused = make in FUSED and on_cpu and not NOT_FUSED & kwargs.keys()
        if fused:
            # One pass over a table instead of a dozen; on a GPU torch takes
            # all parameters at once anyway.
            kwargs['fused'] = True
        parts.append(make(dense, **kwargs))
        if fused:
            # Gradients of mixed precision are scaled back before they are
            # clipped, and not in the step:
            cast(Any, parts[-1])._step_supports_amp_scaling = False
    if tables:
        parts.append(RowWiseAdagrad(tables, lr=lr))
    return parts[0] if len(parts) == 1 else JointOptimizer(parts)


def parameter_groups(
    model: Module, parameters: Sequence[Parameter], options: TrainingOptions
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    r"""Groups of parameters that have a learning rate and a decay in common:
    those with dense gradients, and those with sparse ones, which have no decay.
    """
    wanted = {id(p) for p in parameters}
    spared = {id(p) for p in _architecture(model)}
    # The fields of a row move together, so each of many needs to move less:
    linear = {
        id(p): options.linear_scale / module.table.info.num_fields
        for module in model.modules()
        if isinstance(module, FirstOrder) and options.linear_scale is not None
        for p in module.parameters()
    }
    groups: dict[tuple[bool, float, float], list[Parameter]] = {}
    for name, p in model.named_parameters():
        if id(p) not in wanted:
            continue
        module = model.get_submodule(name.rpartition('.')[0])
        has_rows = is_sparse(module)
        decays = (
            not isinstance(module, TABLES)
            and id(p) not in spared
            and _is_matrix(f'{type(module).__name__}.{name}', p)
        )
        scale = linear.get(id(p), 1.0)
        if has_rows:
            scale *= options.sparse_scale
        key = (has_rows, scale, options.weight_decay if decays else 0.0)
        groups.setdefault(key, []).append(p)
    dense, tables = [], []
    for (has_rows, scale, decay), members in groups.items():
        group = {'params': members, 'lr': scale * cast(float, options.lr)}
        if has_rows:
            tables.append(group)
        else:
            dense.append({**group, 'weight_decay': decay})
    return dense, tables


def make_scheduler(
    optimizer: Optimizer, options: TrainingOptions, num_steps: float
) -> LRScheduler:
    r"""The schedule of an optimizer.

    Args:
        optimizer (torch.optim.Optimizer): The optimizer.
        options (TrainingOptions): The options.
        num_steps (int): The number of steps of the whole training, or
            infinity.

    Raises:
        ValueError: If the schedule depends on a number that is not known.
    """
    schedulers = torch.optim.lr_scheduler
    if options.scheduler in (None, 'cosine'):
        warmup, falls = options.warmup, options.scheduler is not None
        if (falls or warmup < 1) and not 0 < num_steps < math.inf:
            raise ValueError(
                "scheduler='cosine', and 'warmup' as a share, need to know the "
                'number of steps: set max_epochs or max_steps'
            )
        if warmup < 1:
            warmup = round(warmup * num_steps)
        last = num_steps if falls else None
        factor = partial(rate_factor, warmup=warmup, last=last)
        return schedulers.LambdaLR(optimizer, factor)
    make = _named(schedulers, 'scheduler', options.scheduler)
    kwargs = dict(options.scheduler_options)
    if make is schedulers.ReduceLROnPlateau:
        kwargs.setdefault('mode', options.mode)
    scheduler: LRScheduler = make(optimizer, **kwargs)
    return scheduler


def rate_factor(step: int, warmup: float, last: float | None) -> float:
    r"""What the learning rate is multiplied with in a step: it rises linearly,
    reaches one after the warm-up, and falls as a cosine to zero, if it is told
    after how many steps.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if last is None:
        return 1.0
    share = min((step - warmup) / max(last - warmup, 1), 1.0)
    return 0.5 * (1 + math.cos(math.pi * share))


def _architecture(model: Module) -> list[Parameter]:
    if isinstance(model, FieldModel):
        return model.architecture_parameters()
    return []


def _is_matrix(name: str, p: Parameter) -> bool:
    # Those of several fields or members have a dimension more:
    return p.dim() > 1 and not any(
        part in name.lower() for part in ('bias', 'norm', 'scale')
    )


def _named(module: Any, kind: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not hasattr(module, value):
        raise ValueError(f"{module.__name__} has no {kind} '{value}'")
    return getattr(module, value)

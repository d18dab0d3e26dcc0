r"""What the rows of each class count in training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def class_weights(
    chosen: str | Mapping[int, float],
    num_classes: int,
    y: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    r"""The weight of each class, with shape :math:`(C)`.

    Args:
        chosen (str or dict): The weights by the numbers of the classes, one
            where nothing is told; or :obj:`"balanced"`: so that all classes
            that there are have the same total, and rows a mean weight of one,
            as in scikit-learn.
        num_classes (int): The number :math:`C` of classes.
        y (torch.Tensor): The classes of the training rows, with shape
            :math:`(R)`.
        weight (torch.Tensor, optional): Their weights, with shape
            :math:`(R)`. (default: all are alike)

    Raises:
        ValueError: If a class or a weight is none that there can be.
    """
    if chosen == 'balanced':
        rows = torch.ones_like(y) if weight is None else weight
        total = torch.zeros(num_classes, dtype=torch.double)
        total.index_add_(0, y.long().cpu(), rows.double().cpu())
        exists = total > 0
        out = total.sum() / (exists.sum() * total)
        return torch.where(exists, out, 0.0)
    out = torch.ones(num_classes, dtype=torch.double)
    if not isinstance(chosen, Mapping):
        raise ValueError(
            "'class_weight' must be 'balanced' or the weights by classes (got "
            f'{chosen!r})'
        )
    for c, value in chosen.items():
        if c not in range(num_classes) or not 0 <= value < float('inf'):
            raise ValueError(
                f"'class_weight': class {c!r} cannot have the weight {value!r} "
                f'(classes are 0 to {num_classes - 1}, weights not negative)'
            )
        out[int(c)] = value
    return out

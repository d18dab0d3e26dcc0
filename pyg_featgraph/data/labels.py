r"""Labels of two classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pyg_featgraph.errors import DataError


def wrong_labels(y: Tensor) -> Tensor:
    r"""The positions of entries that are neither 0 nor 1.

    Args:
        y (torch.Tensor): The labels, with shape :math:`(R)`.
    """
    return ((y != 0) & (y != 1)).nonzero().flatten()


def check_labels(
    y: Tensor,
    where: str = "'y'",
    rows: Sequence[Any] | None = None,
    both: bool = False,
) -> None:
    r"""Checks that labels are 0 or 1.

    Args:
        y (torch.Tensor): The labels, with shape :math:`(R)`.
        where (str, optional): What holds them. (default: :obj:`"'y'"`)
        rows (list, optional): The names of the rows. (default: their
            positions)
        both (bool, optional): Whether each class has to occur, as training
            needs it. (default: :obj:`False`)

    Raises:
        DataError: If a label is something else, or a class does not occur.
    """
    if y.dim() != 1:
        raise DataError(
            f'{where}: labels must have shape [num_rows] (got {list(y.size())})'
        )
    wrong = wrong_labels(y)
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f'{where}, row {at if rows is None else rows[at]!r}: '
            f'{y[at].item():g} is not a label, 0 or 1 ({len(wrong)} such of '
            f'{len(y)} rows). Number the two classes so, and drop rows '
            'without a label'
        )
    if both and not (y.any() and not y.all()):
        raise DataError(
            f'{where}: all {len(y)} labels are {int(y.any())}; training needs '
            'both classes'
        )

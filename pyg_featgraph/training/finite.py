r"""What is said of numbers that are infinite or not numbers at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pyg_featgraph.data import FieldBatch

#: How many rows or names a message spells out.
SHOWN = 8


class NonFiniteError(FloatingPointError):
    r"""A training has come to numbers that are infinite or no numbers.

    Args:
        message (str): Where, and what to do about it.
        rows (torch.Tensor, optional): The row numbers of the batch.
            (default: :obj:`None`)
        column (str, optional): The column that holds such a value, if one
            does. (default: :obj:`None`)
    """

    def __init__(
        self,
        message: str,
        rows: Tensor | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(message)
        self.rows = rows
        self.column = column


def batch_error(
    what: str,
    batch: FieldBatch,
    rows: Tensor | None,
    is_wrong: Tensor | None = None,
) -> NonFiniteError:
    r"""The error of a batch, with the column that is to blame.

    Args:
        what (str): What is not finite, and when.
        batch (FieldBatch): The batch.
        rows (torch.Tensor, optional): Its row numbers, if they are known.
        is_wrong (torch.Tensor, optional): In which of its rows, if not in all.
            (default: :obj:`None`)
    """
    if rows is None:
        rows = torch.arange(batch.num_graphs)
    if is_wrong is None:
        shown = f'Its batch has the rows {listed(rows.tolist())}'
    else:
        wrong = rows[is_wrong.cpu()].tolist()
        shown = f'It is so in the rows {listed(wrong)}'
    values = batch.slot_value.cpu()
    found = (~values.isfinite()).nonzero().tolist()
    if not found:
        return NonFiniteError(
            f'{what}. {shown}; all their values are finite, so that the '
            'learning rate may be too high: try a lower lr, or clip gradients '
            'with gradient_clip_val',
            rows,
        )
    i, slot = found[0]
    column = batch.info.names[int(batch.info.slot_field[slot])]
    return NonFiniteError(
        f"{what}. {shown}; the column '{column}' holds "
        f'{float(values[i, slot])} in row {int(rows[i])}: correct it, or leave '
        'out the row',
        rows,
        column,
    )


def check_weights(named: Iterable[tuple[str, Tensor]], when: str) -> None:
    r"""Raises an error if a weight is not finite."""
    wrong = [name for name, x in named if not bool(x.isfinite().all())]
    if wrong:
        raise NonFiniteError(
            f'{when} the weights {listed(wrong)} are not finite: try a lower '
            'lr, or clip gradients with gradient_clip_val'
        )


def listed(values: Sequence[object]) -> str:
    r"""Some values, and how many there are."""
    text = ', '.join(map(str, values[:SHOWN]))
    return f'{text}, ... ({len(values)})' if len(values) > SHOWN else text

r"""The logits of rows that are put together of other rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from pyg_featgraph.data import FieldBatch, FieldTable


@torch.no_grad()
def mixed_logits(
    model: Any,
    table: FieldTable,
    parts: Iterable[Tensor],
    by_member: bool = False,
) -> Tensor:
    r"""The logits of :math:`V` variants of each of :math:`R` rows, which take
    their fields from different rows of a table.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows.
        parts (iterable of torch.Tensor): Some of the variants at a time: the
            row of the table that each field comes from, with shape
            :math:`(*, R, n)`.
        by_member (bool, optional): Whether the logits of each of :math:`k`
            members come behind those of the model. (default: :obj:`False`)

    Shapes:
        - **output:** :math:`(V, 1, R, C)` of :math:`C` outputs, in double
          precision; or :math:`(V, 1 + k, R, C)`
    """
    info = table.info
    size = info.num_slots
    slots, field = torch.arange(size), info.slot_field
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    outs = []
    for rows in parts:
        at = rows if info.has_single_slots else rows[..., field]
        # One index is several times faster than one of rows and of slots:
        at = at.flatten(0, 1) * size + slots
        batch = FieldBatch.from_rows(
            table.slot_index.take(at).long(),
            table.slot_value.take(at),
            info,
            drop_absent=table.drop_absent,
        ).to(device)
        if by_member:
            each = model.member_logits(batch)
            out = torch.cat([model.head.merge(each).unsqueeze(0), each])
        else:
            out = model(batch).unsqueeze(0)
        out = out.cpu().double().view(len(out), *rows.size()[:2], -1)
        outs.append(out.transpose(0, 1))
    model.train(was_training)
    return torch.cat(outs)


def swaps(
    base: Tensor,
    other: Tensor,
    swapped: Tensor,
    batch_size: int,
    progress: bool = False,
) -> Iterator[Tensor]:
    r"""Variants of rows that take some fields from other rows, in parts for
    :func:`mixed_logits`.

    Args:
        base (torch.Tensor): The rows, with shape :math:`(R)`.
        other (torch.Tensor): The other row of each, with shape :math:`(R)`.
        swapped (torch.Tensor): The fields that each variant takes from there,
            as a mask :math:`(V, n)`.
        batch_size (int): The number of rows of a part, if it has more than
            one variant.
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`False`)
    """
    masks = swapped.split(max(1, batch_size // len(base)))
    for part in tqdm(masks, disable=not progress):
        yield torch.where(part.unsqueeze(1), other[:, None], base[:, None])


def pick_output(values: Tensor, output: int | None) -> Tensor:
    r"""One of the :math:`C` outputs.

    Args:
        values (torch.Tensor): The outputs, with shape :math:`(*, C)`.
        output (int, optional): Which one. (default: the only one)

    Raises:
        ValueError: If there is no such output, or if several are to choose
            from.
    """
    count = values.size(-1)
    if (output is None and count > 1) or output not in (None, *range(count)):
        raise ValueError(
            f"'output' must be one of 0 to {count - 1} (got {output})"
        )
    return values[..., output or 0]


def output_unit(model: Any) -> str:
    r"""What an output of a model is, as figures say it."""
    unit: str = getattr(getattr(model, 'head', None), 'unit', 'output')
    return unit

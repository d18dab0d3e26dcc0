r"""How strongly pairs of fields interact in the logits of a model."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from pyg_featgraph.data import FieldBatch, FieldTable


@torch.no_grad()
def pair_effects(
    model: torch.nn.Module,
    table: FieldTable,
    num_rows: int = 256,
    batch_size: int = 2048,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    r"""How strongly each pair of fields interacts in the logits of a model.

    With :math:`f_{\setminus S}` the logit of a row in which the fields
    :math:`S` are taken from another row,

    .. math::
        I_{ij}^2 = \frac{1}{4} \, \mathbb{E} \left[ f - f_{\setminus i} -
        f_{\setminus j} + f_{\setminus ij} \right]^2,

    which is zero if no term of the model contains both fields, and the
    standard deviation of their joint term if fields are independent and there
    is one term. It is the square root of the superset importance of the
    `"Estimating Mean Dimensionality of Analysis of Variance Decompositions"
    <https://doi.org/10.1198/016214505000001410>`_ paper, estimated by
    exchanging fields between rows.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows to draw from.
        num_rows (int, optional): The number of rows to draw; the model is
            evaluated on :math:`n (n + 1) / 2` variants of each.
            (default: :obj:`256`)
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`2048`)
        seed (int, optional): The seed of the draw. (default: :obj:`0`)
        progress (bool, optional): Whether to show a progress bar.
            (default: :obj:`False`)

    Returns:
        torch.Tensor: The symmetric strengths, with shape :math:`(n, n)` and
        zeros on the diagonal.
    """
    info, n = table.info, table.info.num_fields
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    size = min(num_rows, len(table))
    rows = torch.randperm(len(table), generator=generator)[:size]
    base = table.batch(rows)
    other = table.batch(rows.roll(1))
    field_of_slot = info.slot_field
    first, second = torch.triu_indices(n, n).unbind(0)
    # Every variant: which fields come from the other row.
    swapped = torch.zeros(first.numel(), n, dtype=torch.bool)
    swapped[torch.arange(first.numel()), first] = True
    swapped[torch.arange(first.numel()), second] = True

    def logits(swap: Tensor) -> Tensor:
        slots = swap[:, field_of_slot].unsqueeze(1)
        index = torch.where(slots, other.slot_index, base.slot_index)
        value = torch.where(slots, other.slot_value, base.slot_value)
        batch = FieldBatch.from_rows(
            index.flatten(0, 1),
            value.flatten(0, 1),
            info,
            drop_absent=table.drop_absent,
        )
        out: Tensor = model(batch.to(device))
        return out.cpu().view(-1, size)

    was_training = model.training
    model.eval()
    plain = logits(torch.zeros(1, n, dtype=torch.bool))[0].double()
    parts = torch.split(swapped, max(1, batch_size // size))
    outs = [logits(part).double() for part in tqdm(parts, disable=not progress)]
    model.train(was_training)

    change = torch.zeros(n, n, size, dtype=torch.double)
    change[first, second] = torch.cat(outs) - plain
    single = change.diagonal().t()
    joint = change - single.unsqueeze(0) - single.unsqueeze(1)
    strength = joint.square().mean(-1).sqrt().triu(1) / 2
    return strength + strength.t()

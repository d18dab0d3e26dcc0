r"""The outputs of a model for a table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldGraphLoader, FieldTable


@torch.no_grad()
def logits_of(model: Any, table: FieldTable, batch_size: int = 4096) -> Tensor:
    r"""The outputs of a model for all rows of a table, on the device of the
    model and without dropout.

    Args:
        model (FieldModel): The model.
        table (FieldTable): The rows.
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`4096`)

    Shapes:
        - **output:** :math:`(R)`, or :math:`(R, C)` of several outputs
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    outs = [
        model(batch.to(device)) for batch in FieldGraphLoader(table, batch_size)
    ]
    model.train(was_training)
    return torch.cat(outs)

r"""Sums of interactions that are never stored all at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyg_featgraph.nn.conv import InteractionConv
from pyg_featgraph.nn.dense.sum_readout import SumReadout


def interaction_sum(
    conv: InteractionConv,
    readout: SumReadout,
    start: int,
    x: Tensor,
    weight: Tensor | None,
) -> Tensor:
    r"""The readout of what an operator gives in the dense layout, some of its
    interactions at a time. The backward pass computes them again, so that no
    memory grows with the product of rows and interactions.

    Args:
        conv (InteractionConv): The operator.
        readout (SumReadout): Sums up its interactions, and others.
        start (int): The first of its terms that belongs to the operator.
        x (torch.Tensor): The node features, zero where a field is not there.
        weight (torch.Tensor, optional): The weights of the interactions.

    Shapes:
        - **output:** :math:`(k B, C)`
    """
    gates, rows = conv.split(conv.gate), conv.split(weight, dim=-1)
    outs, norm = [], conv.norm
    for k, own in enumerate(conv.weights):
        args = conv, readout, start, k, x, own, gates[k], rows[k]
        if torch.is_grad_enabled():
            out, mean, var = checkpoint(_sum, *args, use_reentrant=False)
        else:
            out, mean, var = _sum(*args)
        if mean is not None:
            # Not in what the backward pass computes once more:
            norm.running_mean[conv.parts[k]] = mean
            norm.running_var[conv.parts[k]] = var
        outs.append(out)
    if mean is not None:
        norm.num_batches_tracked.add_(1)
    return torch.stack(outs).sum(dim=0)


def _sum(
    conv: InteractionConv,
    readout: SumReadout,
    start: int,
    k: int,
    x: Tensor,
    weight: Tensor | None,
    gate: Tensor | None,
    row_weight: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    # With the running mean and variance behind the step, if there is one.
    part, mean, var, norm = conv.parts[k], None, None, conv.norm
    out = conv.values(x, k, weight)
    if norm is not None:
        stats = norm.running_mean[part].clone(), norm.running_var[part].clone()
        if norm.training and out.size(0) > 1:
            mean, var = stats
        out = F.batch_norm(
            out, *stats, None, None, mean is not None, norm.momentum, norm.eps
        )
    out = out if gate is None else out * gate
    out = out if row_weight is None else out * row_weight
    return readout(out, slice(start + part.start, start + part.stop)), mean, var

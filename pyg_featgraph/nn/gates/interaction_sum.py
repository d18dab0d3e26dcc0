r"""Sums of interactions that are never stored all at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyg_featgraph.nn.conv import InteractionConv
from pyg_featgraph.nn.dense.sum_readout import SumReadout

Sum = tuple[Tensor, Tensor | None, Tensor | None]


def interaction_sum(
    conv: InteractionConv,
    readout: SumReadout,
    start: int,
    x: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    r"""The readout of what an operator gives in the dense layout, some of its
    interactions at a time. The backward pass computes them again, so that no
    memory grows with the product of rows and interactions.

    Args:
        conv (InteractionConv): The operator.
        readout (SumReadout): Sums up its interactions, and others.
        start (int): The first of its terms that belongs to the operator.
        x (torch.Tensor): The node features.
        weight (torch.Tensor, optional): The weights of the interactions.
        mask (torch.Tensor, optional): The fields that are there.

    Shapes:
        - **output:** :math:`(k B, C)`
    """
    outs = []
    for k, part in enumerate(conv.parts):
        some = weight if weight is None else weight[..., part]
        args = conv, readout, start, k, x, some, mask
        if torch.is_grad_enabled():
            out, mean, var = checkpoint(_sum, *args, use_reentrant=False)
        else:
            out, mean, var = _sum(*args)
        if mean is not None:
            # Not in what the backward pass computes once more:
            with torch.no_grad():
                conv.norm.running_mean[part].lerp_(mean, conv.norm.momentum)
                conv.norm.running_var[part].lerp_(var, conv.norm.momentum)
        outs.append(out)
    if mean is not None:
        conv.norm.num_batches_tracked.add_(1)
    return torch.stack(outs).sum(dim=0)


def _sum(
    conv: InteractionConv,
    readout: SumReadout,
    start: int,
    k: int,
    x: Tensor,
    weight: Tensor | None,
    mask: Tensor | None,
) -> Sum:
    part, mean, var = conv.parts[k], None, None
    out = conv.values(x, k, mask)
    if conv.norm is not None and conv.norm.training and out.size(0) > 1:
        var, mean = torch.var_mean(out.detach(), dim=0)
        out = F.batch_norm(out, None, None, training=True, eps=conv.norm.eps)
    elif conv.norm is not None:
        stats = conv.norm.running_mean[part], conv.norm.running_var[part]
        out = F.batch_norm(out, *stats, eps=conv.norm.eps)
    out = out if conv.gate is None else out * conv.gate[part]
    out = out if weight is None else out * weight
    return readout(out, slice(start + part.start, start + part.stop)), mean, var

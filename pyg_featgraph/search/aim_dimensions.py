r"""Stage 2 of the search of AIM: the dimensions of each field."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor

from pyg_featgraph.data import FieldBatch, FieldGraphLoader
from pyg_featgraph.nn import AIM
from pyg_featgraph.search.aim_options import AIMOptions
from pyg_featgraph.search.stages import Search


def search_dimensions(search: Search, model: AIM, options: AIMOptions) -> AIM:
    r"""Trains gates on dimensions until many are closed.

    Args:
        search (Search): The search.
        model (AIM): The model after the search of interactions.
        options (AIMOptions): The options.

    Returns:
        AIM: The model with these gates.
    """
    from pyg_featgraph.search.gates import GateModule

    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        out = with_dim_gates(model)
    gates = out.architecture_parameters()
    batches = FieldGraphLoader(
        search.data.train,
        search.data.batch_size,
        shuffle=True,
        seed=options.seed,
    )
    module = GateModule(
        out,
        gates,
        options,
        options.dim_lr,
        options.dim_closing,
        options.mu,
        resistance(out, gates[0], list(islice(batches, 10))),
    )
    search.train('dimensions', module)
    return out


def with_dim_gates(model: AIM) -> AIM:
    r"""The open interactions of a model, with gates on dimensions.

    Node vectors have unit variance in each dimension then, interactions are
    not normalised any more. So that they start with about the variance that
    they had, gates are divided by the standard deviation of a sum of
    independent products, and they stay fixed: they could make up for gates of
    dimensions.

    Args:
        model (AIM): The model after the search of interactions.
    """
    out = model.rebuild(interactions=model.gates(), dim_gates=True, norm=False)
    for _, conv in out.layer.items():
        gate, root = conv.gate, conv.channels**0.5
        with torch.no_grad():
            if conv.function == 'inner':
                gate /= root
            elif conv.function == 'outer':
                gate /= conv.weight.norm(dim=1).prod()
            else:
                scale = root if conv.function == 'scalar' else 1.0
                gate /= scale * conv.weight.norm(dim=1).clamp(min=1e-6)
        gate.requires_grad_(False)
    return out


def resistance(model: AIM, gate: Tensor, batches: list[FieldBatch]) -> float:
    r"""The root mean square of the gradients of gates that are half closed. It
    depends on how much interactions have to say beside the linear terms, so
    that no rate would do for all tables.

    Args:
        model (AIM): The model.
        gate (torch.Tensor): Its gates.
        batches (list of FieldBatch): Training rows.
    """
    with torch.no_grad():
        gate *= 0.5
    grads = [
        torch.autograd.grad(model.loss(batch), gate)[0] for batch in batches
    ]
    with torch.no_grad():
        gate *= 2
    size = float(torch.stack(grads).mean(dim=0).square().mean().sqrt())
    return max(size, 1e-12)

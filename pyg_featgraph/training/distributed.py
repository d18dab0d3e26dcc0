r"""Tables with sparse gradients in a training of several processes.

:class:`torch.nn.parallel.DistributedDataParallel` knows sparse gradients of
:class:`torch.nn.Embedding` alone, and can exchange them only with some
backends. It is therefore told to leave such tables to the functions here.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.parallel import DistributedDataParallel
from torchmetrics.utilities.distributed import gather_all_tensors

from pyg_featgraph.training.penalty import is_sparse


def sparse_parameters(model: Module) -> dict[str, Parameter]:
    r"""The parameters that have sparse gradients, by name."""
    return {
        f'{prefix}.{name}' if prefix else name: p
        for prefix, module in model.named_modules()
        if is_sparse(module)
        for name, p in module.named_parameters(recurse=False)
    }


def leave_out(module: Module) -> None:
    r"""Makes the wrapper of a module leave out its sparse tables, and the
    counts of rows, which are the same everywhere.
    """
    # With a leading underscore, but the one way that there is:
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        module, [*sparse_parameters(module), 'model.rows_seen']
    )


@torch.no_grad()
def begin_alike(parameters: Iterable[Parameter]) -> None:
    r"""Gives all processes the tables of the first one."""
    for p in parameters:
        torch.distributed.broadcast(p.data, src=0)


@torch.no_grad()
def average_rows(parameters: Iterable[Parameter]) -> None:
    r"""Gives all processes the mean of their gradients: of the rows that any
    of them has touched, and to the last bit the same.
    """
    for p in parameters:
        if p.grad is not None:
            p.grad = _mean(p.grad)


def _mean(grad: Tensor) -> Tensor:
    # Each row once, so that no more is sent than has to be:
    grad = grad.coalesce()
    index, values = (
        torch.cat(gather_all_tensors(x))
        for x in (grad.indices()[0], grad.values())
    )
    return torch.sparse_coo_tensor(
        index.unsqueeze(0),
        values / torch.distributed.get_world_size(),
        grad.size(),
        check_invariants=False,
    )

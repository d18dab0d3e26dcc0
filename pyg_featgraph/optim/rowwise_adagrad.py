r"""An optimizer of large tables, with one number of state for each row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from pyg_featgraph.process_memory import in_large_pages


class RowWiseAdagrad(Optimizer):
    r"""Adagrad with one step size for each row of a table, with which the
    `"Deep Learning Recommendation Model for Personalization and Recommendation
    Systems" <https://arxiv.org/abs/1906.00091>`_ paper and FBGEMM train tables
    of vectors.

    .. math::
        s_t &\leftarrow s_t + \frac{1}{d} \| \mathbf{g}_t \|^2

        \mathbf{T}_t &\leftarrow \mathbf{T}_t - \frac{\gamma}{\sqrt{s_t} +
        \epsilon} \, \mathbf{g}_t

    for the rows :math:`t` that have a gradient :math:`\mathbf{g}_t`, which is
    the sum over all places where a batch has the row. With sparse gradients no
    other row is read or written, so that a step takes the same time however
    many rows there are, and the state is :math:`d` times smaller than the
    table. A row that is seen often moves the less, one that is seen for the
    first time as far as all others at their first time.

    A gradient that is not sparse touches all rows; the rows of a tensor with
    less than two dimensions are its numbers.

    Args:
        params (iterable): The parameters, or dictionaries that define groups
            of parameters.
        lr (float, optional): The learning rate :math:`\gamma`.
            (default: :obj:`0.01`)
        weight_decay (float, optional): This number times the row is added to
            the gradient of each row that is touched. (default: :obj:`0`)
        eps (float, optional): The number :math:`\epsilon`.
            (default: :obj:`1e-8`)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        defaults = {'lr': lr, 'weight_decay': weight_decay, 'eps': eps}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        r"""Adds a group of parameters.

        Args:
            param_group (dict): The :obj:`params` of the group and the options
                that are its own.
        """
        # The base class passes each group through here, the first ones too:
        options = {**self.defaults, **param_group}
        for name in self.defaults:
            if not options[name] >= 0:
                raise ValueError(
                    f"'{name}' must not be negative (got {options[name]})"
                )
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        r"""Performs a single step.

        Args:
            closure (callable, optional): Evaluates the model again and
                returns the loss. (default: :obj:`None`)
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group['params']:
                if param.grad is not None:
                    self._step(param, param.grad, group)
        return loss

    def _step(
        self, param: Parameter, grad: Tensor, group: dict[str, Any]
    ) -> None:
        state, rows = self.state[param], _num_rows(param)
        if not state:
            # Of the type of the parameter, as a state dict would make it:
            state['sum'] = in_large_pages(param.new_empty(rows)).zero_()
        table, total = param.view(rows, -1), state['sum']
        if grad.is_sparse:
            grad = grad.coalesce()
            index, values = grad.indices()[0], grad.values()
        else:
            index, values = torch.arange(rows, device=param.device), grad
        values = values.reshape(len(index), -1)
        touched = table.index_select(0, index)
        if group['weight_decay']:
            values = values + group['weight_decay'] * touched
        size = total.index_select(0, index) + values.square().mean(dim=1)
        step = float(group['lr']) / (size.sqrt() + group['eps'])
        # A row that never had a gradient would move by zero over zero:
        step = step.where(size > 0, 0.0).unsqueeze(1)
        total.index_copy_(0, index, size)
        # Several times faster than to add to the rows where they are:
        table.index_copy_(0, index, touched - step * values)


def _num_rows(param: Parameter) -> int:
    return param.size(0) if param.dim() > 0 else 1

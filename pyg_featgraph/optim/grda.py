r"""An optimizer that drives parameters to exactly zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class GRDA(Optimizer):
    r"""The generalized regularized dual averaging of the `"A Generalization of
    Regularized Dual Averaging and its Dynamics"
    <https://arxiv.org/abs/1909.10072>`_ paper, with which the `"AIM: Automatic
    Interaction Machine for Click-Through Rate Prediction"
    <https://arxiv.org/abs/2111.03318>`_ paper trains its gates (Eq. 21).

    .. math::
        \mathbf{v}_{t+1} &= \mathbf{v}_t - \gamma \mathbf{g}_t, \qquad
        \mathbf{v}_0 = \boldsymbol{\alpha}_0

        L_{t+1} &= L_t + c \, \gamma^{1/2 + \mu} \left( (t+1)^{\mu} - t^{\mu}
        \right), \qquad L_0 = 0

        \boldsymbol{\alpha}_{t+1} &= \mathrm{sign}(\mathbf{v}_{t+1}) \odot
        \max(|\mathbf{v}_{t+1}| - L_{t+1}, 0),

    where :math:`\mathbf{g}_t` is the gradient at the parameter
    :math:`\boldsymbol{\alpha}_t` and :math:`\gamma` the learning rate of the
    step. A learning rate that does not change gives the threshold
    :math:`L_T = c \, \gamma^{1/2} (T \gamma)^{\mu}` after :math:`T` steps.
    Eq. 21 pairs :math:`t + 1` gradients with the threshold of :math:`t`
    steps, so that the first one would be zero; the code of the authors and
    this class count both alike.

    The dual :math:`\mathbf{v}` does not depend on the parameter. A weight
    below the threshold is exactly zero, and comes back once its gradients
    have pushed its dual over the threshold. With :obj:`c=0` this is
    :class:`torch.optim.SGD`.

    .. note::
        The dual starts at what the parameter is in the first step. Whatever
        else changes the parameter later on is lost in the next step.

    Args:
        params (iterable): The parameters, or dictionaries that define groups
            of parameters.
        lr (float, optional): The learning rate :math:`\gamma`.
            (default: :obj:`0.1`)
        c (float, optional): How fast the threshold grows.
            (default: :obj:`0.05`)
        mu (float, optional): The power :math:`\mu` of the number of steps
            with which it grows, between 0 and 1. (default: :obj:`0.6`)
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 0.1,
        c: float = 0.05,
        mu: float = 0.6,
    ) -> None:
        super().__init__(params, {'lr': lr, 'c': c, 'mu': mu})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        r"""Adds a group of parameters.

        Args:
            param_group (dict): The :obj:`params` of the group and the options
                that are its own.
        """
        # The base class passes each group through here, the first ones too:
        options = {**self.defaults, **param_group}
        lr, c, mu = options['lr'], options['c'], options['mu']
        if not lr > 0:
            raise ValueError(f"'lr' must be positive (got {lr})")
        if not c >= 0:
            raise ValueError(f"'c' must not be negative (got {c})")
        if not 0 < mu < 1:
            raise ValueError(f"'mu' must be between 0 and 1 (got {mu})")
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        r"""Performs a single step.

        Args:
            closure (callable, optional): Evaluates the model again and
                returns the loss. (default: :obj:`None`)

        Raises:
            RuntimeError: If a gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # A learning rate may be a tensor, the state must not become one:
            lr, c, mu = float(group['lr']), group['c'], group['mu']
            for param in group['params']:
                grad = param.grad
                if grad is None:
                    continue
                if grad.layout != torch.strided:
                    raise RuntimeError(
                        f'{self.__class__.__name__} does not support sparse '
                        'gradients: a weight without a gradient shrinks as well'
                    )
                state = self.state[param]
                if not state:
                    # Plain numbers, since a tensor would be cast to the dtype
                    # of the parameter on its way through a state dict:
                    state['step'] = 0
                    state['threshold'] = 0.0
                    state['dual'] = param.clone(
                        memory_format=torch.preserve_format
                    )
                t, dual = state['step'], state['dual']
                dual.add_(grad, alpha=-lr)
                state['threshold'] += (
                    c * lr ** (0.5 + mu) * ((t + 1) ** mu - t**mu)
                )
                state['step'] = t + 1
                # Same as the equation, but all zeros are positive:
                bound = state['threshold']
                param.copy_(dual - dual.clamp(-bound, bound))
        return loss

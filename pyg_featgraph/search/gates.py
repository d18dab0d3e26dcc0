r"""Gates that are closed one by one while everything else is trained."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldBatch
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.optim import GRDA
from pyg_featgraph.training.module import FieldModule
from pyg_featgraph.training.optimizers import make_optimizer
from pyg_featgraph.training.options import TrainingOptions

#: How far a gate moves at most in a step, as a share of its initial value. A
#: rate that is too high would make it swing ever further otherwise.
MAX_MOVE = 0.1


class GateModule(FieldModule):
    r"""Trains gates with :class:`~pyg_featgraph.optim.GRDA` until many of
    them are closed, and everything else as usual, both on the same rows.

    Args:
        model (FieldModel): The model.
        gates (list of torch.nn.Parameter): Its gates.
        options (TrainingOptions): The options of everything else.
        gate_lr (float): The learning rate of the gates.
        closing (float): The share of the training after which a gate is
            closed that has had no gradient.
        mu (float): The power of the number of steps with which the threshold
            grows.
        resistance (float, optional): If given, :obj:`gate_lr` is in units of
            the rate at which a gradient of this size balances the growth of
            the threshold. (default: :obj:`None`)
    """

    def __init__(
        self,
        model: FieldModel,
        gates: list[Parameter],
        options: TrainingOptions,
        gate_lr: float,
        closing: float,
        mu: float,
        resistance: float | None = None,
    ) -> None:
        super().__init__(model, options)
        self.gates = gates
        self.gate_lr = gate_lr
        self.closing = closing
        self.mu = mu
        self.resistance = resistance
        # Now, since gates that are taken up later on have moved by then:
        self._start = max(float(gate.detach().abs().max()) for gate in gates)
        self._max_grad = math.inf

    def describe(self) -> dict[str, Any]:
        names = ('gate_lr', 'closing', 'mu', 'resistance')
        values = {name: getattr(self, name) for name in names}
        return {**super().describe(), **values}

    def make_optimizer(self) -> torch.optim.Optimizer:
        grda = self.make_grda(self.trainer.estimated_stepping_batches)
        chosen = {id(gate) for gate in self.gates}
        others = [
            p
            for p in self.model.parameters()
            if p.requires_grad and id(p) not in chosen
        ]
        return make_optimizer(self.model, others, self.options, grda)

    def make_grda(self, num_steps: float) -> GRDA:
        r"""The optimizer of the gates.

        Args:
            num_steps (int): The number of steps of the whole training.
        """
        if not 0 < num_steps < math.inf:
            raise ValueError(
                'A search needs to know its number of steps: set max_epochs '
                f'or max_steps (steps: {num_steps})'
            )
        rate, share = self.gate_lr, self.closing * num_steps
        if self.resistance is not None:
            rate /= share * self.resistance
        self._max_grad = MAX_MOVE * self._start / rate
        # The threshold after a share of all steps is the initial gate:
        c = self._start / (rate**0.5 * (share * rate) ** self.mu)
        return GRDA(self.gates, lr=rate, c=c, mu=self.mu)

    def on_before_optimizer_step(
        self, optimizer: torch.optim.Optimizer
    ) -> None:
        super().on_before_optimizer_step(optimizer)
        torch.nn.utils.clip_grad_value_(self.gates, self._max_grad)

    def training_step(self, batch: FieldBatch, batch_idx: int) -> Tensor:
        # A tensor, which a device need not wait for in every step:
        num_open = torch.stack([x.count_nonzero() for x in self.gates]).sum()
        self.log('open', num_open.float(), prog_bar=True, batch_size=1)
        return super().training_step(batch, batch_idx)

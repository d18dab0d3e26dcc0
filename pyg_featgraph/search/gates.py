from __future__ import annotations

from typing import Any

import torch

from pyg_featgraph.data import FieldBatch
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.optim import GRDA
from pyg_featgraph.training.module import FieldModule, other_parameters

#: How far a gate moves at most in a step, as a share of its initial value. A
#: rate that is too high would make it swing ever further otherwise.
MAX_MOVE = 0.1


class GateModule(FieldModule):
    r"""Trains gates with :class:`~pyg_featgraph.optim.GRDA` until many of
    them are closed, and everything else as usual, both on the same rows.

    Args:
        model (FieldModel): The model.
        gates (list of torch.nn.Parameter): Its gates.
        gate_lr (float): The learning rate of the gates.
        closing (float): The share of the training after which a gate is
            closed that has had no gradient.
        mu (float): The power of the number of steps with which the threshold
            grows.
        num_steps (int): The number of steps of the whole training.
        **kwargs (optional): Arguments of
            :class:`~pyg_featgraph.training.module.FieldModule`.
    """

    def __init__(
        self,
        model: FieldModel,
        gates: list[torch.nn.Parameter],
        gate_lr: float,
        closing: float,
        mu: float,
        num_steps: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        self.gates = gates
        start = max(float(gate.detach().abs().max()) for gate in gates)
        # The threshold after a share of all steps is the initial gate:
        time = closing * num_steps * gate_lr
        c = start / (gate_lr**0.5 * time**mu)
        self.options = {'lr': gate_lr, 'c': c, 'mu': mu}
        self.max_grad = MAX_MOVE * start / gate_lr

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            GRDA(self.gates, **self.options),
            *self.make_optimizers(other_parameters(self.model, self.gates)),
        ]

    def on_before_optimizer_step(
        self, optimizer: torch.optim.Optimizer
    ) -> None:
        if isinstance(optimizer, GRDA):
            torch.nn.utils.clip_grad_value_(self.gates, self.max_grad)

    def training_step(self, batch: FieldBatch, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)
        # A tensor, which a device need not wait for in every step:
        num_open = torch.stack([x.count_nonzero() for x in self.gates]).sum()
        self.log('open', num_open.float(), prog_bar=True, batch_size=1)

from __future__ import annotations

from typing import Any

import torch

from pyg_featgraph.data import FieldBatch, FieldTable
from pyg_featgraph.nn import AdjacencyTensor, FieldModel
from pyg_featgraph.optim import GRDA
from pyg_featgraph.training.module import FieldModule

#: How far a gate moves at most in a step, as a share of its initial value. A
#: rate that is too high would make it swing ever further otherwise.
MAX_MOVE = 0.1


class BilevelModule(FieldModule):
    r"""Alternates between the weights of a model, on training rows, and its
    architecture parameters, on validation rows (Algorithm 1 of FIVES).

    It is the first-order form: a step on the architecture takes the weights
    as they are.

    Args:
        model (FieldModel): A model with architecture parameters.
        valid (FieldTable): The rows for the architecture.
        batch_size (int): The number of rows of a batch of them.
        architecture_lr (float): The learning rate of the architecture.
        temperature (tuple of float, optional): The first and the last
            temperature of :class:`~pyg_featgraph.nn.AdjacencyTensor`, which
            falls exponentially from step to step; :obj:`None` leaves it.
            (default: :obj:`None`)
        seed (int, optional): The seed of the draw of validation rows.
            (default: :obj:`0`)
        **kwargs (optional): Arguments of
            :class:`~pyg_featgraph.training.module.FieldModule`.
    """

    def __init__(
        self,
        model: FieldModel,
        valid: FieldTable,
        batch_size: int,
        architecture_lr: float,
        temperature: tuple[float, float] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, **kwargs)
        self.valid = valid
        self.batch_size = batch_size
        self.architecture_lr = architecture_lr
        self.temperature = temperature
        self.seed = seed

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        architecture = self.model.architecture_parameters()
        return [
            torch.optim.Adam(architecture, lr=self.architecture_lr),
            *self.make_optimizers(_others(self.model, architecture)),
        ]

    def training_step(self, batch: FieldBatch, batch_idx: int) -> None:
        self._set_temperature(batch_idx + 1)
        optimizers: Any = self.optimizers(use_pl_optimizer=True)
        architecture, *weights = optimizers
        self.descend(batch, weights)
        self.descend(self._draw(batch_idx).to(self.device), [architecture])

    def _set_temperature(self, steps: int) -> None:
        if self.temperature is None:
            return
        first, last = self.temperature
        epochs = self.current_epoch + steps / self.trainer.num_training_batches
        share = epochs / (self.trainer.max_epochs or 1)
        for module in self.model.modules():
            if isinstance(module, AdjacencyTensor):
                module.tau.fill_(first * (last / first) ** share)

    def _draw(self, batch_idx: int) -> FieldBatch:
        # The draw depends on the step alone, so that a resumed search sees
        # the same rows as one that was never stopped:
        step = (self.seed << 40) + (self.current_epoch << 24) + batch_idx
        generator = torch.Generator().manual_seed(step)
        rows = torch.randint(
            len(self.valid), (self.batch_size,), generator=generator
        )
        return self.valid.batch(rows)


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
            *self.make_optimizers(_others(self.model, self.gates)),
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


def _others(
    model: FieldModel, chosen: list[torch.nn.Parameter]
) -> list[torch.nn.Parameter]:
    ids = {id(p) for p in chosen}
    return [
        p for p in model.parameters() if p.requires_grad and id(p) not in ids
    ]

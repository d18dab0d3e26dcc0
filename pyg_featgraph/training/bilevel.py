from __future__ import annotations

from typing import Any

import torch

from pyg_featgraph.data import FieldBatch, FieldTable
from pyg_featgraph.nn import AdjacencyTensor, FieldModel
from pyg_featgraph.training.module import FieldModule, other_parameters


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
        if not model.architecture_parameters():
            raise ValueError(
                f'{model.__class__.__name__} has no architecture parameters, '
                'which could be learned on validation rows'
            )
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
            *self.make_optimizers(other_parameters(self.model, architecture)),
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

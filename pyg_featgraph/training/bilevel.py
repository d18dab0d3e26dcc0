r"""Edges that are learned on validation rows, in turns with the weights."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from pyg_featgraph.data import FieldBatch, FieldTable
from pyg_featgraph.data.loader import seeded
from pyg_featgraph.nn import AdjacencyTensor, FieldModel
from pyg_featgraph.training.module import FieldModule
from pyg_featgraph.training.optimizers import make_optimizer
from pyg_featgraph.training.options import TrainingOptions, describe


class BilevelModule(FieldModule):
    r"""Alternates between the weights of a model, on training rows, and its
    architecture parameters, on validation rows (Algorithm 1 of FIVES).

    It is the first-order form: a step on the architecture takes the weights
    as they are. Each step of the optimizer is followed by one on the
    architecture, with :class:`torch.optim.Adam`.

    Args:
        model (FieldModel): A model with architecture parameters.
        valid (FieldTable): The rows for the architecture.
        options (TrainingOptions): The options; :obj:`architecture_lr` is the
            learning rate of the architecture.
        temperature (tuple of float, optional): The first and the last
            temperature of :class:`~pyg_featgraph.nn.AdjacencyTensor`, which
            falls exponentially from step to step; :obj:`None` leaves it.
            (default: :obj:`None`)
    """

    def __init__(
        self,
        model: FieldModel,
        valid: FieldTable,
        options: TrainingOptions,
        temperature: tuple[float, float] | None = None,
    ) -> None:
        self._chosen = model.architecture_parameters()
        if not self._chosen:
            raise ValueError(
                f'{model.__class__.__name__} has no architecture parameters, '
                'which could be learned on validation rows'
            )
        super().__init__(model, options.for_rows(len(valid)))
        self.valid = valid
        self.temperature = temperature
        self._loaded: dict[str, Any] | None = None

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), 'temperature': describe(self.temperature)}

    def make_optimizer(self) -> torch.optim.Optimizer:
        chosen = {id(p) for p in self._chosen}
        self._others = [
            p
            for p in self.model.parameters()
            if p.requires_grad and id(p) not in chosen
        ]
        self._architecture = torch.optim.Adam(
            self._chosen, lr=self.options.architecture_lr or 0.0
        )
        return make_optimizer(self.model, self._others, self.options)

    def training_step(self, batch: FieldBatch, batch_idx: int) -> Tensor:
        self._set_temperature(self.trainer.global_step + 1)
        return super().training_step(batch, batch_idx)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        # Gradients of the architecture would be computed for nothing, but
        # several processes wait for those of all parameters:
        alone = self.trainer.world_size == 1
        loss.backward(inputs=self._others if alone else None)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        step = self.trainer.global_step
        super().optimizer_step(*args, **kwargs)
        self._step_architecture(self.draw(step).to(self.device))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint['architecture'] = self._architecture.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._loaded = checkpoint['architecture']

    def on_train_start(self) -> None:
        if self._loaded is not None:
            self._architecture.load_state_dict(self._loaded)
            self._loaded = None

    def _step_architecture(self, batch: FieldBatch) -> None:
        with self.trainer.precision_plugin.train_step_context():
            loss = self.loss(batch)
        grads = torch.autograd.grad(loss, self._chosen)
        for p, grad in zip(self._chosen, grads, strict=True):
            p.grad = self.trainer.strategy.reduce(grad, reduce_op='mean')
        self._architecture.step()

    def _set_temperature(self, steps: int) -> None:
        if self.temperature is None:
            return
        first, last = self.temperature
        share = steps / self.trainer.estimated_stepping_batches
        for module in self.model.modules():
            if isinstance(module, AdjacencyTensor):
                module.tau.fill_(first * (last / first) ** share)

    def draw(self, step: int) -> FieldBatch:
        r"""The validation rows of a step. They depend on nothing else, so
        that a resumed search sees the same rows as one that was never stopped.
        """
        trainer = self._trainer
        world_size = 1 if trainer is None else trainer.world_size
        rank = 0 if trainer is None else trainer.global_rank
        generator = seeded(self.options.seed, step)
        size = cast(int, self.options.batch_size) * world_size
        rows = torch.randint(len(self.valid), (size,), generator=generator)
        return self.valid.batch(rows[rank::world_size])

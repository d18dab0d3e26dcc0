from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import pytorch as pl
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import BinaryAUROC

from pyg_featgraph.data import FieldBatch
from pyg_featgraph.nn import FieldEmbedding, FieldModel


class FieldModule(pl.LightningModule):
    r"""Trains a model of field graphs by its :meth:`loss`.

    Tables with sparse gradients get an optimizer of their own,
    :class:`torch.optim.SparseAdam`, all other parameters
    :class:`torch.optim.Adam`.

    Args:
        model (FieldModel): The model.
        lr (float, optional): The learning rate. (default: :obj:`1e-3`)
        weight_decay (float, optional): The L2 penalty of all parameters
            without sparse gradients. (default: :obj:`0`)
    """

    def __init__(
        self,
        model: FieldModel,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.lr = lr
        self.weight_decay = weight_decay
        # Lightning drives a single optimizer only, so all are driven here:
        self.automatic_optimization = False
        # The AUC needs all scores of an epoch; it is exact, not binned:
        metrics = MetricCollection({'auc': BinaryAUROC()})
        self.metrics = torch.nn.ModuleDict(
            {stage: metrics.clone(f'{stage}_') for stage in ('valid', 'test')}
        )
        self.losses = torch.nn.ModuleDict(
            {stage: MeanMetric() for stage in ('valid', 'test')}
        )

    def forward(self, batch: FieldBatch) -> Tensor:
        return self.model(batch)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return self.make_optimizers(list(self.model.parameters()))

    def make_optimizers(
        self, parameters: list[torch.nn.Parameter]
    ) -> list[torch.optim.Optimizer]:
        r"""The optimizers of some parameters of the model."""
        sparse = {
            id(module.weight)
            for module in self.model.modules()
            if isinstance(module, FieldEmbedding | torch.nn.Embedding)
            and module.sparse
        }
        tables = [p for p in parameters if id(p) in sparse]
        others = [p for p in parameters if id(p) not in sparse]
        out: list[torch.optim.Optimizer] = []
        if others:
            out.append(
                torch.optim.Adam(
                    others, lr=self.lr, weight_decay=self.weight_decay
                )
            )
        if tables:
            out.append(torch.optim.SparseAdam(tables, lr=self.lr))
        return out

    def training_step(self, batch: FieldBatch, batch_idx: int) -> None:
        optimizers = self.optimizers(use_pl_optimizer=True)
        if not isinstance(optimizers, list):
            optimizers = [optimizers]
        self.descend(batch, optimizers)

    def descend(self, batch: FieldBatch, optimizers: list[Any]) -> None:
        r"""Lowers the loss of a batch by one step of some optimizers."""
        loss = self.model.loss(batch)
        self.model.zero_grad()
        # Gradients of other parameters would be computed for nothing:
        inputs = [
            p
            for optimizer in optimizers
            for group in optimizer.param_groups
            for p in group['params']
            if p.requires_grad
        ]
        self.manual_backward(loss, inputs=inputs)
        for optimizer in optimizers:
            optimizer.step()
        self.log(
            'train_loss',
            loss.detach(),
            prog_bar=True,
            batch_size=batch.num_graphs,
            on_step=True,
            on_epoch=False,
        )

    def validation_step(self, batch: FieldBatch, batch_idx: int) -> None:
        self._evaluate(batch, 'valid')
        if batch_idx == 0:
            figures = self.model.monitor(batch)
            self.log_dict(figures, prog_bar=True, batch_size=1)

    def test_step(self, batch: FieldBatch, batch_idx: int) -> None:
        self._evaluate(batch, 'test')

    def _evaluate(self, batch: FieldBatch, stage: str) -> None:
        logits = self(batch)
        loss = F.binary_cross_entropy_with_logits(
            logits, batch.y, reduction='none'
        )
        mean: Any = self.losses[stage]
        metrics: Any = self.metrics[stage]
        mean.update(loss)
        # Double precision keeps confident scores apart:
        metrics.update(logits.double().sigmoid(), batch.y.long())
        options = {'prog_bar': True, 'batch_size': batch.num_graphs}
        self.log(f'{stage}_loss', mean, **options)
        self.log_dict(metrics, **options)


def other_parameters(
    model: FieldModel, chosen: list[torch.nn.Parameter]
) -> list[torch.nn.Parameter]:
    r"""The parameters that are trained, but for those chosen."""
    ids = {id(p) for p in chosen}
    return [
        p for p in model.parameters() if p.requires_grad and id(p) not in ids
    ]

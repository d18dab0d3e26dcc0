r"""What a training does with a model: steps, figures and optimizers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning import pytorch as pl
from torch import Tensor
from torch.nn import ModuleDict
from torchmetrics import MetricCollection

from pyg_featgraph.data import FieldBatch
from pyg_featgraph.nn import FieldModel
from pyg_featgraph.nn.config import encode
from pyg_featgraph.training.finite import batch_error, check_weights
from pyg_featgraph.training.metrics import ExactAUC, ExactMean
from pyg_featgraph.training.optimizers import make_optimizer, make_scheduler
from pyg_featgraph.training.options import TrainingOptions


class FieldModule(pl.LightningModule):
    r"""A model of field graphs as Lightning trains it, with
    :class:`~pyg_featgraph.training.FieldDataModule` or with any loader of
    batches.

    It reports :obj:`train_loss` and, of validation and test rows,
    :obj:`valid_loss`, :obj:`valid_auc`, :obj:`test_loss`, :obj:`test_auc`, and
    the :obj:`metrics` of its options. A loss or weights that are not finite
    end the training.

    Args:
        model (FieldModel): The model.
        options (TrainingOptions, optional): The options.
            (default: :obj:`TrainingOptions()`)
    """

    def __init__(
        self, model: FieldModel, options: TrainingOptions | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.options = options or TrainingOptions()
        chosen = MetricCollection(dict(self.options.metrics))
        self.figures = ModuleDict()
        for stage in ('valid', 'test'):
            self.figures[f'{stage}_loss'] = ExactMean()
            self.figures[f'{stage}_auc'] = ExactAUC()
            self.figures[stage] = chosen.clone(f'{stage}_')

    def describe(self) -> dict[str, Any]:
        r"""What the result depends on beside the data, as JSON-compatible
        values.
        """
        return {
            'model': self.model.__class__.__name__,
            'config': encode(self.model.config),
            **self.options.to_dict(),
        }

    def forward(self, batch: FieldBatch) -> Tensor:
        out: Tensor = self.model(batch)
        return out

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer()
        options = self.options
        if options.scheduler is None and not options.warmup:
            return optimizer
        is_own = options.scheduler in (None, 'cosine')
        num_steps = self.trainer.estimated_stepping_batches if is_own else 0
        return {
            'optimizer': optimizer,
            'lr_scheduler': {
                'scheduler': make_scheduler(optimizer, options, num_steps),
                'interval': 'step' if is_own else options.scheduler_interval,
                'monitor': options.monitor,
            },
        }

    def make_optimizer(self) -> torch.optim.Optimizer:
        r"""The optimizer, which searches replace."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return make_optimizer(self.model, parameters, self.options)

    def loss(self, batch: FieldBatch) -> Tensor:
        r"""The mean loss of a batch, which training lowers."""
        self._cast(batch)
        if self.options.loss is None:
            return self.model.loss(batch)
        return self.options.loss(self(batch), batch.y)

    def training_step(self, batch: FieldBatch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        if not bool(loss.isfinite()):
            raise batch_error(
                f'The training loss of {self._when(batch_idx)} is '
                f'{float(loss.detach())}',
                batch,
                self._rows(self.trainer.train_dataloader, batch_idx),
            )
        self.log(
            'train_loss',
            loss.detach(),
            prog_bar=True,
            batch_size=batch.num_graphs,
            on_step=True,
            on_epoch=False,
        )
        if self.trainer.world_size == 1:
            return loss
        # Processes average their gradients. One with fewer rows, as in the
        # last batch, counts less:
        size = torch.tensor(float(batch.num_graphs), device=self.device)
        mean = self.trainer.strategy.reduce(size.clone(), reduce_op='mean')
        share: Tensor = size / mean
        return loss * share

    def on_validation_epoch_start(self) -> None:
        self.check_weights()

    def check_weights(self) -> None:
        r"""Raises an error if a weight is not finite."""
        check_weights(
            self.model.named_parameters(),
            f'After {self.trainer.global_step} steps (epoch '
            f'{self.current_epoch})',
        )

    def validation_step(self, batch: FieldBatch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, 'valid', self.trainer.val_dataloaders)
        if batch_idx == 0:
            figures = self.model.monitor(batch)
            self.log_dict(figures, prog_bar=True, batch_size=1)

    def test_step(self, batch: FieldBatch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, 'test', self.trainer.test_dataloaders)

    def _evaluate(
        self, batch: FieldBatch, batch_idx: int, stage: str, loader: Any
    ) -> None:
        self._cast(batch)
        logits, y = self(batch).double(), batch.y
        is_wrong = ~logits.isfinite()
        if bool(is_wrong.any()):
            name = {'valid': 'validation'}.get(stage, stage)
            what = f'A {name} logit of epoch {self.current_epoch} is not finite'
            rows = self._rows(loader, batch_idx)
            raise batch_error(what, batch, rows, is_wrong)
        loss = self.options.loss or F.binary_cross_entropy_with_logits
        figures: Any = self.figures
        size = batch.num_graphs
        figures[f'{stage}_loss'].update(loss(logits, y.double()), size)
        figures[f'{stage}_auc'].update(logits, y)
        figures[stage].update(logits.sigmoid(), y.long())
        options = {'prog_bar': True, 'batch_size': size}
        for name in ('loss', 'auc'):
            key = f'{stage}_{name}'
            self.log(key, figures[key], **options)
        self.log_dict(figures[stage], **options)

    def _cast(self, batch: FieldBatch) -> None:
        # A model of another precision computes with numbers of it:
        for name in ('slot_value', 'y'):
            if self.dtype != torch.float32:
                batch[name] = batch[name].to(self.dtype)

    def _when(self, batch_idx: int) -> str:
        step = self.trainer.global_step
        return f'step {step} (epoch {self.current_epoch}, batch {batch_idx})'

    def _rows(self, loader: Any, batch_idx: int) -> Tensor | None:
        # A loader of somebody else need not know them.
        rows = getattr(loader, 'rows', None)
        return None if rows is None else rows(self.current_epoch, batch_idx)

r"""What a training does with a model: steps, figures and optimizers."""

from __future__ import annotations

import warnings
from copy import copy
from typing import Any, cast

import torch
from lightning import pytorch as pl
from torch import Tensor
from torch.nn import ModuleDict
from torchmetrics import MetricCollection

from pyg_featgraph.data import FieldBatch, FieldTable
from pyg_featgraph.nn import BinaryHead, FieldModel, Head, MulticlassHead
from pyg_featgraph.nn.config import encode
from pyg_featgraph.progress import say
from pyg_featgraph.training.class_weight import class_weights
from pyg_featgraph.training.clipping import clip
from pyg_featgraph.training.datamodule import FieldDataModule
from pyg_featgraph.training.distributed import (
    average_rows,
    begin_alike,
    leave_out,
    sparse_parameters,
)
from pyg_featgraph.training.finite import batch_error, check_weights
from pyg_featgraph.training.metrics import ExactMean, figures_of
from pyg_featgraph.training.optimizers import make_optimizer, make_scheduler
from pyg_featgraph.training.options import TrainingOptions
from pyg_featgraph.training.penalty import Penalty, is_sparse
from pyg_featgraph.training.row_metrics import RowMetric
from pyg_featgraph.training.start import Start, count_rows


class FieldModule(pl.LightningModule):
    r"""A model of field graphs as Lightning trains it, with
    :class:`~pyg_featgraph.training.FieldDataModule` or with any loader of
    batches.

    It reports :obj:`train_loss` and, of validation and test rows, the loss of
    the head, its other figures and the :obj:`metrics` of the options, all but
    the last by the weights of the rows: of two classes :obj:`valid_loss` and
    :obj:`valid_auc`, of several also :obj:`valid_accuracy`, of numbers
    :obj:`valid_rmse` and :obj:`valid_r2`, of counts :obj:`valid_deviance`. A
    loss or weights that are not finite end the training.

    When a training with a data module begins, the head takes what it needs to
    know from the labels of the training rows.

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
        self.options = (options or TrainingOptions()).for_model(model)
        self._set_head()
        self.class_weight: Tensor | None = None
        self._penalty = Penalty(model, 0.0)
        self._earlier: Start | None = None
        self._rows_of_ids: Tensor | None = None
        leave_out(self)
        # Those that look at the rows are updated with them:
        of_rows, others = [
            MetricCollection(
                {
                    name: metric
                    for name, metric in self.options.metrics.items()
                    if isinstance(metric, RowMetric) == looks
                }
            )
            for looks in (True, False)
        ]
        self.figures = ModuleDict()
        for stage in ('valid', 'test'):
            self.figures[f'{stage}_loss'] = ExactMean()
            self.figures[f'{stage}_own'] = ModuleDict(figures_of(model.head))
            self.figures[stage] = others.clone(f'{stage}_')
            self.figures[f'{stage}_rows'] = of_rows.clone(f'{stage}_')

    def _set_head(self) -> None:
        head, options = cast(Any, self.model.head), self.options
        if options.label_smoothing is not None:
            if not hasattr(head, 'label_smoothing'):
                raise ValueError(f"{head} has no 'label_smoothing'")
            head.label_smoothing = options.label_smoothing
        if options.class_weight is not None and not _has_classes(head):
            raise ValueError(f"{head} has no classes: 'class_weight' is theirs")

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, 'datamodule', None)
        if stage == 'fit' and self.trainer.is_global_zero:
            self._tell_of_tables()
        if stage != 'fit':
            return
        if not isinstance(data, FieldDataModule):
            if self.options.memory:
                raise ValueError(
                    "'memory' needs the rows of a FieldDataModule, which it "
                    'counts'
                )
            return
        head, train = self.model.head, data.train
        data.check(head)
        y = cast(Tensor, train.y)
        self._begin(train)
        if self._earlier is None:
            # One that goes on keeps its units, in which its weights are:
            self.model.adapt(train)
        if self.options.class_weight is not None:
            self.class_weight = class_weights(
                self.options.class_weight,
                max(head.out_channels, 2),
                y,
                train.sample_weight,
            )

    def _begin(self, train: FieldTable) -> None:
        model, goes_on = self.model, bool(self.options.memory)
        self._earlier = Start.of(model) if goes_on else None
        model.rows_seen = None
        if goes_on or sparse_parameters(model):
            self._rows_of_ids = count_rows(train)
        if goes_on and self._rows_of_ids is not None:
            model.rows_seen = self._rows_of_ids
            num_rows = 0
            if self._earlier is not None:
                model.rows_seen = self._earlier.rows_seen + self._rows_of_ids
                num_rows = self._earlier.num_rows(model.info)
            if self.trainer.is_global_zero:
                say(f'Goes on from {num_rows:,} rows that it has learned from')

    def _tell_of_tables(self) -> None:
        modules = [x for x in self.model.modules() if is_sparse(x)]
        if modules and self.model.config.get('sparse') is None:
            sizes = [p.size() for x in modules for p in x.parameters(False)]
            shown = ', '.join(f'{rows:,} x {size}' for rows, size in sizes)
            say(
                f'Large tables ({shown}) have sparse gradients and '
                "RowWiseAdagrad; the model's sparse=False would change that"
            )

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
        self._penalty = self._make_penalty(cast(float, options.embedding_l2))
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

    def _make_penalty(self, l2: float) -> Penalty:
        trainer = self.trainer
        data = getattr(trainer, 'datamodule', None)
        if isinstance(data, FieldDataModule):
            num_rows = len(data.train)
            memory = self.options.memory / num_rows
            penalty = Penalty(self.model, l2 / num_rows, memory, self._earlier)
            step = data.batch_size * trainer.world_size
            step *= trainer.accumulate_grad_batches
            if self._rows_of_ids is not None:
                penalty.count(self._rows_of_ids, num_rows, step)
            return penalty
        trainer.fit_loop.setup_data()
        loader = cast(Any, trainer.train_dataloader)
        try:
            return Penalty(self.model, l2 / len(loader.dataset))
        except (AttributeError, TypeError):
            if Penalty(self.model, l2).has_dense:
                warnings.warn(
                    "'embedding_l2' has no effect, since the loader does not "
                    'tell how many rows there are (loader.dataset has no len)',
                    stacklevel=2,
                )
            return Penalty(self.model, 0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._earlier is not None:
            checkpoint['start'] = vars(self._earlier)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        start = checkpoint.get('start')
        self._earlier = None if start is None else Start(**start)

    def on_fit_start(self) -> None:
        if self.trainer.world_size > 1:
            begin_alike(sparse_parameters(self.model).values())

    def on_before_optimizer_step(
        self, optimizer: torch.optim.Optimizer
    ) -> None:
        if self.trainer.world_size > 1:
            average_rows(sparse_parameters(self.model).values())
        self._penalty.add()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if gradient_clip_val and sparse_parameters(self.model):
            groups = optimizer.param_groups
            clip(
                [p for group in groups for p in group['params']],
                gradient_clip_val,
                gradient_clip_algorithm == 'value',
            )
            return
        self.clip_gradients(
            optimizer, gradient_clip_val, gradient_clip_algorithm
        )

    def loss(self, batch: FieldBatch) -> Tensor:
        r"""The mean loss of a batch, which training lowers."""
        self._cast(batch)
        if self.class_weight is not None:
            # Not in the batch itself, of which there may be several losses:
            batch = copy(batch)
            weight = self.class_weight.to(batch.y)[batch.y.long()]
            batch['sample_weight'] = weight * batch.get('sample_weight', 1.0)
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
        # last batch, or with less weight counts less:
        size = torch.as_tensor(_size(batch), device=self.device).float()
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
        head, figures = self.model.head, cast(Any, self.figures)
        out, y = self(batch).double(), batch.y.double()
        weight = batch.get('sample_weight')
        is_wrong = ~out.isfinite().view(len(y), -1).all(dim=1)
        if bool(is_wrong.any()):
            name = {'valid': 'validation'}.get(stage, stage)
            what = f'A {name} logit of epoch {self.current_epoch} is not finite'
            rows = self._rows(loader, batch_idx)
            raise batch_error(what, batch, rows, is_wrong)
        if self.options.loss is None:
            loss = head.loss(out, y, weight)
        else:
            loss = self.options.loss(out, y)
        predicted = head.predict(out)
        figures[f'{stage}_loss'].update(loss, _size(batch))
        for figure in figures[f'{stage}_own'].values():
            figure.update(predicted if figure.predicts else out, y, weight)
        classes = y.long() if _has_classes(head) else y
        figures[stage].update(predicted, classes)
        figures[f'{stage}_rows'].update(predicted, classes, batch)
        options = {'prog_bar': True, 'batch_size': batch.num_graphs}
        self.log(f'{stage}_loss', figures[f'{stage}_loss'], **options)
        for name, figure in figures[f'{stage}_own'].items():
            self.log(f'{stage}_{name}', figure, **options)
        for chosen in (figures[stage], figures[f'{stage}_rows']):
            self.log_dict(chosen, **options)

    def _cast(self, batch: FieldBatch) -> None:
        # A model of another precision computes with numbers of it:
        for name in ('slot_value', 'y', 'sample_weight'):
            if self.dtype != torch.float32 and name in batch:
                batch[name] = batch[name].to(self.dtype)

    def _when(self, batch_idx: int) -> str:
        step = self.trainer.global_step
        return f'step {step} (epoch {self.current_epoch}, batch {batch_idx})'

    def _rows(self, loader: Any, batch_idx: int) -> Tensor | None:
        # A loader of somebody else need not know them.
        rows = getattr(loader, 'rows', None)
        return None if rows is None else rows(self.current_epoch, batch_idx)


def _has_classes(head: Head) -> bool:
    return isinstance(head, BinaryHead | MulticlassHead)


def _size(batch: FieldBatch) -> Tensor | int:
    # What a batch counts beside others.
    weight = batch.get('sample_weight')
    if weight is None:
        return int(batch.num_graphs)
    total: Tensor = weight.double().sum()
    return total

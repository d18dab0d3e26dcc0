r"""The options of a training, told once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyg_featgraph.nn import FieldModel, RankingHead
from pyg_featgraph.training.defaults import (
    default_batch_size,
    default_patience,
)

if TYPE_CHECKING:
    from torchmetrics import Metric

T = TypeVar('T', bound='TrainingOptions')

#: How names of figures end that are best if low.
LOWER_IS_BETTER = ('loss', 'rmse', 'deviance')

NOT_NEGATIVE = (
    'lr',
    'linear_scale',
    'sparse_scale',
    'weight_decay',
    'embedding_l2',
    'memory',
    'architecture_lr',
    'warmup',
    'save_seconds',
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    r"""What a training depends on beside the model, the data and the
    arguments of :class:`lightning.pytorch.Trainer`.

    Args:
        batch_size (int, optional): The number of rows of a training batch, of
            each process. (default: the highest power of two with which an
            epoch has at least 100 steps, between 32 and 1024)
        lr (float, optional): The learning rate. (default: what suits the
            model, see :attr:`FieldModel.lr <pyg_featgraph.nn.FieldModel>`)
        linear_scale (float, optional): What :obj:`lr` is multiplied with for
            linear parts (:class:`~pyg_featgraph.nn.LR`, also within other
            models), divided by the number of fields. The weight of a category
            is the whole of what it says there, and has far to go; of many
            fields, each goes a part of the way. With :obj:`None` they have the
            rate of everything else. (default: :obj:`150`)
        weight_decay (float, optional): The decay of weights that are matrices:
            not of embeddings, biases, norms and architecture parameters.
            (default: :obj:`0`)
        sparse_scale (float, optional): What these rates are multiplied with
            for tables with sparse gradients, whose steps become shorter and
            shorter. (default: :obj:`10`)
        embedding_l2 (float, optional): The penalty of embeddings and linear
            weights: half this number times their squares is added to the sum
            of the losses of all training rows, as :obj:`1 / C` is in
            scikit-learn's logistic regression. Whatever the optimizer, it is
            part of the gradients, so that an id with few rows stays near zero
            and one with many goes where they say. Of tables with sparse
            gradients a step pulls only at the vectors that it has touched, the
            more, the fewer rows have them: as much as all steps in between
            would. That needs the counts of a
            :class:`~pyg_featgraph.training.FieldDataModule`.
            (default: what suits the model, see :attr:`FieldModel.embedding_l2
            <pyg_featgraph.nn.FieldModel>`)
        memory (float, optional): What a row of earlier trainings counts. The
            model counts the rows that have each id, from one training with
            this option to the next (:attr:`FieldModel.rows_seen
            <pyg_featgraph.nn.FieldModel>`), and half this number times them
            times the squared way of its vector from where the training starts
            is added to the sum of the losses; :obj:`embedding_l2` pulls there
            as well, but for new ids. All other parameters are held likewise,
            by the number of all earlier rows. What had many rows then and few
            now stays, what is new learns freely. Of two classes a row tells
            :math:`p (1 - p)` of its logit, so that 0.2 is about right. It
            costs a copy of the model. With zero nothing is counted, and
            earlier counts are dropped. (default: :obj:`0`)
        architecture_lr (float, optional): If given, the architecture
            parameters of the model are learned with this rate on validation
            rows, in turns with all others on training rows (Algorithm 1 of
            FIVES): what an edge is worth shows in rows that the model has not
            learned by heart. A step takes about twice as long, and the
            validation metrics are no longer those of unseen rows.
            (default: :obj:`None`)
        optimizer (str or callable, optional): The optimizer, by its name in
            :mod:`torch.optim`. Decay is decoupled from the gradients in
            :obj:`"AdamW"`, and an L2 penalty in :obj:`"Adam"`. Tables with
            sparse gradients, as models give large ones, have
            :class:`~pyg_featgraph.optim.RowWiseAdagrad` anyway.
            (default: :obj:`"AdamW"`)
        optimizer_options (dict, optional): Its further arguments. On a CPU
            :obj:`fused=True` is one of them, where torch has it, which makes
            the step of a large table several times as fast.
            (default: none)
        scheduler (str or callable, optional): A schedule of the learning
            rate: :obj:`"cosine"` lets it fall to zero over all steps as a
            cosine does; or any of :mod:`torch.optim.lr_scheduler`, by name.
            (default: :obj:`None`)
        scheduler_options (dict, optional): Its arguments. (default: none)
        scheduler_interval (str, optional): Whether it goes on after each
            :obj:`"epoch"` or each :obj:`"step"`. (default: :obj:`"epoch"`)
        warmup (float, optional): Over how many steps the learning rate rises
            to :obj:`lr`, or, below one, over which share of all; before
            :obj:`"cosine"` or a rate that stays. (default: :obj:`0`)
        ema_decay (float, optional): If given, validation, test and the model
            that is kept have the exponential moving average of the weights
            with this decay, *e.g.*, :obj:`0.999`; at the beginning it is
            lower. A step reads and writes all weights once more.
            (default: :obj:`None`)
        loss (callable, optional): A function of outputs and labels that
            returns their mean loss, and sees no weights of rows.
            (default: :obj:`model.loss`, and that of the head for validation
            and test rows)
        label_smoothing (float, optional): The option of this name of the head
            of the model: by how much labels are moved towards each other in
            training. (default: that of the head)
        class_weight (str or dict, optional): What the weights of rows are
            multiplied with in training, for each class by its number;
            :obj:`"balanced"` gives all classes the same total.
            (default: :obj:`None`)
        metrics (dict, optional): Metrics of :obj:`torchmetrics` that are
            reported beside those of the head, by name. They see what the head
            predicts, and no weights of rows; a
            :class:`~pyg_featgraph.training.RowMetric` also sees the rows.
            (default: none)
        monitor (str, optional): The figure that decides which epoch is the
            best, *e.g.*, :obj:`"valid_auc"`; any that is logged.
            (default: :obj:`"valid_loss"`, for rankings :obj:`"valid_auc"`)
        mode (str, optional): Whether its :obj:`"min"` or :obj:`"max"` is best.
            (default: what one of the :obj:`metrics` says of itself; else
            :obj:`"min"` of what ends in :obj:`loss`, :obj:`rmse` or
            :obj:`deviance`)
        early_stopping (bool, optional): If set to :obj:`False`, all epochs are
            run, and the last one is kept instead of the best one.
            (default: :obj:`True`)
        patience (int, optional): The number of epochs without improvement
            after which the training ends. (default: as many as have 400 steps,
            between 2 and 20)
        seed (int, optional): The seed of the order of the rows and of
            dropout. (default: :obj:`0`)
        save_steps (int, optional): The state is saved after so many steps,
            and after each epoch. (default: :obj:`None`)
        save_seconds (float, optional): The state is saved after so many
            seconds. (default: :obj:`300`)
    """

    batch_size: int | None = None
    lr: float | None = None
    linear_scale: float | None = 150.0
    sparse_scale: float = 10.0
    weight_decay: float = 0.0
    embedding_l2: float | None = None
    memory: float = 0.0
    architecture_lr: float | None = None
    optimizer: str | Callable[..., Optimizer] = 'AdamW'
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler: str | Callable[..., LRScheduler] | None = None
    scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    scheduler_interval: str = 'epoch'
    warmup: float = 0.0
    ema_decay: float | None = None
    loss: Callable[[Tensor, Tensor], Tensor] | None = None
    label_smoothing: float | None = None
    class_weight: str | Mapping[int, float] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    monitor: str | None = None
    mode: str | None = None
    early_stopping: bool = True
    patience: int | None = None
    seed: int = 0
    # What does not change the result is not compared:
    save_steps: int | None = field(default=None, compare=False)
    save_seconds: float | None = field(default=300.0, compare=False)

    def __post_init__(self) -> None:
        self._check_positive('batch_size', 'patience', 'save_steps')
        self._check_choice('scheduler_interval', 'epoch', 'step')
        if self.mode is None and self.monitor is not None:
            object.__setattr__(self, 'mode', self._mode_of(self.monitor))
        self._check_choice('mode', None, 'min', 'max')
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"'{name}' must not be negative (got {value})")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(
                "'ema_decay' must be at least 0 and below 1 (got "
                f'{self.ema_decay})'
            )
        if self.warmup and self.scheduler not in (None, 'cosine'):
            raise ValueError(
                "'warmup' goes before a rate that stays or scheduler='cosine' "
                f'(got {self.scheduler!r})'
            )
        if self.patience is not None and not self.early_stopping:
            raise ValueError(
                'With early_stopping=False all epochs are run: there is no '
                f"'patience' (got {self.patience})"
            )

    def _mode_of(self, monitor: str) -> str:
        metric = self.metrics.get(monitor.removeprefix('valid_'))
        if metric is None:
            return 'min' if monitor.endswith(LOWER_IS_BETTER) else 'max'
        if metric.higher_is_better is None:
            raise ValueError(
                f"'{monitor}' does not say whether high or low is best: set "
                "mode='max' or mode='min'"
            )
        return 'max' if metric.higher_is_better else 'min'

    def _check_positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"'{name}' must be positive (got {value})")

    def _check_choice(self, name: str, *choices: Any) -> None:
        value = getattr(self, name)
        if value not in choices:
            known = ' or '.join(repr(choice) for choice in choices)
            raise ValueError(f"'{name}' must be {known} (got {value!r})")

    def for_rows(self: T, num_rows: int) -> T:
        r"""The options with the batch size and the patience that suit a number
        of training rows, unless they were told.
        """
        size = self.batch_size or default_batch_size(num_rows)
        patience = self.patience
        if patience is None and self.early_stopping:
            patience = default_patience(num_rows, size)
        return replace(self, batch_size=size, patience=patience)

    def for_model(self: T, model: FieldModel) -> T:
        r"""The options with the learning rate and the penalty that suit a
        model and the figure that goes with its head, unless they were told.
        """
        is_ranking = isinstance(model.head, RankingHead)
        monitor = 'valid_auc' if is_ranking else 'valid_loss'
        return replace(
            self,
            lr=model.lr if self.lr is None else self.lr,
            embedding_l2=model.embedding_l2
            if self.embedding_l2 is None
            else self.embedding_l2,
            monitor=self.monitor or monitor,
        )

    def to_dict(self) -> dict[str, Any]:
        r"""The options that decide the result, as JSON-compatible values."""
        return {
            x.name: describe(getattr(self, x.name))
            for x in fields(self)
            if x.compare
        }


def split_options(
    options: T, changes: Mapping[str, Any]
) -> tuple[T, dict[str, Any]]:
    r"""Replaces the options that are named, and returns what is left, which
    belongs to a :class:`lightning.pytorch.Trainer`.
    """
    names = {x.name for x in fields(options)}
    own = {k: v for k, v in changes.items() if k in names}
    if 'monitor' in own:
        own.setdefault('mode', None)
    rest = {k: v for k, v in changes.items() if k not in names}
    return replace(options, **own), rest


def describe(value: Any) -> Any:
    r"""A value as JSON can hold it: objects by what they say of themselves."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(x) for x in value]
    if isinstance(value, partial):
        return [
            describe(value.func),
            *map(describe, (value.args, value.keywords)),
        ]
    if hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    # The address in the memory is another one each time:
    return repr(value).split(' object at ')[0]

r"""Metrics of rows by what a field holds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, SumMetric
from torchmetrics.wrappers.abstract import WrapperMetric

from pyg_featgraph.data import FieldBatch, FieldEncoder, FieldInfo
from pyg_featgraph.data.codecs.base import NUM_SPECIAL
from pyg_featgraph.errors import DataError

#: How many slices are made of their own accord.
MAX_SLICES = 20


class RowMetric(WrapperMetric):
    r"""Base class of metrics that look at the rows, and not only at what is
    predicted of them; another metric computes the figure.

    Args:
        metric (torchmetrics.Metric): The other metric.
        field (str): The name of a field of categories.
    """

    def __init__(self, metric: Metric, field: str) -> None:
        super().__init__()
        self.metric = metric
        self.field = field

    @property
    def higher_is_better(self) -> bool | None:
        r"""Whether high is best, as the other metric says."""
        out: bool | None = self.metric.higher_is_better
        return out

    @abstractmethod
    def update(self, preds: Tensor, target: Tensor, batch: FieldBatch) -> None:
        r"""Takes rows.

        Args:
            preds (torch.Tensor): What is predicted.
            target (torch.Tensor): The labels.
            batch (FieldBatch): The rows.
        """

    def compute(self) -> Tensor:
        out: Tensor = self.metric.compute()
        return out

    def reset(self) -> None:
        self.metric.reset()
        super().reset()

    def _ids(self, batch: FieldBatch) -> Tensor:
        # In the numbering of the field, where each row has one.
        i = place_of(batch.info, self.field)
        slot = batch.info.first_slots[i]
        ids: Tensor = batch.slot_index[:, slot] - batch.info.offsets[i]
        return ids

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}({self.metric}, {self.field!r})'


class ByField(RowMetric):
    r"""Gives a metric the groups of rows that it needs, such as
    :class:`~pyg_featgraph.training.GroupedAUC` or any of
    :mod:`torchmetrics.retrieval`: rows with the same category of a field are a
    group.

    Rows in which the field is missing, or rare or unseen, are left out, as they
    do not belong together; so the field should have a :obj:`min_count` of one
    and be fitted to the users of all rows, say.

    Args:
        metric (torchmetrics.Metric): A metric that is updated with
            predictions, labels and :obj:`indexes`.
        field (str): The name of the field.
    """

    def update(self, preds: Tensor, target: Tensor, batch: FieldBatch) -> None:
        ids = self._ids(batch)
        kept = ids >= NUM_SPECIAL
        self.metric.update(preds[kept], target[kept], indexes=ids[kept])


class Slice(RowMetric):
    r"""Gives a metric the rows with one category of a field alone; it is NaN
    where there are none.

    Args:
        metric (torchmetrics.Metric): The metric.
        field (str): The name of the field.
        number (int): The id of the category in the field.
    """

    def __init__(self, metric: Metric, field: str, number: int) -> None:
        super().__init__(metric, field)
        self.number = number
        self.num_rows = SumMetric()

    def update(self, preds: Tensor, target: Tensor, batch: FieldBatch) -> None:
        kept = self._ids(batch) == self.number
        self.num_rows.update(kept.sum())
        # Also if there are none: processes exchange what they have got.
        self.metric.update(preds[kept], target[kept])

    def compute(self) -> Tensor:
        count: Tensor = self.num_rows.compute()
        return super().compute() if count > 0 else count * torch.nan

    def reset(self) -> None:
        self.num_rows.reset()
        super().reset()

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, {self.number})'


def slices(
    name: str,
    metric: Metric,
    encoder: FieldEncoder,
    field: str,
    values: Sequence[Any] | None = None,
) -> dict[str, Slice]:
    r"""A metric for each category of a field, by its name, an underscore and
    the category: *e.g.*, :obj:`valid_auc_phone` in a training.

    Args:
        name (str): The name of the metric.
        metric (torchmetrics.Metric): The metric.
        encoder (FieldEncoder): The encoder of the rows.
        field (str): The name of a field of categories.
        values (list, optional): The categories. (default: all that the
            encoder knows, if they are no more than 20)

    Raises:
        DataError: If the field has no categories, too many, or not these.
    """
    known = encoder.codecs[place_of(encoder.info, field)].vocabulary
    texts = [] if known is None else [str(key) for key in known.index]
    chosen = texts if values is None else [str(x) for x in values]
    if values is None and len(chosen) > MAX_SLICES:
        raise DataError(
            f"Field '{field}' has {len(chosen)} categories: say of which to "
            f'make slices, by values={texts[:3]}, say'
        )
    unknown = [x for x in chosen if x not in texts]
    if unknown or not chosen:
        raise DataError(
            f"Field '{field}' has no categories {unknown or ''}, but "
            f'{texts[:MAX_SLICES]}'
        )
    return {
        f'{name}_{x}': Slice(
            metric.clone(), field, NUM_SPECIAL + texts.index(x)
        )
        for x in chosen
    }


def place_of(info: FieldInfo, field: str) -> int:
    r"""The number of a field of which each row has one category.

    Raises:
        DataError: If there is none such.
    """
    if field not in info.names:
        raise DataError(
            f"There is no field '{field}' to take groups of rows by, but "
            f'{list(info.names)}'
        )
    i = info.names.index(field)
    if info.kinds[i] != 'categorical':
        raise DataError(
            f"Groups of rows need a field of categories, but '{field}' is "
            f'{info.kinds[i]}'
        )
    return i

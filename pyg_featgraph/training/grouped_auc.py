r"""The area under the ROC curve within groups of rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from pyg_featgraph.nn.areas import grouped_auc


class GroupedAUC(Metric):
    r"""The AUC within groups of rows (gAUC), such as those of a user, of the
    `"Deep Interest Network for Click-Through Rate Prediction"
    <https://arxiv.org/abs/1706.06978>`_ paper (Eq. 7):

    .. math::
        \frac{\sum_g R_g \, \mathrm{AUC}_g}{\sum_g R_g}

    over all groups :math:`g` of :math:`R_g` rows that have both classes, as
    others have no AUC. It is what matters where rows of the same group are put
    in an order, and is not raised by what tells groups apart.

    :class:`~pyg_featgraph.training.ByField` gives it the groups in a training;
    elsewhere it is updated with predictions, labels and :obj:`indexes`, as the
    metrics of :mod:`torchmetrics.retrieval` are, whose
    :class:`~torchmetrics.retrieval.RetrievalAUROC` has all groups count alike.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ('preds', 'target', 'indexes'):
            self.add_state(name, [], dist_reduce_fx='cat')

    def update(self, preds: Tensor, target: Tensor, indexes: Tensor) -> None:
        r"""Takes rows.

        Args:
            preds (torch.Tensor): Scores, with shape :math:`(B)`.
            target (torch.Tensor): The labels 0 and 1, with shape :math:`(B)`.
            indexes (torch.Tensor): The group of each row, with shape
                :math:`(B)`.
        """
        values: Any = self
        values.preds.append(preds.detach().double())
        values.target.append(target.detach().double())
        values.indexes.append(indexes.detach().long())

    def compute(self) -> Tensor:
        # Other processes have sent theirs as one tensor:
        states: Any = (self.preds, self.target, self.indexes)
        preds, y, group = (
            torch.cat(x) if isinstance(x, list) else x for x in states
        )
        return grouped_auc(preds, y, group)

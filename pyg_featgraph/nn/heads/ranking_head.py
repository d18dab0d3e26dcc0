r"""An order of rows."""

from __future__ import annotations

from itertools import chain

import torch.nn.functional as F
from torch import Tensor

from pyg_featgraph.nn.heads.base import Head

#: Pairs are made within so many rows, since their number is its square.
MAX_ROWS = 2048


class RankingHead(Head):
    r"""An order of rows, by labels of any grades: the output is a score, and
    the loss is that of all pairs of rows :math:`y_i > y_j` of a batch,

    .. math::
        \mathcal{L} = \frac{\sum_{y_i > y_j} w_i w_j \log (1 + e^{s_j - s_i})}
        {\sum_{y_i > y_j} w_i w_j},

    a smooth bound of :math:`1 - \mathrm{AUC}` for labels 0 and 1, from the
    `"Learning to Rank using Gradient Descent"
    <https://doi.org/10.1145/1102351.1102363>`_ paper. In batches of more than
    2,048 rows, pairs are made within parts of this size.
    """

    name = 'ranking'
    unit = 'score'
    wanted = 'a finite number'

    def loss(
        self,
        out: Tensor,
        y: Tensor,
        weight: Tensor | None = None,
        part: int | None = None,
    ) -> Tensor:
        total = count = out.new_zeros(())
        weight = out.new_ones(out.size()) if weight is None else weight
        parts = (
            chain(*(rows.split(MAX_ROWS) for rows in x.split(part or len(x))))
            for x in (out, y, weight)
        )
        for s, t, w in zip(*parts, strict=True):
            pairs = (t.unsqueeze(1) > t) * (w.unsqueeze(1) * w)
            total = total + (F.softplus(s - s.unsqueeze(1)) * pairs).sum()
            count = count + pairs.sum()
        # A batch of equals has nothing to teach:
        return total / count.clamp(min=1e-12)

    def predict(self, out: Tensor) -> Tensor:
        return out

    def merge(self, outs: Tensor) -> Tensor:
        return outs.mean(dim=0)

    def wrong(self, y: Tensor) -> Tensor:
        return ~y.isfinite()

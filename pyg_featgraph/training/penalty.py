r"""What holds the parameters of a model: a penalty, as a part of gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Embedding, Module, Parameter

from pyg_featgraph.nn import FieldModel, NodeEmbedding
from pyg_featgraph.training.start import Start, by_table

#: What has a vector, or a weight, for each id.
TABLES = (NodeEmbedding, Embedding)


@dataclass
class _Pull:
    # How strongly, to where, and how seldom a step with sparse gradients does.
    strength: Tensor | float
    goal: Tensor | None = None
    share: Tensor | None = None

    def add_to(self, grad: Tensor, p: Tensor, rows: Any = ...) -> None:
        way = p[rows]
        if self.goal is not None:
            way = way - self.goal[rows]
        if self.share is not None:
            way = way / self.share[rows]
        if isinstance(self.strength, Tensor):
            grad.addcmul_(way, self.strength[rows])
        else:
            grad.add_(way, alpha=self.strength)


class Penalty:
    r"""Adds the derivative of the penalty :math:`\frac{\lambda}{2} \|
    \mathbf{T} \|^2` to the gradients of the tables of a model: in the
    gradients, and not as a decay apart from them as that of AdamW, which would
    shrink all ids alike, however many rows they have.

    With a :obj:`start`, the model has learned from earlier rows, and the
    penalty is what they have left behind, as if their losses were parabolas:
    of the vector of each id

    .. math::
        \frac{\lambda + \mu c_t}{2} \| \mathbf{T}_t - \mathbf{T}^0_t \|^2,

    where :math:`c_t` of the earlier rows have it and :math:`\mathbf{T}^0_t` is
    what it was in the beginning, or zero if none has it; and of all other
    parameters the same with :math:`\lambda = 0` and the number of all rows.
    It is a posterior whose precision is what :math:`\mu` says that a row
    tells, as in the `"Overcoming Catastrophic Forgetting in Neural Networks"
    <https://arxiv.org/abs/1612.00796>`_ paper, which measures that for each
    parameter instead.

    A sparse gradient holds only the rows of ids that a step has touched. They
    get what the penalty would have done since they were touched the last time:
    their part is divided by the share of steps that touch them, which is

    .. math::
        1 - \left( 1 - B / R \right)^{c_t}

    for an id with which :math:`c_t` of :math:`R` training rows have a slot,
    where a step takes :math:`B` of them. Its mean over steps is that of a dense
    gradient.

    Args:
        model (FieldModel): The model.
        l2 (float): The number :math:`\lambda` by the number of training rows.
        memory (float, optional): The number :math:`\mu`, likewise.
            (default: :obj:`0`)
        start (Start, optional): Where the training begins.
            (default: :obj:`None`)
    """

    def __init__(
        self,
        model: FieldModel,
        l2: float,
        memory: float = 0.0,
        start: Start | None = None,
    ) -> None:
        self.model = model
        self.l2 = l2
        self._pulls: dict[Parameter, _Pull] = {}
        self._sparse: set[Parameter] = set()
        for module in model.modules():
            if isinstance(module, TABLES):
                own = module.parameters(recurse=False)
                learned = [p for p in own if p.requires_grad]
                if l2:
                    self._pulls |= {p: _Pull(l2) for p in learned}
                if is_sparse(module):
                    self._sparse |= {*learned}
        if memory and start is not None:
            self._hold(memory, start)

    def _hold(self, memory: float, start: Start) -> None:
        num_rows = start.num_rows(self.model.info)
        for name, p in self.model.named_parameters():
            if name in start.weights:
                goal = start.weights[name].to(p)
                self._pulls[p] = _Pull(memory * num_rows, goal)
        for p, count in by_table(self.model, start.rows_seen):
            if p in self._pulls:
                count = count.to(p.device).unsqueeze(1)
                strength = self.l2 + memory * count.to(p.dtype)
                self._pulls[p].strength = strength

    @property
    def has_dense(self) -> bool:
        r"""Whether there is a penalty of tables with dense gradients."""
        return any(p not in self._sparse for p in self._pulls)

    def count(self, count: Tensor, num_rows: int, step: int) -> None:
        r"""Looks at training rows, without which tables with sparse gradients
        have no penalty.

        Args:
            count (torch.Tensor): How many of them have each id, see
                :func:`~pyg_featgraph.training.start.count_rows`.
            num_rows (int): The number :math:`R` of rows.
            step (int): The number :math:`B` of rows of a step.
        """
        share = touched_share(count, num_rows, step)
        for p, values in by_table(self.model, share):
            if p in self._sparse and p in self._pulls:
                self._pulls[p].share = values.to(p).unsqueeze(1)

    @torch.no_grad()
    def add(self) -> None:
        r"""Adds its derivative to the gradients that there are."""
        for p, pull in self._pulls.items():
            if p.grad is None:
                continue
            if not p.grad.is_sparse:
                pull.add_to(p.grad, p)
            elif pull.share is not None:
                grad = p.grad.coalesce()
                values = grad.values().clone()
                pull.add_to(values, p, grad.indices()[0])
                p.grad = torch.sparse_coo_tensor(
                    grad.indices(),
                    values,
                    p.size(),
                    is_coalesced=True,
                    check_invariants=False,
                )


def is_sparse(module: Module) -> bool:
    r"""Whether a table has sparse gradients."""
    return isinstance(module, TABLES) and bool(getattr(module, 'sparse', False))


def touched_share(count: Tensor, num_rows: int, step: int) -> Tensor:
    r"""The share of steps that touch each id, with shape :math:`(T)`; one for
    ids that no row has.

    Args:
        count (torch.Tensor): How many rows have each id.
        num_rows (int): The number of rows.
        step (int): The number of rows of a step.
    """
    share = 1 - max(1 - step / num_rows, 0.0) ** count.float()
    return share.where(count > 0, 1.0)

r"""The penalty of embeddings, as a part of their gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Embedding, Module, Parameter

from pyg_featgraph.data import FieldTable
from pyg_featgraph.nn import NodeEmbedding

#: What has a vector, or a weight, for each id.
TABLES = (NodeEmbedding, Embedding)


class EmbeddingPenalty:
    r"""Adds the derivative of the penalty :math:`\frac{\lambda}{2} \|
    \mathbf{T} \|^2` to the gradients of the tables of a model: in the
    gradients, and not as a decay apart from them as that of AdamW, which would
    shrink all ids alike, however many rows they have.

    A sparse gradient holds only the rows of ids that a step has touched. They
    get what the penalty would have done since they were touched the last time:
    their part is divided by the share of steps that touch them, which is

    .. math::
        1 - \left( 1 - B / R \right)^{c_t}

    for an id with which :math:`c_t` of :math:`R` training rows have a slot,
    where a step takes :math:`B` of them. Its mean over steps is that of a dense
    gradient.

    Args:
        model (torch.nn.Module): The model.
        l2 (float): The number :math:`\lambda` by the number of training rows.
    """

    def __init__(self, model: Module, l2: float) -> None:
        self.model = model
        self.l2 = l2
        self._dense: list[Parameter] = []
        self._sparse: dict[Parameter, Tensor] = {}
        for module in model.modules() if l2 else ():
            if isinstance(module, TABLES) and not is_sparse(module):
                own = module.parameters(recurse=False)
                self._dense += [p for p in own if p.requires_grad]

    @property
    def has_dense(self) -> bool:
        r"""Whether there is a penalty of tables with dense gradients."""
        return len(self._dense) > 0

    def count(self, data: FieldTable, num_rows: int) -> None:
        r"""Looks at training rows, without which tables with sparse gradients
        have no penalty.

        Args:
            data (FieldTable): The training rows.
            num_rows (int): The number :math:`B` of rows of a step.
        """
        tables = [
            module
            for module in self.model.modules()
            if isinstance(module, NodeEmbedding)
            and any(is_sparse(x) for x in module.modules())
        ]
        if not tables or not self.l2:
            return
        share = touched_share(data, num_rows)
        for module in tables:
            for p, values in module.by_table(share):
                if p.requires_grad:
                    self._sparse[p] = values.to(p).unsqueeze(1)

    def add(self) -> None:
        r"""Adds its derivative to the gradients that there are."""
        for p in self._dense:
            if p.grad is not None:
                p.grad.add_(p.detach(), alpha=self.l2)
        for p, share in self._sparse.items():
            if p.grad is None or not p.grad.is_sparse:
                continue
            grad = p.grad.coalesce()
            index, values = grad.indices(), grad.values()
            pull = p.detach()[index[0]] / share.to(p.device)[index[0]]
            p.grad = torch.sparse_coo_tensor(
                index,
                values.add(pull, alpha=self.l2),
                p.size(),
                is_coalesced=True,
                check_invariants=False,
            )


def is_sparse(module: Module) -> bool:
    r"""Whether a table has sparse gradients."""
    return isinstance(module, TABLES) and bool(getattr(module, 'sparse', False))


def touched_share(data: FieldTable, num_rows: int) -> Tensor:
    r"""The share of steps that touch each id, with shape :math:`(T)`; one for
    ids that no row has.

    Args:
        data (FieldTable): The rows.
        num_rows (int): The number of rows of a step.
    """
    count = torch.zeros(data.info.num_embeddings, dtype=torch.int32)
    for part in data.parts():
        ids = part.slot_index.flatten().cpu()
        count.index_add_(0, ids, torch.ones_like(ids, dtype=torch.int32))
    left = max(1 - num_rows / len(data), 0.0)
    share = 1 - left ** count.float()
    return share.where(count > 0, 1.0)

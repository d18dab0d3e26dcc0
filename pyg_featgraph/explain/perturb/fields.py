r"""Rows of an encoded table, with its fields as features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyg_featgraph.data import FieldBatch, FieldTable
from pyg_featgraph.data.codecs import NUMBER
from pyg_featgraph.explain.perturb.black_box import ModelPerturbation


class FieldPerturbation(ModelPerturbation):
    r"""Rows of a :class:`~pyg_featgraph.data.FieldTable`, whose features are
    the fields.

    A field that is off has the value zero in all of its slots, hence the zero
    vector as its embedding, but a numeric field takes its mean, as in the
    `"Feature Interaction Interpretability: A Case for Explaining
    Ad-Recommendation Systems via Neural Interaction Detection"
    <https://arxiv.org/abs/2006.10966>`_ paper (Section 6.1), unless the
    background knows no number. Bucketised numbers are embedded like
    categories and are switched off like them.

    A missing entry has an embedding of its own, and a model can learn from
    it. So it is a feature like any other, and can be off. Only if
    :obj:`table.drop_absent` is set, where the model does not see it at all,
    it is none.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`,
            such as any :class:`~pyg_featgraph.nn.FieldModel`.
        table (FieldTable): The rows to explain.
        background (FieldTable, optional): The rows to take means of numbers
            over, usually those for training. (default: :obj:`table`)
        output (str, optional): See :class:`ModelPerturbation`.
            (default: :obj:`"logit"`)
        target (int or list of int, optional): See
            :class:`ModelPerturbation`.
        batch_size (int, optional): How many samples the model gets at once.
            (default: :obj:`4096`)
    """

    def __init__(
        self,
        model: torch.nn.Module,
        table: FieldTable,
        background: FieldTable | None = None,
        output: str | None = None,
        target: int | Sequence[int] | Tensor | None = None,
        batch_size: int = 4096,
    ) -> None:
        background = table if background is None else background
        if background.info != table.info:
            raise ValueError(
                "'background' must have the fields of 'table', encoded by the "
                'same encoder'
            )
        self.table = table
        self._off = _numbers(background)
        super().__init__(model, output, target, batch_size)

    def __len__(self) -> int:
        return len(self.table)

    def names(self, row: int) -> list[str]:
        return [self.table.info.names[i] for i in self._features(row)]

    def perturb(self, row: int, masks: Tensor) -> FieldBatch:
        r"""The perturbed copies of a row as one batch.

        Args:
            row (int): The index of the row.
            masks (torch.Tensor): Which fields are on, with shape
                :math:`(n, d)`.
        """
        info = self.table.info
        on = masks.new_ones(masks.size(0), info.num_fields)
        on[:, self._features(row)] = masks
        on = on[:, info.slot_field]
        index, value = self.table.slot_index[row], self.table.slot_value[row]
        number, mean = self._off
        return FieldBatch.from_rows(
            torch.where(on | (number < 0), index.long(), number),
            torch.where(on, value, mean.to(value)),
            info,
            drop_absent=self.table.drop_absent,
        )

    def outputs(self, row: int, masks: Tensor) -> Any:
        return self.ask(self.to_model(self.perturb(row, masks)))

    def _features(self, row: int) -> list[int]:
        info = self.table.info
        if not self.table.drop_absent:
            return list(range(info.num_fields))
        present = info.present(self.table.slot_index[row : row + 1])
        return present[0].nonzero()[:, 0].tolist()


def _numbers(table: FieldTable) -> tuple[Tensor, Tensor]:
    r"""For each slot the id of a number and its mean value, or -1 and zero
    if it holds none, or none that the table knows.
    """
    info = table.info
    number = torch.full((info.num_slots,), -1)
    mean = torch.zeros(info.num_slots, dtype=torch.double)
    for kind, slot, offset in zip(
        info.kinds, info.first_slots, info.offsets, strict=True
    ):
        known = table.slot_index[:, slot] == offset + NUMBER
        if kind == 'numeric' and known.any():
            number[slot] = offset + NUMBER
            mean[slot] = table.slot_value[known, slot].double().mean()
    return number, mean

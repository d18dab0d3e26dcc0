r"""Where a training begins that goes on from earlier rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from pyg_featgraph.data import FieldInfo, FieldTable
from pyg_featgraph.nn import FieldModel, NodeEmbedding


@dataclass(frozen=True)
class Start:
    r"""What a model has learned before a training.

    Args:
        rows_seen (torch.Tensor): How many earlier rows have each id.
        weights (dict): The parameters, by name; zero where no row has had
            the id, of which there is nothing to keep.
    """

    rows_seen: Tensor
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, model: FieldModel) -> Start | None:
        r"""The start of a training of a model, if it has counted rows.

        Args:
            model (FieldModel): The model.
        """
        if model.rows_seen is None:
            return None
        seen = model.rows_seen.cpu().clone()
        weights = {
            p: p.detach().clone() for p in model.parameters() if p.requires_grad
        }
        for p, count in by_table(model, seen):
            if p in weights:
                weights[p][count.to(p.device) == 0] = 0
        names = {p: name for name, p in model.named_parameters()}
        return cls(seen, {names[p]: x for p, x in weights.items()})

    def num_rows(self, info: FieldInfo) -> int:
        r"""The number of earlier rows.

        Args:
            info (FieldInfo): The layout of the fields.
        """
        return int(self.rows_seen.sum()) // info.num_slots


def count_rows(data: FieldTable) -> Tensor:
    r"""How many slots of rows have each id, with shape :math:`(T)`.

    Args:
        data (FieldTable): The rows.
    """
    count = torch.zeros(data.info.num_embeddings, dtype=torch.long)
    for part in data.parts():
        count += part.slot_index.flatten().cpu().bincount(minlength=len(count))
    return count


def by_table(
    model: torch.nn.Module, values: Tensor
) -> list[tuple[Parameter, Tensor]]:
    r"""All tables of a model, each with the values of its rows.

    Args:
        model (torch.nn.Module): The model.
        values (torch.Tensor): A number for each id, with shape :math:`(T)`.
    """
    return [
        pair
        for module in model.modules()
        if isinstance(module, NodeEmbedding)
        for pair in module.by_table(values)
    ]

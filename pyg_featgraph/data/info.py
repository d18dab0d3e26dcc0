r"""How the fields of an encoded table are laid out in ids and slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class FieldInfo:
    r"""What a model has to know about an encoded table.

    A row is stored as :math:`S` *slots*, each an id with a value. A field
    owns one slot, or several if it is multi-valued or bucketised at several
    granularities; the vector of its node is the sum over its slots of value
    times embedding. Every field owns a block of consecutive ids: the first
    stands for "missing", the second for "rare or unseen" (categories and
    buckets) or for "a number" (numeric fields).

    Args:
        names (tuple of str): The names of the fields, in node order.
        sizes (tuple of int): The number of ids of each field.
        slots (tuple of int): The number of slots of each field.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    slots: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ('names', 'sizes', 'slots'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not len(self.names) == len(self.sizes) == len(self.slots):
            raise ValueError(
                "'names', 'sizes' and 'slots' must be equally long (got "
                f'{len(self.names)}, {len(self.sizes)} and {len(self.slots)})'
            )

    @property
    def num_fields(self) -> int:
        r"""The number :math:`n` of fields, which are the nodes of a row."""
        return len(self.names)

    @property
    def num_slots(self) -> int:
        r"""The number :math:`S \ge n` of slots of a row."""
        return sum(self.slots)

    @property
    def num_embeddings(self) -> int:
        r"""The number of ids over all fields."""
        return sum(self.sizes)

    @property
    def offsets(self) -> tuple[int, ...]:
        r"""The first id of each field, which stands for "missing"."""
        return (0, *accumulate(self.sizes[:-1]))

    @property
    def first_slots(self) -> tuple[int, ...]:
        r"""The first slot of each field."""
        return (0, *accumulate(self.slots[:-1]))

    def present(self, slot_index: Tensor) -> Tensor:
        r"""Which fields are not missing in encoded rows.

        Args:
            slot_index (torch.Tensor): The ids, with shape :math:`(B, S)`.

        Shapes:
            - **output:** a mask :math:`(B, n)`
        """
        first = torch.tensor(self.first_slots, device=slot_index.device)
        missing = torch.tensor(self.offsets, device=slot_index.device)
        return slot_index[:, first] != missing

    @property
    def has_single_slots(self) -> bool:
        r"""Whether every field owns exactly one slot."""
        return self.num_slots == self.num_fields

    @property
    def slot_field(self) -> Tensor:
        r"""The field of each slot, with shape :math:`(S)`."""
        return torch.arange(self.num_fields).repeat_interleave(
            torch.tensor(self.slots)
        )

    def to_dict(self) -> dict[str, Any]:
        r"""The description as JSON-compatible values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldInfo:
        r"""The inverse of :meth:`to_dict`."""
        return cls(values['names'], values['sizes'], values['slots'])

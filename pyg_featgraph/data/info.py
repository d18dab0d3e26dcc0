r"""How the fields of an encoded table are laid out in ids and slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

KINDS = ('categorical', 'multi', 'vector', 'bucket', 'numeric')


@dataclass(frozen=True)
class FieldInfo:
    r"""What a model has to know about an encoded table.

    A row is stored as :math:`S` *slots*, each an id with a value. A field
    owns one slot, or several if it is multi-valued or bucketised at several
    granularities; the vector of its node is the sum over its slots of value
    times embedding. Every field owns a block of consecutive ids: the first
    stands for "missing", the second for "rare or unseen" (categories and
    buckets) or for "a number" (numbers and the first component of vectors).

    Args:
        names (tuple of str): The names of the fields, in node order.
        sizes (tuple of int): The number of ids of each field.
        slots (tuple of int): The number of slots of each field.
        kinds (tuple of str): What each field is: :obj:`"categorical"`,
            :obj:`"multi"` (several categories), :obj:`"vector"`,
            :obj:`"bucket"` (a number that picks an embedding, or one of each
            granularity) or :obj:`"numeric"` (a number that scales its
            embedding).

    Raises:
        ValueError: If the tuples differ in length, or if a field has an
            unknown kind, no id, no slot or, being numeric, not exactly one
            slot with the ids of "missing" and "a number".
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    slots: tuple[int, ...]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {}
        for name in ('names', 'sizes', 'slots', 'kinds'):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            lengths[name] = len(getattr(self, name))
        if len({*lengths.values()}) > 1:
            raise ValueError(
                'There must be one entry for each field in all of '
                f'{", ".join(lengths)} (got {[*lengths.values()]})'
            )
        for name, size, slots, kind in zip(
            self.names, self.sizes, self.slots, self.kinds, strict=True
        ):
            if kind not in KINDS:
                raise ValueError(
                    f"Field '{name}': the kind must be one of {KINDS} (got "
                    f'{kind!r})'
                )
            if size < 1 or slots < 1:
                raise ValueError(
                    f"Field '{name}' needs at least one id and one slot (got "
                    f'{size} and {slots})'
                )
            if kind == 'numeric' and (size, slots) != (2, 1):
                raise ValueError(
                    f"Field '{name}' is numeric, so it has two ids and one "
                    f'slot (got {size} and {slots})'
                )

    @property
    def num_fields(self) -> int:
        r"""The number :math:`n` of fields, which are the nodes of a row."""
        return len(self.names)

    @cached_property
    def numbers(self) -> dict[str, int]:
        r"""The number of each field by its name."""
        return {name: i for i, name in enumerate(self.names)}

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
        return cls(
            values['names'], values['sizes'], values['slots'], values['kinds']
        )

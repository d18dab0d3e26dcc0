r"""An encoded table: the rows of a data set as ids and values."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyg_featgraph.data.batch import FieldBatch
from pyg_featgraph.data.info import FieldInfo
from pyg_featgraph.errors import DataError

if TYPE_CHECKING:
    from pyg_featgraph.data.stored_table import StoredTable

#: Row numbers, as tables are indexed by them.
Rows = slice | Tensor | Sequence[int]


class FieldTable(Dataset[Any]):
    r"""A table after encoding, from which batches are cut by row numbers.

    .. code-block:: python

        table[torch.tensor([3, 1, 4])]  # a FieldBatch of three graphs
        table[:100]  # the first hundred rows as one batch
        table[5]  # the graph of one row

    Args:
        slot_index (torch.Tensor): The ids of the slots, with shape
            :math:`(R, S)`.
        slot_value (torch.Tensor): The values of the slots, with shape
            :math:`(R, S)`.
        info (FieldInfo): The layout of the fields.
        y (torch.Tensor, optional): The labels, with shape :math:`(R)`; what
            they have to be is up to the head of a model.
            (default: :obj:`None`)
        drop_absent (bool, optional): Whether missing fields are left out of
            the graphs. It may be changed at any time, and parts of the table
            take it over. (default: :obj:`False`)
        sample_weight (torch.Tensor, optional): How much each row counts, with
            shape :math:`(R)`. (default: all rows are alike)

    Raises:
        DataError: If a label or weight is not finite, or a weight negative.
    """

    def __init__(
        self,
        slot_index: Tensor,
        slot_value: Tensor,
        info: FieldInfo,
        y: Tensor | None = None,
        drop_absent: bool = False,
        sample_weight: Tensor | None = None,
    ) -> None:
        sizes = [list(x.size()) for x in (slot_index, slot_value)]
        if sizes[0] != sizes[1] or sizes[0][1:] != [info.num_slots]:
            raise ValueError(
                "'slot_index' and 'slot_value' must have shape "
                f'[*, {info.num_slots}] (got {sizes[0]} and {sizes[1]})'
            )
        if y is not None:
            _check_per_row('y', y, sizes[0][0])
        if sample_weight is not None:
            _check_per_row('sample_weight', sample_weight, sizes[0][0])
            if (sample_weight < 0).any():
                at = int(sample_weight.argmin())
                raise DataError(
                    f"'sample_weight', row {at}: {sample_weight[at]:g} is "
                    'negative'
                )
        self.slot_index = slot_index
        self.slot_value = slot_value
        self.info = info
        self.y = y
        self.drop_absent = drop_absent
        self.sample_weight = sample_weight

    @staticmethod
    def open(
        folder: str | os.PathLike[str], window: int = 2**18
    ) -> StoredTable:
        r"""Opens a table that
        :meth:`~pyg_featgraph.data.FieldEncoder.transform` has written to a
        folder. Its rows stay there and are mapped into memory when they are
        asked for.

        Args:
            folder (str): The folder.
            window (int, optional): How many rows are shuffled together in
                training, drawn as blocks of 4,096 from anywhere in the table.
                As many are held in memory.
                (default: :obj:`262144`)

        Raises:
            DataError: If there is no such table in the folder, or if one of
                its files is damaged.
        """
        from pyg_featgraph.data.stored_table import StoredTable

        return StoredTable(folder, window)

    @property
    def window(self) -> int:
        r"""How many rows a loader shuffles together; here all."""
        return max(len(self), 1)

    @property
    def block_sizes(self) -> Tensor:
        r"""The rows of each block, which are read together, with shape
        :math:`(K)`; here a single one.
        """
        return torch.tensor([len(self)])

    def parts(self) -> Iterator[FieldTable]:
        r"""The rows in order, as tables in memory that follow each other; here
        a single one.
        """
        yield self

    def fingerprint(self) -> str:
        r"""What tells the rows from others."""
        digest = hashlib.sha256()
        for value in (
            self.slot_index,
            self.slot_value,
            self.y,
            self.sample_weight,
        ):
            if value is not None:
                digest.update(f'{value.dtype} {list(value.size())} '.encode())
                flat = value.detach().cpu().contiguous().view(-1)
                digest.update(cast(Any, flat.view(torch.uint8).numpy()))
        return f'{len(self)} rows, sha256 {digest.hexdigest()}'

    def __len__(self) -> int:
        return self.slot_index.size(0)

    def __getitem__(self, rows: int | Rows) -> object:
        if isinstance(rows, int):
            return self.batch([rows])[0]
        return self.batch(rows)

    def batch(self, rows: Rows = slice(None)) -> FieldBatch:
        r"""The chosen rows as a batch of graphs.

        Args:
            rows (slice, torch.Tensor or list of int, optional): Which rows.
                (default: all)
        """
        return FieldBatch.from_rows(
            # Ids are stored as 32-bit integers to halve the memory of the
            # table, but an index of PyG is a 64-bit one:
            _at(self.slot_index, rows).long(),
            _at(self.slot_value, rows),
            self.info,
            _at(self.y, rows),
            self.drop_absent,
            _at(self.sample_weight, rows),
        )

    def subset(self, rows: Rows) -> FieldTable:
        r"""The chosen rows as a table of their own."""
        return FieldTable(
            _at(self.slot_index, rows),
            _at(self.slot_value, rows),
            self.info,
            _at(self.y, rows),
            self.drop_absent,
            _at(self.sample_weight, rows),
        )

    def split(
        self, fractions: Sequence[float], seed: int = 0
    ) -> tuple[FieldTable, ...]:
        r"""Cuts the rows at random into tables of the given shares.

        Args:
            fractions (sequence of float): The shares; they must sum to one.
            seed (int, optional): The seed of the shuffle.
                (default: :obj:`0`)
        """
        cuts = self._cuts(fractions)
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self), generator=generator)
        return tuple(self.subset(rows) for rows in order.tensor_split(cuts))

    def _cuts(self, fractions: Sequence[float]) -> Tensor:
        if abs(sum(fractions) - 1) > 1e-6 or min(fractions) <= 0:
            raise ValueError(
                "'fractions' must be positive and sum to one "
                f'(got {list(fractions)})'
            )
        share = torch.tensor(fractions, dtype=torch.double).cumsum(0)[:-1]
        return (share * len(self)).round().long()

    def __repr__(self) -> str:
        return (
            f'{self.__class__.__name__}({len(self)}, '
            f'num_fields={self.info.num_fields}, '
            f'num_embeddings={self.info.num_embeddings})'
        )


@overload
def _at(x: Tensor, rows: Rows) -> Tensor: ...


@overload
def _at(x: Tensor | None, rows: Rows) -> Tensor | None: ...


def _at(x: Tensor | None, rows: Rows) -> Tensor | None:
    if x is None or isinstance(rows, slice):
        return x if x is None else x[rows]
    rows = torch.as_tensor(rows, device=x.device)
    if rows.dtype == torch.bool or rows.numel() == 0 or int(rows.min()) < 0:
        return x[rows.long() if rows.numel() == 0 else rows]
    # Several times as fast as an index, which PyTorch makes for any shape:
    return x.index_select(0, rows)


def _check_per_row(name: str, x: Tensor, num_rows: int) -> None:
    if list(x.size()) != [num_rows]:
        raise ValueError(
            f"'{name}' must have shape [{num_rows}] (got {list(x.size())})"
        )
    wrong = (~x.isfinite()).nonzero().flatten()
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"'{name}', row {at}: {x[at].item():g} is not a finite number "
            f'({len(wrong)} such of {num_rows} rows): correct or drop these '
            'rows'
        )

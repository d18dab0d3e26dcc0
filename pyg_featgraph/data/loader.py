r"""Batches of field graphs in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pyg_featgraph.data.batch import FieldBatch
from pyg_featgraph.data.table import FieldTable


class FieldGraphLoader(DataLoader):
    r"""Loads the rows of a table as batches of field graphs.

    Batches are cut from the columns of the table by row numbers, so that no
    graph is ever built one by one. Every epoch has another order; the same
    seed gives the same orders. The last, smaller batch is kept.

    Args:
        table (FieldTable): The encoded rows.
        batch_size (int, optional): The number of rows of a batch.
            (default: :obj:`1024`)
        shuffle (bool, optional): Whether each epoch draws a new order.
            (default: :obj:`False`)
        seed (int, optional): The seed of the orders. (default: :obj:`0`)
        **kwargs (optional): Additional arguments of
            :class:`torch.utils.data.DataLoader`, such as
            :obj:`num_workers` or :obj:`pin_memory`.
    """

    def __init__(
        self,
        table: FieldTable,
        batch_size: int = 1024,
        shuffle: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self._sampler = RowSampler(len(table), batch_size, shuffle, seed)
        super().__init__(
            _Rows(table),
            batch_size=None,
            sampler=self._sampler,
            collate_fn=_identity,
            **kwargs,
        )

    def set_epoch(self, epoch: int) -> None:
        r"""Makes the next iteration draw the order of the given epoch."""
        self._sampler.set_epoch(epoch)


class _Rows(Dataset):
    # What a worker holds: the table, from which it cuts one batch at a time.
    def __init__(self, table: FieldTable) -> None:
        self.table = table

    def __getitem__(self, rows: Tensor) -> FieldBatch:
        return self.table.batch(rows)


def _identity(batch: Any) -> Any:
    return batch


class RowSampler(Sampler[Tensor]):
    r"""The row numbers of each batch of an epoch, as one tensor per batch."""

    def __init__(
        self, num_rows: int, batch_size: int, shuffle: bool, seed: int
    ) -> None:
        if batch_size < 1:
            raise ValueError(
                f"'batch_size' must be positive (got {batch_size})"
            )
        self.num_rows = num_rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        # Called by training loops, so that a resumed run sees the same orders
        # as one that was never interrupted.
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        rows = torch.arange(self.num_rows)
        if self.shuffle:
            # A wide stride, so that no seed repeats the orders of another:
            generator = torch.Generator().manual_seed(
                (self.seed * 0x9E3779B1 + self.epoch) % 2**63
            )
            rows = torch.randperm(self.num_rows, generator=generator)
        self.epoch += 1
        yield from rows.split(self.batch_size)

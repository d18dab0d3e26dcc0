r"""Batches of field graphs in a seeded order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from pyg_featgraph.data.batch import FieldBatch
from pyg_featgraph.data.table import FieldTable
from pyg_featgraph.process_memory import free_surplus

# After how many batches it is looked at what memory is free.
_LOOK_EVERY = 64


class FieldGraphLoader(DataLoader[FieldBatch]):
    r"""Loads the rows of a table as batches of field graphs.

    Batches are cut from the columns of the table by row numbers, so that no
    graph is ever built one by one. Every epoch has another order; the same
    seed gives the same orders, whatever the number of workers. The last,
    smaller batch is kept.

    The rows of a table in memory are shuffled as a whole. Those of one in a
    folder are shuffled as blocks of 4,096, of which the next ones are mixed,
    as many as its :obj:`window` holds (see
    :meth:`~pyg_featgraph.data.FieldTable.open`).

    Several processes share an epoch: each batch of
    :obj:`world_size * batch_size` rows is split among them, so that each row
    is seen once. :meth:`state_dict` tells where an epoch is, so that it can
    be taken up there.

    Args:
        table (FieldTable): The encoded rows.
        batch_size (int, optional): The number of rows of a batch, of each
            process. (default: :obj:`1024`)
        shuffle (bool, optional): Whether each epoch draws a new order.
            (default: :obj:`False`)
        seed (int, optional): The seed of the orders. (default: :obj:`0`)
        rank (int, optional): Which of the processes this is.
            (default: :obj:`0`)
        world_size (int, optional): The number of processes.
            (default: :obj:`1`)
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
        rank: int = 0,
        world_size: int = 1,
        **kwargs: Any,
    ) -> None:
        self._sampler = RowSampler(
            table, batch_size, shuffle, seed, rank, world_size
        )
        self._epoch = self._position = 0
        # Workers are seeded by a generator of their own: the one of everybody
        # would go on with each epoch, also where one is taken up.
        kwargs.setdefault('generator', torch.Generator().manual_seed(seed))
        super().__init__(
            cast(Any, _Rows(table)),
            batch_size=None,
            sampler=cast(Any, self._sampler),
            collate_fn=_identity,
            **kwargs,
        )

    def __iter__(self) -> Iterator[FieldBatch]:  # type: ignore[override]
        # As a generator it draws nothing before the first batch is asked for,
        # when a training loop has told the epoch.
        self._epoch = self._sampler.epoch
        self._position = self._sampler.start
        for batch in super().__iter__():
            self._position += 1
            yield batch
            if self._position % _LOOK_EVERY == 0:
                free_surplus()
        self._epoch, self._position = self._epoch + 1, 0

    def set_epoch(self, epoch: int) -> None:
        r"""Makes the next iteration draw the order of the given epoch."""
        self._sampler.set_epoch(epoch)

    def rows(self, epoch: int, batch_idx: int) -> Tensor:
        r"""The row numbers of a batch of an epoch."""
        return next(self._sampler.batches(epoch, batch_idx))

    def state_dict(self) -> dict[str, int]:
        r"""Where the current epoch is."""
        return {
            'epoch': self._epoch,
            'num_batches': self._position % len(self),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        r"""Makes the next iteration go on where another one was."""
        self._epoch, self._position = state['epoch'], state['num_batches']
        self._sampler.set_epoch(self._epoch)
        self._sampler.start = self._position


def seeded(seed: int, number: int) -> torch.Generator:
    r"""The generator of the draw of a number, such as an epoch."""
    # A wide stride, so that no seed repeats the draws of another. It must show
    # in the last 32 bits, since generators look at no others.
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**63)


class _Rows(Dataset[FieldBatch]):
    # What a worker holds: the table, from which it cuts one batch at a time.
    def __init__(self, table: FieldTable) -> None:
        self.table = table

    def __getitem__(self, rows: Tensor) -> FieldBatch:
        return self.table.batch(rows)


def _identity(batch: Any) -> Any:
    return batch


class RowSampler(DistributedSampler[Tensor]):
    r"""The row numbers of each batch of an epoch, as one tensor per batch.

    As a sampler for several processes it is left as it is by training loops
    that would give each of them a share of the batches otherwise.
    """

    def __init__(
        self,
        table: FieldTable,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(
                f"'batch_size' must be positive (got {batch_size})"
            )
        num_rows = len(table)
        if 0 < num_rows < world_size:
            raise ValueError(
                f'{num_rows} rows are too few for {world_size} processes'
            )
        super().__init__(
            cast(Any, range(num_rows)), world_size, rank, shuffle, seed
        )
        self.num_rows = num_rows
        self.block_sizes = table.block_sizes
        self.window = table.window
        self.batch_size = batch_size
        #: How many batches the next iteration leaves out.
        self.start = 0

    def __len__(self) -> int:
        return len(self._sizes())

    def __iter__(self) -> Iterator[Tensor]:
        batches = self.batches(self.epoch, self.start)
        self.start = 0
        self.epoch += 1
        yield from batches

    def batches(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        r"""The rows of each batch of an epoch.

        Args:
            epoch (int): The number of the epoch.
            start (int, optional): How many batches are left out.
                (default: :obj:`0`)
        """
        sizes = self._sizes()
        skipped = sum(sizes[:start])
        rest = torch.empty(0, dtype=torch.long)
        windows = self._windows(epoch)
        for size in sizes[start:]:
            while len(rest) < skipped + size:
                skip = min(skipped, len(rest))
                skipped -= skip
                rest = torch.cat([rest[skip:], next(windows)])
            rest, skipped = rest[skipped:], 0
            batch, rest = rest[:size], rest[size:]
            yield batch.tensor_split(self.num_replicas)[self.rank]

    def _windows(self, epoch: int) -> Iterator[Tensor]:
        r"""The rows of an epoch in their order, some at a time: blocks in a
        random order, of which as many are mixed as make a window.
        """
        ends = self.block_sizes.cumsum(0)
        order = torch.arange(len(ends))
        generator = seeded(self.seed, epoch)
        if self.shuffle and len(order) > 1:
            order = torch.randperm(len(order), generator=generator)
        sizes = self.block_sizes[order]
        # A window ends before the block that would be too much for it:
        number = (sizes.cumsum(0) - 1) // max(self.window, int(sizes.max()))
        for blocks in order.split(number.bincount().tolist()):
            rows = torch.cat(
                [
                    torch.arange(end - size, end)
                    for end, size in zip(
                        ends[blocks].tolist(),
                        self.block_sizes[blocks].tolist(),
                        strict=True,
                    )
                ]
            )
            if self.shuffle:
                rows = rows[torch.randperm(len(rows), generator=generator)]
            yield rows

    def _sizes(self) -> list[int]:
        size = self.batch_size * self.num_replicas
        sizes = [size] * (self.num_rows // size)
        rest = self.num_rows % size
        if rest < self.num_replicas and sizes:
            # Nobody may be left without a row:
            sizes[-1] += rest
        elif rest:
            sizes.append(rest)
        return sizes

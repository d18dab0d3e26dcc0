r"""The tables of a training as Lightning takes them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from lightning import pytorch as pl
from torch import Tensor

from pyg_featgraph.data import FieldGraphLoader, FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn import Head
from pyg_featgraph.training.defaults import default_batch_size


class FieldDataModule(pl.LightningDataModule):
    r"""Training, validation and test rows, split among the processes of a
    training so that each row is seen once.

    Args:
        train (FieldTable): The training rows.
        valid (FieldTable): The validation rows.
        test (FieldTable, optional): The test rows. (default: :obj:`None`)
        batch_size (int, optional): The number of rows of a training batch, of
            each process. (default: as that of
            :class:`~pyg_featgraph.training.TrainingOptions`)
        seed (int, optional): The seed of their order. (default: :obj:`0`)
        **kwargs (optional): Further arguments of
            :class:`~pyg_featgraph.data.FieldGraphLoader`.

    Raises:
        DataError: If a table has no rows or no labels.
    """

    def __init__(
        self,
        train: FieldTable,
        valid: FieldTable,
        test: FieldTable | None = None,
        batch_size: int | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.tables = {'training': train, 'validation': valid}
        if test is not None:
            self.tables['test'] = test
        for name, table in self.tables.items():
            if not len(table):
                raise DataError(f'There are no {name} rows')
            if table.y is None:
                raise DataError(f'The {name} rows have no labels')
        self.batch_size = batch_size or default_batch_size(len(train))
        self.seed = seed
        self.kwargs = kwargs

    def check(self, head: Head) -> None:
        r"""Checks that the labels are those of a head, and that those of
        training and validation differ.

        Raises:
            DataError: If they do not.
        """
        for name, table in self.tables.items():
            y = cast(Tensor, table.y)
            head.check(y, f'The {name} rows')
            if name != 'test' and bool((y == y[0]).all()):
                raise DataError(
                    f'The {len(table)} {name} rows all have the label '
                    f'{float(y[0]):g}, but labels have to differ'
                )
            if (
                table.sample_weight is not None
                and not table.sample_weight.any()
            ):
                raise DataError(f'The weights of the {name} rows are all zero')

    @property
    def train(self) -> FieldTable:
        r"""The training rows."""
        return self.tables['training']

    @property
    def valid(self) -> FieldTable:
        r"""The validation rows."""
        return self.tables['validation']

    @property
    def has_test(self) -> bool:
        r"""Whether there are test rows."""
        return 'test' in self.tables

    def train_dataloader(self) -> FieldGraphLoader:
        return self._loader('training', self.batch_size, shuffle=True)

    def val_dataloader(self) -> FieldGraphLoader:
        return self._loader('validation', self._eval_size)

    def test_dataloader(self) -> FieldGraphLoader:
        if not self.has_test:
            raise DataError('There are no test rows')
        return self._loader('test', self._eval_size)

    @property
    def _eval_size(self) -> int:
        # Without gradients larger batches fit:
        return max(4 * self.batch_size, 4096)

    def _loader(
        self, name: str, batch_size: int, shuffle: bool = False
    ) -> FieldGraphLoader:
        trainer = self.trainer
        return FieldGraphLoader(
            self.tables[name],
            batch_size,
            shuffle,
            self.seed,
            0 if trainer is None else trainer.global_rank,
            1 if trainer is None else trainer.world_size,
            **self.kwargs,
        )

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        r"""What tells these tables from others."""
        return {
            'fields': self.train.info.to_dict(),
            'drop_absent': [x.drop_absent for x in self.tables.values()],
            **{f'{k} rows': x.fingerprint() for k, x in self.tables.items()},
        }

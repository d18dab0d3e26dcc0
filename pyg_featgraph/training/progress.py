r"""The callback that shows how far a training is."""

from __future__ import annotations

import time
from typing import Any

from lightning import pytorch as pl
from lightning.pytorch.callbacks import ProgressBar

from pyg_featgraph.progress import progress_bar, say


class EpochProgress(ProgressBar):
    r"""Shows the epochs of a training with its name: as a bar on the standard
    error if it is a terminal, and else as one line for each epoch, with its
    figures. The place of Lightning's own bar, which goes to the standard
    output, is taken by it.

    .. code-block:: python

        Trainer(callbacks=[EpochProgress()])

    Args:
        title (str, optional): The name of the training.
            (default: the class of the model)
    """

    def __init__(self, title: str | None = None) -> None:
        super().__init__()
        self.title = title
        self._enabled = True
        self._bar = progress_bar(enabled=False)
        self._inner = progress_bar(enabled=False)
        self._began = time.monotonic()

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._bar = self._make(pl_module, 'training')

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._began = time.monotonic()
        self._bar.reset(_finite(self.total_train_batches))
        self._bar.set_description(self._epoch(trainer, pl_module))

    def on_train_batch_end(
        self,
        trainer: Any,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Figures are asked for, and a device waited for, if they are shown:
        if self._bar.update(batch_idx + 1 - self._bar.n):
            self._bar.set_postfix(self.get_metrics(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        figures = self.get_metrics(trainer, pl_module)
        self._bar.set_postfix(figures)
        if not self._enabled or not self._bar.disable:
            return
        texts = [
            f'{k} {v:.5g}' if isinstance(v, float) else f'{k} {v}'
            for k, v in figures.items()
        ]
        seconds = time.monotonic() - self._began
        epoch = self._epoch(trainer, pl_module)
        say(f'{epoch}: {", ".join(texts)} ({seconds:.1f} s)')

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._bar.close()

    def on_exception(
        self, trainer: Any, pl_module: Any, exception: BaseException
    ) -> None:
        self._inner.close()
        self._bar.close()

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin(pl_module, 'validation', trainer.num_val_batches)

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        self._begin(pl_module, 'test', trainer.num_test_batches)

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._inner.update()

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._inner.update()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self._inner.close()

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        self._inner.close()

    def print(self, *args: Any, sep: str = ' ', **kwargs: Any) -> None:
        say(sep.join(map(str, args)))

    def _begin(self, pl_module: Any, what: str, sizes: list[Any]) -> None:
        self._inner = self._make(pl_module, what, leave=False)
        self._inner.reset(_finite(sum(sizes)))

    def _make(self, pl_module: Any, what: str, **options: Any) -> Any:
        name = self._name(pl_module)
        return progress_bar(
            enabled=self._enabled,
            desc=f'{name}, {what}',
            unit='batch',
            **options,
        )

    def _epoch(self, trainer: pl.Trainer, pl_module: Any) -> str:
        number, last = trainer.current_epoch + 1, trainer.max_epochs
        of = f' of {last}' if last is not None and last > 0 else ''
        return f'{self._name(pl_module)}, epoch {number}{of}'

    def _name(self, pl_module: Any) -> str:
        # Modules of others need not hold a model:
        model = getattr(pl_module, 'model', pl_module)
        return self.title or model.__class__.__name__


def _finite(size: float) -> int | None:
    return int(size) if size != float('inf') else None

r"""What options of a training are by default: what suits a number of rows."""

from __future__ import annotations

#: How many steps an epoch has at least, where rows are many enough.
EPOCH_STEPS = 100

#: What ends a training, and the stage of a search, in steps.
PATIENCE_STEPS, TRAINING_STEPS, SEARCH_STEPS = 400, 4000, 1000

#: The same in epochs at least, as many rows have them. Few rows have shorter
#: ones and get up to ten times as many.
PATIENCE, EPOCHS, SEARCH_EPOCHS = 2, 20, 10


def default_batch_size(num_rows: int) -> int:
    r"""The number of rows of a training batch: the highest power of two with
    which an epoch has 100 steps, between 32 and 1024.

    Args:
        num_rows (int): The number of training rows.
    """
    size = 1 << (max(num_rows // EPOCH_STEPS, 1).bit_length() - 1)
    return min(max(size, 32), 1024)


def default_patience(num_rows: int, batch_size: int) -> int:
    r"""The number of epochs without improvement that end a training: as many
    as have 400 steps, between 2 and 20.

    Args:
        num_rows (int): The number of training rows.
        batch_size (int): The number of rows of a batch.
    """
    return _epochs(PATIENCE_STEPS, PATIENCE, num_rows, batch_size)


def default_epochs(num_rows: int, batch_size: int) -> int:
    r"""The highest number of epochs of a training: as many as have 4,000
    steps, between 20 and 200.

    Args:
        num_rows (int): The number of training rows.
        batch_size (int): The number of rows of a batch.
    """
    return _epochs(TRAINING_STEPS, EPOCHS, num_rows, batch_size)


def default_search_epochs(num_rows: int, batch_size: int) -> int:
    r"""The number of epochs of a stage of a search, which runs all of them: as
    many as have 1,000 steps, between 10 and 100.

    Args:
        num_rows (int): The number of training rows.
        batch_size (int): The number of rows of a batch.
    """
    return _epochs(SEARCH_STEPS, SEARCH_EPOCHS, num_rows, batch_size)


def _epochs(steps: int, least: int, num_rows: int, batch_size: int) -> int:
    # An epoch of a few steps says next to nothing of whether more would help:
    steps_per_epoch = -(-num_rows // batch_size)
    return min(max(-(-steps // steps_per_epoch), least), 10 * least)

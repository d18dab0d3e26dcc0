r"""The sections of a configuration that say what a table is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SchemaOptions:
    r"""What the columns of a table are.

    Args:
        label (str, optional): The name of the label column; readers of public
            data sets know theirs. (default: :obj:`None`)
        weight (str, optional): The name of the column that tells how much
            each row counts. (default: :obj:`None`)
        task (str, optional): What labels are: :obj:`"binary"`,
            :obj:`"multiclass"` or :obj:`"regression"`. (default: that of the
            reader, or :obj:`"binary"`)
        drop (list of str, optional): Columns that are left out.
            (default: none)
        defaults (dict, optional): Options of all fields, such as
            :obj:`min_count`, see :class:`~pyg_featgraph.data.Field`.
            (default: none)
        fields (dict, optional): Options of single fields, by name, which go
            before. (default: none)
    """

    label: str | None = None
    weight: str | None = None
    task: str | None = None
    drop: Sequence[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    r"""Which rows are for training, validation and test.

    Args:
        valid (float, optional): The share of validation rows, drawn from
            those that are no test rows, where there is no official part.
            (default: :obj:`0.1`)
        test (float, optional): The share of test rows, where there is no
            official part. (default: :obj:`0.1`)
        official (bool, optional): Whether to keep the official parts of a
            data set, or the files of each part. (default: :obj:`True`)
        rows (int, optional): How many rows of each part to read, the first
            ones. (default: all)
        seed (int, optional): The seed of the draw. (default: :obj:`0`)
    """

    valid: float = 0.1
    test: float = 0.1
    official: bool = True
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.valid < 1 and 0 <= self.test < 1 - self.valid):
            raise ValueError(
                "'valid' and 'test' must be shares that leave training rows "
                f'(got {self.valid} and {self.test})'
            )


@dataclass(frozen=True, kw_only=True)
class CrossOptions:
    r"""Interactions that become columns of their own, see
    :class:`~pyg_featgraph.crossing.CrossFeatures`.

    Args:
        interactions (str): The file of the interactions.
        top (int, optional): How many of them, from the first one on.
            (default: all)
        min_count (int, optional): Combinations seen less often in training
            rows share an id. (default: :obj:`5`)
        bins (int, optional): The number of buckets of a number.
            (default: :obj:`20`)
    """

    interactions: str
    top: int | None = None
    min_count: int = 5
    bins: int = 20

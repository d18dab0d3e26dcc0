r"""What two fields do to the output of a model, level by level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyg_featgraph.data import FieldTable
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn.levels import find_levels
from pyg_featgraph.nn.mixing import mixed_logits, output_unit, pick_output

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairEffects:
    r"""What two fields do to the output of a model, level by level.

    Args:
        fields (tuple of str): The names of both fields.
        levels (tuple of tuple of str): The names of the levels of each.
        alone (tuple of numpy.ndarray): What each level of the first and of
            the second field does by itself, with shapes :math:`(L_1)` and
            :math:`(L_2)`.
        joint (numpy.ndarray): What two levels do together beyond that, with
            shape :math:`(L_1, L_2)`.
        counts (numpy.ndarray): How many rows have both levels, likewise.
        unit (str): What the effects are.
        num_rows (int): The number of rows that they are means over.
    """

    fields: tuple[str, str]
    levels: tuple[tuple[str, ...], tuple[str, ...]]
    alone: tuple[Floats, Floats]
    joint: Floats
    counts: NDArray[np.int64]
    unit: str
    num_rows: int

    def to_pandas(self) -> pd.DataFrame:
        r"""A row for each pair of levels: the columns of both fields,
        :obj:`"first"` and :obj:`"second"`, what the levels do by themselves,
        :obj:`"joint"`, what they do beyond that, and :obj:`"count"`.
        """
        import pandas as pd

        index = pd.MultiIndex.from_product(self.levels, names=self.fields)
        one, two = np.meshgrid(*self.alone, indexing='ij')
        values = {
            'first': one.ravel(),
            'second': two.ravel(),
            'joint': self.joint.ravel(),
            'count': self.counts.ravel(),
        }
        return pd.DataFrame(values, index=index)


def pair_effects(
    model: Any,
    table: FieldTable,
    frame: pd.DataFrame,
    fields: tuple[str, str],
    output: int | None = None,
    num_levels: int = 8,
    num_rows: int = 256,
    batch_size: int = 2048,
    seed: int = 0,
) -> PairEffects:
    r"""What two fields do to the output of a model, level by level.

    With :math:`v` the mean output over rows, and :math:`v_a`, :math:`v_b` and
    :math:`v_{ab}` those of the same rows with a level :math:`a` of one field,
    :math:`b` of the other and both, a level does :math:`v_a - v` by itself,
    and two do :math:`v_{ab} - v_a - v_b + v` together: partial dependence, as
    in the `"Predictive Learning via Rule Ensembles"
    <https://doi.org/10.1214/07-AOAS148>`_ paper.
    :func:`~pyg_featgraph.plot.plot_pair_effects` draws them.

    Few values are levels by themselves; other numbers and dates become ranges
    of about as many rows, and other categories the most frequent ones and
    :obj:`"(others)"`. A level is that of rows which have it, drawn at random.

    Args:
        model (torch.nn.Module): A model with :obj:`model(batch) -> logits`.
        table (FieldTable): The rows.
        frame (pandas.DataFrame): The same rows before encoding, which name
            the levels.
        fields (tuple of str): The names of both fields.
        output (int, optional): Which output, if the model has several.
            (default: :obj:`None`)
        num_levels (int, optional): The number of levels of a field, others
            and missing ones aside. (default: :obj:`8`)
        num_rows (int, optional): The number of rows to draw.
            (default: :obj:`256`)
        batch_size (int, optional): The number of rows at a time.
            (default: :obj:`2048`)
        seed (int, optional): The seed of the draws. (default: :obj:`0`)

    Raises:
        DataError: If there is no such field, or if the frame is not of these
            rows.
        ValueError: If fields are equal, or if there is no such output.
    """
    names = list(table.info.names)
    for name in fields:
        if name not in names or name not in frame:
            raise DataError(f"Table and frame need the field '{name}'")
    if len({*fields}) != 2:
        raise ValueError(f"'fields' must be two fields (got {fields})")
    if len(frame) != len(table):
        raise DataError(
            f'The frame has {len(frame)} rows, the table {len(table)}: pass '
            'the rows that were encoded'
        )
    levels, codes = zip(
        *(find_levels(frame[name], num_levels) for name in fields), strict=True
    )
    generator = torch.Generator().manual_seed(seed)
    base = torch.randperm(len(table), generator=generator)[:num_rows]
    columns = [names.index(name) for name in fields]
    # For each field, so many rows of each level:
    drawn = [
        [_draw(code == k, len(base), generator) for k in range(len(level))]
        for code, level in zip(codes, levels, strict=True)
    ]
    one, two = (len(level) for level in levels)

    def variants() -> Iterator[Tensor]:
        plain = base[:, None].repeat(1, len(names))
        for a in [None, *drawn[0]]:
            for b in [None, *drawn[1]]:
                rows = plain.clone()
                for column, level in zip(columns, (a, b), strict=True):
                    if level is not None:
                        rows[:, column] = level
                yield rows

    parts = _batches(variants(), max(1, batch_size // len(base)))
    values = pick_output(mixed_logits(model, table, parts)[:, 0], output)
    means = values.mean(-1).view(one + 1, two + 1).numpy()
    first, second = means[1:, :1] - means[0, 0], means[:1, 1:] - means[0, 0]
    counts = np.zeros((one, two), dtype=np.int64)
    np.add.at(counts, codes, 1)
    return PairEffects(
        fields,
        levels,
        (first[:, 0], second[0]),
        means[1:, 1:] - means[0, 0] - first - second,
        counts,
        f'effect on the {output_unit(model)}',
        len(base),
    )


def _draw(
    has_level: NDArray[np.bool_], count: int, generator: torch.Generator
) -> Tensor:
    rows = torch.from_numpy(np.flatnonzero(has_level))
    return rows[torch.randint(len(rows), (count,), generator=generator)]


def _batches(variants: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    while part := [*islice(variants, size)]:
        yield torch.stack(part)

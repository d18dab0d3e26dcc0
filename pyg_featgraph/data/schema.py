r"""What the columns of a table mean: fields, their kinds and options."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from pyg_featgraph.data.labels import TASKS
from pyg_featgraph.data.values import check_frame, is_broken, to_objects
from pyg_featgraph.errors import DataError

KINDS = ('categorical', 'numeric', 'multi', 'vector')
TRANSFORMS = ('standard', 'log1p', 'log_square', 'quantile', 'equal_width')
#: Default bucket counts of the transforms that bucketise.
DEFAULT_BINS: dict[str, tuple[int, ...]] = {
    'quantile': (50,),
    'equal_width': (10, 100, 1000),
}


@dataclass(frozen=True)
class Field:
    r"""One column of a table, which becomes one node of each row's graph.

    Args:
        name (str): The name of the column.
        kind (str): :obj:`"categorical"`, :obj:`"numeric"`, :obj:`"multi"`
            (multi-valued categorical, the mean of its members) or
            :obj:`"vector"` (numbers from elsewhere, all entries equally long:
            an embedding of a text or an image; each component is standardised).
        min_count (int, optional): Categories (or buckets of a numeric field)
            seen fewer times in the training rows share one "rare" id.
            (default: :obj:`1`)
        transform (str, optional): Numeric fields only. As a number that
            scales the vector of the field: :obj:`"standard"` (zero mean, unit
            variance), :obj:`"log1p"` (:math:`\mathrm{sign}(x) \log(1+|x|)`)
            or :obj:`"log_square"` (:math:`\lfloor \ln^2 x \rfloor` for
            :math:`x > 2`, the practice on Criteo). As buckets with a vector
            each: :obj:`"quantile"` or :obj:`"equal_width"`.
            (default: :obj:`"quantile"`)
        bins (tuple of int, optional): The bucket counts of a bucketising
            transform. With several counts (FIVES uses :obj:`(10, 100, 1000)`)
            the vector of the field is the mean over the granularities.
            (default: 50 for quantiles, 10, 100 and 1000 for equal widths)
        separator (str, optional): Multi-valued fields only: what separates
            the members in a string; lists are accepted as well.
            (default: :obj:`"|"`)
    """

    name: str
    kind: str
    min_count: int = 1
    transform: str | None = None
    bins: tuple[int, ...] = ()
    separator: str = '|'

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"'name' must be a text (got {self.name!r})")
        separator = self.separator
        if (
            not isinstance(separator, str)
            or not separator
            or is_broken(separator)
        ):
            raise ValueError(
                f"Field '{self.name}': 'separator' must be a text (got "
                f'{separator!r})'
            )
        if self.kind not in KINDS:
            raise ValueError(
                f"Field '{self.name}': 'kind' must be one of {KINDS} "
                f"(got '{self.kind}')"
            )
        if self.min_count < 1:
            raise ValueError(
                f"Field '{self.name}': 'min_count' must be at least 1 "
                f'(got {self.min_count})'
            )
        if self.kind != 'numeric':
            if self.transform is not None or self.bins:
                raise ValueError(
                    f"Field '{self.name}': 'transform' and 'bins' are for "
                    f"numeric fields (this one is '{self.kind}')"
                )
            return
        transform = self.transform or 'quantile'
        if transform not in TRANSFORMS:
            raise ValueError(
                f"Field '{self.name}': 'transform' must be one of "
                f"{TRANSFORMS} (got '{transform}')"
            )
        bins = tuple(self.bins) or DEFAULT_BINS.get(transform, ())
        if bins and transform not in DEFAULT_BINS:
            raise ValueError(
                f"Field '{self.name}': 'bins' has no meaning for the "
                f"transform '{transform}'"
            )
        if any(count < 1 for count in bins):
            raise ValueError(
                f"Field '{self.name}': bucket counts must be positive "
                f'(got {bins})'
            )
        object.__setattr__(self, 'transform', transform)
        object.__setattr__(self, 'bins', bins)

    @property
    def is_bucketised(self) -> bool:
        r"""Whether the field is numeric and enters as buckets."""
        return bool(self.bins)


@dataclass(frozen=True)
class FieldSchema:
    r"""The fields of a table, in node order, and the columns of labels and
    weights.

    Args:
        fields (tuple of Field): One entry for each column that is used.
        label (str, optional): The name of the label column.
            (default: :obj:`None`)
        weight (str, optional): The name of the column that tells how much
            each row counts. (default: :obj:`None`)
        task (str, optional): What labels are: :obj:`"binary"` (two classes of
            any names), :obj:`"multiclass"` (several) or :obj:`"regression"`
            (numbers, also counts and grades). (default: :obj:`"binary"`)
    """

    fields: tuple[Field, ...]
    label: str | None = None
    weight: str | None = None
    task: str = 'binary'

    def __post_init__(self) -> None:
        object.__setattr__(self, 'fields', tuple(self.fields))
        names = self.names
        if not names:
            raise ValueError('A schema needs at least one field')
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f'Field names must be unique (twice: {repeated})')
        for role in ('label', 'weight'):
            name = getattr(self, role)
            if not isinstance(name, str | None):
                raise TypeError(f"'{role}' must be a text (got {name!r})")
            if name in names:
                raise ValueError(f"The {role} '{name}' is also a field")
        if self.label is not None and self.label == self.weight:
            raise ValueError(f"The label '{self.label}' is also the weight")
        if self.task not in TASKS:
            raise ValueError(
                f"'task' must be one of {TASKS} (got {self.task!r})"
            )

    @classmethod
    def infer(
        cls,
        df: pd.DataFrame,
        label: str | None = None,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        weight: str | None = None,
        task: str = 'binary',
        **defaults: Any,
    ) -> FieldSchema:
        r"""Reads the kinds of the columns from a :class:`~pandas.DataFrame`.

        Columns of numbers become numeric, columns of lists or arrays of
        floating point numbers vectors, those of other lists multi-valued, and
        all others (strings, booleans, pandas categories) categorical.

        Args:
            df (pandas.DataFrame): The table.
            label (str, optional): The label column. (default: :obj:`None`)
            overrides (dict, optional): For a column, the arguments of its
                :class:`Field` that differ, *e.g.*,
                :obj:`{"zip": {"kind": "categorical", "min_count": 5}}`.
                (default: :obj:`None`)
            weight (str, optional): The column of weights.
                (default: :obj:`None`)
            task (str, optional): What labels are, as above.
                (default: :obj:`"binary"`)
            **defaults: Arguments of :class:`Field` for all columns to whose
                kind they apply, *e.g.*, :obj:`transform="standard"`.

        Raises:
            DataError: If :obj:`label`, :obj:`weight` or an overridden column
                is missing, or if names of columns are not distinct strings.
        """
        check_frame(df, df.columns)
        overrides = dict(overrides or {})
        known = [field.name for field in dataclasses.fields(Field)]
        for name in defaults:
            if name not in known[1:]:
                raise TypeError(f"'{name}' is not an option of a field")
        roles = [name for name in (label, weight) if name is not None]
        unknown = [
            name for name in [*overrides, *roles] if name not in df.columns
        ]
        if unknown:
            raise DataError(
                f'Columns {unknown} are not in the table, which has '
                f'{list(df.columns)}'
            )
        fields = []
        for column in df.columns:
            if column in roles:
                continue
            options = dict(overrides.get(column, {}))
            kind = options.setdefault(
                'kind', defaults.get('kind') or _infer_kind(df[column])
            )
            for name, value in defaults.items():
                if kind == 'numeric' or name not in ('transform', 'bins'):
                    options.setdefault(name, value)
            fields.append(Field(name=column, **options))
        return cls(tuple(fields), label, weight, task)

    @property
    def names(self) -> tuple[str, ...]:
        r"""The names of the fields, in node order."""
        return tuple(field.name for field in self.fields)

    def replace(self, name: str, **changes: Any) -> FieldSchema:
        r"""Returns a copy in which the options of one field are changed."""
        if name not in self.names:
            raise KeyError(f"No field '{name}' among {list(self.names)}")
        fields = tuple(
            dataclasses.replace(field, **changes)
            if field.name == name
            else field
            for field in self.fields
        )
        return dataclasses.replace(self, fields=fields)

    def to_dict(self) -> dict[str, Any]:
        r"""The schema as JSON-compatible values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FieldSchema:
        r"""The inverse of :meth:`to_dict`."""
        fields = [
            Field(**{**field, 'bins': tuple(field.get('bins', ()))})
            for field in values['fields']
        ]
        roles = {k: values[k] for k in ('label', 'weight', 'task')}
        return cls(tuple(fields), **roles)

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)


def _infer_kind(column: pd.Series) -> str:
    if dtypes.is_bool_dtype(column):
        return 'categorical'
    if dtypes.is_numeric_dtype(column):
        return 'numeric'
    first = [*to_objects(column.dropna().head(1))]
    if first and (
        isinstance(first[0], list | tuple | set)
        or (isinstance(first[0], np.ndarray) and first[0].ndim)
    ):
        floats = [isinstance(x, float | np.floating) for x in first[0]]
        return 'vector' if floats and all(floats) else 'multi'
    return 'categorical'

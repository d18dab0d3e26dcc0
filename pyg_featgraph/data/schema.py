r"""What the columns of a table mean: fields, their kinds and options."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pyg_featgraph.data.dates import PARTS, date_part
from pyg_featgraph.data.frames import to_frame
from pyg_featgraph.data.infer import infer_task, read_kind
from pyg_featgraph.data.labels import TASKS
from pyg_featgraph.data.values import check_frame
from pyg_featgraph.errors import DataError
from pyg_featgraph.serve.scorer.entries import is_broken

KINDS = ('categorical', 'numeric', 'multi', 'vector')
NUMERIC_OPTIONS = ('transform', 'bins', 'interpolate')
#: The transforms of a number, with the default bucket counts of those that
#: have buckets.
TRANSFORMS: dict[str, tuple[int, ...]] = {
    'auto': (),
    'quantile': (50,),
    'tree': (16,),
    'equal_width': (10, 100, 1000),
    'standard': (),
    'log1p': (),
    'log_square': (),
}


@dataclass(frozen=True)
class Field:
    r"""One column of a table, or a part of it: a node of each row's graph.

    Args:
        name (str): The name of the column.
        kind (str): :obj:`"categorical"`, :obj:`"numeric"`, :obj:`"multi"`
            (multi-valued categorical, the mean of its members) or
            :obj:`"vector"` (numbers from elsewhere, all entries equally long:
            an embedding of a text or an image; each component is standardised).
        min_count (int, optional): Categories (or buckets of equal width) seen
            fewer times in the training rows share one "rare" id; other
            buckets of fewer rows are joined with the next one.
            (default: :obj:`1`)
        transform (str, optional): Numeric fields only.

            * :obj:`"auto"`: one of the others for each column, chosen by rows
              that were not used to fit it; see
              :mod:`pyg_featgraph.data.choice`.

            As buckets with a vector each:

            * :obj:`"quantile"`: of about equally many rows. A value that
              would fill a bucket has its own (a mass point), and if there are
              few values, each has its own.
            * :obj:`"tree"`: the leaves of a decision tree fitted to the label,
              which have at least 20 training rows.
            * :obj:`"equal_width"`.

            As a number that scales the vector of the field:

            * :obj:`"standard"`: zero mean, unit variance.
            * :obj:`"log1p"`: :math:`\mathrm{sign}(x) \log(1+|x|)`.
            * :obj:`"log_square"`: :math:`\lfloor \ln^2 x \rfloor` for
              :math:`x > 2`, the practice on Criteo.

            (default: :obj:`"quantile"` if :obj:`bins` are given or with
            :obj:`interpolate`, else :obj:`"auto"`)
        bins (tuple of int, optional): The (largest) bucket counts of a
            transform with buckets. With several counts (FIVES uses
            :obj:`(10, 100, 1000)`) the vector of the field is the mean over
            the granularities. (default: 50 for quantiles, 16 for trees, 10,
            100 and 1000 for equal widths)
        interpolate (bool, optional): Whether the edges of the buckets have
            the vectors, between which a number interpolates (piecewise linear
            encoding, see
            :class:`~pyg_featgraph.data.codecs.PiecewiseLinearCodec`).
            (default: :obj:`False`)
        separator (str, optional): Multi-valued fields only: what separates
            the members in a string; lists are accepted as well.
            (default: :obj:`"|"`)
        column (str, optional): The name of the column, if the field has
            another one, so that a column can be several fields.
            (default: :obj:`name`)
        part (str, optional): Of a column of dates, what the field is a number
            or a category of: :obj:`"year"`, :obj:`"month"`, :obj:`"day"`,
            :obj:`"weekday"`, :obj:`"hour"`, :obj:`"minute"` or
            :obj:`"elapsed"` (days since 1970). (default: :obj:`None`)
        hash_size (int, optional): Categories and members of lists only: into
            how many ids they are hashed (CRC-32 of their text, modulo this
            number), so that none needs to be counted or is rare or unseen, but
            some share an id. (default: :obj:`0`, each has its own)
    """

    name: str
    kind: str
    min_count: int = 1
    transform: str | None = None
    bins: tuple[int, ...] = ()
    interpolate: bool = False
    separator: str = '|'
    column: str = ''
    part: str | None = None
    hash_size: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"'name' must be a text (got {self.name!r})")
        object.__setattr__(self, 'column', self.column or self.name)
        if self.part is not None:
            if self.part not in PARTS:
                raise ValueError(
                    f"Field '{self.name}': 'part' must be one of {PARTS} (got "
                    f'{self.part!r})'
                )
            if self.kind not in ('categorical', 'numeric'):
                raise ValueError(
                    f"Field '{self.name}': a 'part' of a date is numeric or "
                    f"categorical (got '{self.kind}')"
                )
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
        if self.hash_size and (
            self.hash_size < 0
            or self.kind not in ('categorical', 'multi')
            or self.min_count > 1
        ):
            raise ValueError(
                f"Field '{self.name}': 'hash_size' is a number of ids for "
                'categories of which none is rare (got '
                f"{self.hash_size} for '{self.kind}' with 'min_count' "
                f'{self.min_count})'
            )
        if self.kind != 'numeric':
            if self.transform is not None or self.bins or self.interpolate:
                raise ValueError(
                    f"Field '{self.name}': 'transform', 'bins' and "
                    "'interpolate' are for numeric fields (this one is "
                    f"'{self.kind}')"
                )
            return
        with_bins = bool(self.bins) or self.interpolate
        transform = self.transform or ('quantile' if with_bins else 'auto')
        if transform not in TRANSFORMS:
            raise ValueError(
                f"Field '{self.name}': 'transform' must be one of "
                f"{(*TRANSFORMS,)} (got '{transform}')"
            )
        bins = tuple(self.bins) or TRANSFORMS[transform]
        if with_bins and not TRANSFORMS[transform]:
            raise ValueError(
                f"Field '{self.name}': 'bins' and 'interpolate' have no "
                f"meaning for the transform '{transform}'"
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

    def read(self, df: pd.DataFrame) -> pd.Series:
        r"""What the field is of a table.

        Args:
            df (pandas.DataFrame): A table with the column of the field.

        Raises:
            DataError: If it is a part of a date and the column holds others.
        """
        column = df[self.column]
        return column if self.part is None else date_part(column, self.part)


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
            if name is not None and name in (*names, *self.columns):
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
        df: Any,
        label: Any = None,
        overrides: Mapping[Any, Mapping[str, Any]] | None = None,
        weight: Any = None,
        task: str | None = None,
        **defaults: Any,
    ) -> FieldSchema:
        r"""Reads the kinds of the columns from a table.

        Columns of numbers become numeric, unless they look like identifiers
        (see :mod:`pyg_featgraph.data.infer`), columns of lists or arrays of
        floating point numbers vectors, those of other lists multi-valued, and
        all others (strings, booleans, pandas categories) categorical. A
        column :obj:`"when"` of dates, or of nothing but their texts in ISO
        form, becomes one numeric field for each part that varies:
        :obj:`"when.month"`, :obj:`"when.weekday"`, ...

        What tells nothing is left out, with a warning that names it: columns
        with a single value, with another text in every row, with free text,
        and indices that were saved with a table. It stays if
        :obj:`overrides` has it.

        Args:
            df (pandas.DataFrame): The table, or any other one that
                :func:`~pyg_featgraph.data.to_frame` takes.
            label (str, optional): The label column. (default: :obj:`None`)
            overrides (dict, optional): For a column, the arguments of its
                :class:`Field` that differ, *e.g.*,
                :obj:`{"zip": {"kind": "categorical", "min_count": 5}}`.
                (default: :obj:`None`)
            weight (str, optional): The column of weights.
                (default: :obj:`None`)
            task (str, optional): What labels are, as above. (default: two
                values are :obj:`"binary"`, texts, categories, truth values
                and up to 20 whole numbers :obj:`"multiclass"`, and other
                numbers :obj:`"regression"`)
            **defaults: Arguments of :class:`Field` for all columns to whose
                kind they apply, *e.g.*, :obj:`transform="standard"`.

        Raises:
            DataError: If :obj:`label`, :obj:`weight` or an overridden column
                is missing, if two columns have one name, or if no column is
                left.
        """
        df = to_frame(df)
        check_frame(df, df.columns)
        overrides = {
            str(x): options for x, options in (overrides or {}).items()
        }
        known = [field.name for field in dataclasses.fields(Field)]
        for name in defaults:
            if name not in known[1:]:
                raise TypeError(f"'{name}' is not an option of a field")
        label, weight = (x if x is None else str(x) for x in (label, weight))
        roles = [name for name in (label, weight) if name is not None]
        unknown = [
            name for name in [*overrides, *roles] if name not in df.columns
        ]
        if unknown:
            raise DataError(
                f'Columns {unknown} are not in the table, which has '
                f'{list(df.columns)}'
            )
        if task is None:
            task = 'binary' if label is None else infer_task(df[label])
        fields: list[Field] = []
        useless = {}
        for column in df.columns.drop(roles):
            options = dict(overrides.get(column, {}))
            kind = options.get('kind') or defaults.get('kind')
            parts: tuple[str, ...] = ()
            if not kind:
                kind, parts, why = read_kind(df[column])
                if why and column not in overrides:
                    useless[column] = why
                    continue
            for name, value in {**defaults, 'kind': kind}.items():
                if kind == 'numeric' or name not in NUMERIC_OPTIONS:
                    options.setdefault(name, value)
            if not parts:
                fields.append(Field(column, **options))
            options['column'] = column
            fields += [
                Field(f'{column}.{part}', part=part, **options)
                for part in parts
            ]
        if useless:
            told = ', '.join(f"'{x}' ({why})" for x, why in useless.items())
            message = (
                f'Columns are left out: {told}. To keep one, say what it is: '
                f"overrides={{'{next(iter(useless))}': "
                "{'kind': 'categorical'}}"
            )
            if not fields:
                raise DataError(f'No column tells anything. {message}')
            warnings.warn(message, stacklevel=2)
        return cls(tuple(fields), label, weight, task)

    def kind(self, name: str) -> str | None:
        r"""The kind of a field, :obj:`None` if there is none of this name."""
        return next((x.kind for x in self.fields if x.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        r"""The names of the fields, in node order."""
        return tuple(field.name for field in self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        r"""The columns that the fields are read from, each once."""
        return (*dict.fromkeys(field.column for field in self.fields),)

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

"""The tables, each cut into the same rows for all contestants."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.model_selection import train_test_split

from pyg_featgraph.data import FieldSchema, to_frame
from pyg_featgraph.data.infer import infer_task
from pyg_featgraph.datasets import (
    Adult,
    Diamonds,
    EmployeeAccess,
    MovieLens1M,
    Nursery,
    PlantedInteractions,
    TelcoChurn,
)
from pyg_featgraph.errors import DataError

#: The share of the training rows that are for validation.
VALID_SHARE = 0.1


@dataclass(frozen=True)
class Source:
    """A table before it is cut. Labels are numbers already."""

    task: str
    df: pd.DataFrame
    schema: FieldSchema
    #: The official test rows, or the share of the rows that are test rows.
    test: pd.DataFrame | float = 0.2
    #: The names of the classes, by number.
    classes: tuple[str, ...] = ()
    #: The planted interactions, where they are known.
    truth: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as a contestant gets it: raw columns."""

    task: str
    schema: FieldSchema
    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame
    #: Of several classes; 0 for two and for numbers.
    num_classes: int = 0
    truth: tuple[tuple[str, ...], ...] = field(default=(), repr=False)

    @property
    def parts(self):
        return self.train, self.valid, self.test

    @property
    def labels(self):
        """The labels of the parts."""
        return [df[self.schema.label].to_numpy() for df in self.parts]

    @property
    def inputs(self):
        """The columns of the parts that are fields."""
        return [df[list(self.schema.names)] for df in self.parts]

    def names(self, *kinds):
        return [f.name for f in self.schema if f.kind in kinds]

    def with_columns(self, extra, **kinds):
        """The table with further columns: DataFrames for the parts."""
        pairs = zip(self.parts, extra, strict=True)
        train, valid, test = (df.join(more) for df, more in pairs)
        kinds = {f.name: {'kind': f.kind} for f in self.schema} | {
            name: {'kind': kind} for name, kind in kinds.items()
        }
        schema = FieldSchema.infer(
            train, self.schema.label, kinds, task=self.task
        )
        return replace(self, schema=schema, train=train, valid=valid, test=test)

    def without(self, names):
        """The table without some columns."""
        fields = tuple(f for f in self.schema if f.name not in names)
        train, valid, test = (df.drop(columns=names) for df in self.parts)
        schema = replace(self.schema, fields=fields)
        return replace(self, schema=schema, train=train, valid=valid, test=test)


def cut(source, seed):
    """The test rows are the same for all seeds, so that settings chosen with
    one seed have not seen them; the seed draws the validation rows.
    """
    df, test = source.df, source.test
    if isinstance(test, float):
        order = np.random.RandomState(0).permutation(len(df))
        first = len(df) - round(test * len(df))
        df, test = df.iloc[order[:first]], df.iloc[order[first:]]
    train, valid = train_test_split(
        df,
        test_size=VALID_SHARE,
        random_state=seed,
        stratify=None
        if source.task == 'regression'
        else df[source.schema.label],
    )
    return Table(
        source.task,
        source.schema,
        *(part.reset_index(drop=True) for part in (train, valid, test)),
        num_classes=len(source.classes) if source.task == 'multiclass' else 0,
        truth=source.truth,
    )


def _read(data, split=None, test=0.2, truth=()):
    # Kinds as in the data, everything else as the library has it by default.
    df = data.frame(split)
    known = data.schema()
    kinds = {f.name: {'kind': f.kind} for f in known}
    df, classes = _number(df, known.label, known.task)
    schema = FieldSchema.infer(df, known.label, kinds, task=known.task)
    return Source(known.task, df, schema, test, classes, truth)


def _number(df, label, task):
    """Classes as numbers, with their names."""
    if task == 'regression':
        return df.assign(**{label: df[label].astype(np.float64)}), ()
    codes, classes = pd.factorize(df[label], sort=True)
    return df.assign(**{label: codes}), tuple(map(str, classes))


def _adult(root):
    data = Adult(root / 'adult')
    return _read(data, 'train', data.frame('test'))


def _employee(root):
    return _read(EmployeeAccess(root / 'employee'), test=0.1)


def _telco(root):
    (path,) = (root / 'telco').glob('*.csv')
    return _read(TelcoChurn(path))


def _movielens(root, num_rows):
    source = _read(MovieLens1M(root / 'ml1m-half', form='ids'))
    if num_rows is None:
        return source
    return replace(source, df=source.df.sample(num_rows, random_state=0))


def _nursery(root):
    return _read(Nursery(root / 'nursery'))


def _diamonds(root):
    return _read(Diamonds(root / 'diamonds', log=True))


def _planted(root, num_rows, strength):
    data = PlantedInteractions(num_rows, strength=strength)
    return _read(data, test=0.1, truth=tuple(data.truth))


#: The tables by name: functions of the folder that holds the real data.
SOURCES = {
    'adult': _adult,
    'employee': _employee,
    'telco': _telco,
    'movielens': partial(_movielens, num_rows=100_000),
    'movielens-all': partial(_movielens, num_rows=None),
    'nursery': _nursery,
    'diamonds': _diamonds,
    'planted': partial(_planted, num_rows=80_000, strength=1.0),
    'planted-small': partial(_planted, num_rows=20_000, strength=1.0),
    'planted-weak': partial(_planted, num_rows=80_000, strength=0.5),
    'planted-large': partial(_planted, num_rows=500_000, strength=1.0),
}
#: Those that take minutes, not hours.
DEFAULT = (
    *('adult', 'employee', 'telco', 'movielens', 'nursery', 'diamonds'),
    *('planted', 'planted-small', 'planted-weak'),
)


def read_file(path, label, task=None):
    """Any table, CSV or Parquet.

    Args:
        path: The file.
        label: The name of the label column.
        task: What is predicted. (default: as `FieldSchema.infer` has it)
    """
    path = Path(path)
    read = pd.read_parquet if path.suffix == '.parquet' else pd.read_csv
    df = to_frame(read(path))
    if label not in df:
        raise DataError(
            f"'{path}' has no column '{label}', only {list(df.columns)}"
        )
    values = df[label]
    if values.isna().any():
        at = df.index[values.isna()][0]
        raise DataError(
            f"'{path}', row {at}, column '{label}': no label. Remove such rows"
        )
    task = task or infer_task(values)
    if task == 'regression' and not is_numeric_dtype(values):
        raise DataError(
            f"'{path}', column '{label}': {values.iloc[0]!r} is no number"
        )
    df, classes = _number(df, label, task)
    if task != 'regression':
        if task == 'binary' and len(classes) != 2:
            raise DataError(
                f"'{path}', column '{label}' has {len(classes)} values, a "
                'binary label has 2'
            )
        counts = np.bincount(df[label])
        rare = [classes[k] for k in np.flatnonzero(counts < 10)]
        if rare:
            raise DataError(
                f"'{path}', column '{label}': fewer than 10 rows have the "
                f'labels {rare[:5]}, too few for training, validation and '
                "test rows. Remove them, or pass task 'regression' for numbers"
            )
    schema = FieldSchema.infer(df, label, task=task)
    # Parts of dates are columns for all contestants:
    columns = {field.name: field.read(df) for field in schema}
    df = pd.DataFrame({**columns, label: df[label]})
    fields = [replace(x, column=x.name, part=None) for x in schema]
    schema = replace(schema, fields=tuple(fields))
    return Source(task, df, schema, classes=classes)

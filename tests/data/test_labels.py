import dataclasses

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from pyg_featgraph.data import (
    Field,
    FieldEncoder,
    FieldGraphLoader,
    FieldSchema,
    FieldTable,
)
from pyg_featgraph.errors import DataError


def encode(labels, task='binary', **columns):
    df = pd.DataFrame({'x': 1.0, 'y': labels, **columns})
    roles = {'weight': 'w'} if 'w' in columns else {}
    schema = FieldSchema.infer(df, 'y', task=task, **roles)
    encoder = FieldEncoder(schema)
    return encoder, encoder.fit_transform(df)


@pytest.mark.parametrize(
    ('labels', 'classes', 'numbers'),
    [
        ([0, 1, 1], ('0', '1'), [0, 1, 1]),
        ([1.0, 0.0, 1.0], ('0', '1'), [1, 0, 1]),
        ([True, False, True], ('0', '1'), [1, 0, 1]),
        (['yes', 'no', ' yes '], ('no', 'yes'), [1, 0, 1]),
        ([2, 1, 2], ('1', '2'), [1, 0, 1]),
        ([-1, 10, -1], ('-1', '10'), [0, 1, 0]),
        (pd.Categorical(['b', 'a', 'b']), ('a', 'b'), [1, 0, 1]),
    ],
)
def test_two_classes(labels, classes, numbers):
    encoder, table = encode(labels)
    assert encoder.classes == classes
    assert table.y.dtype == torch.float32
    assert table.y.tolist() == numbers


@pytest.mark.parametrize(
    ('labels', 'task', 'classes', 'numbers'),
    [
        (pl.Series(['yes', 'no', 'yes']), 'binary', ('no', 'yes'), [1, 0, 1]),
        (pl.Series([True, False, True]), 'binary', ('0', '1'), [1, 0, 1]),
        (
            pl.Series(['b', 'c', 'a'], dtype=pl.Enum(['c', 'b', 'a'])),
            'multiclass',
            ('a', 'b', 'c'),
            [1, 2, 0],
        ),
        (
            pl.Series(['b', 'c', 'a'], dtype=pl.Categorical),
            'multiclass',
            ('a', 'b', 'c'),
            [1, 2, 0],
        ),
        (pl.Series([10, 9, 2]), 'multiclass', ('2', '9', '10'), [2, 1, 0]),
        (pl.Series([0.5, -3, 2]), 'regression', (), [0.5, -3, 2]),
    ],
)
def test_labels_of_polars(labels, task, classes, numbers):
    """What they ask for is seen, and names are kept."""
    df = pl.DataFrame({'x': [1.0, 2.0, 3.0], 'y': labels, 'w': [1, 2, 0]})
    encoder = FieldEncoder(FieldSchema.infer(df, 'y', weight='w'))
    table = encoder.fit_transform(df)
    assert encoder.schema.task == task
    assert encoder.classes == classes
    assert table.y.tolist() == numbers
    assert table.sample_weight.tolist() == [1, 2, 0]
    with pytest.raises(DataError, match="'y', row 0: there is no value"):
        encoder.transform(df.with_columns(y=None))


def test_several_classes():
    """Numbers are in their order, and texts in theirs."""
    encoder, table = encode([10, 9, 2, 10], 'multiclass')
    assert encoder.classes == ('2', '9', '10')
    assert table.y.tolist() == [2, 1, 0, 2]
    encoder, table = encode(['10', '9', 'two', '10'], 'multiclass')
    assert encoder.classes == ('10', '9', 'two')
    assert table.y.tolist() == [0, 1, 2, 0]


def test_numbers():
    encoder, table = encode([0.5, -3, 1e6], 'regression')
    assert encoder.classes == ()
    assert table.y.tolist() == [0.5, -3, 1e6]


@pytest.mark.parametrize(
    ('labels', 'task', 'message'),
    [
        (['a', 'b', 'a', 'b', 'c'], 'binary', "row 4: 'c' is the label of a t"),
        (['a', None, 'b'], 'binary', 'row 1: there is no value .1 such of 3'),
        ([0, np.nan, 1], 'multiclass', 'row 1: there is no value'),
        ([0, np.nan, 1], 'regression', 'row 1: there is no value'),
        (['a', 'a'], 'binary', "all 2 labels are 'a'"),
        ([3, 3], 'multiclass', "all 2 labels are '3'"),
        (['1', 'x'], 'regression', "row 1: 'x' is not a number"),
        ([1, np.inf], 'regression', 'row 1: inf is not finite'),
    ],
)
def test_wrong_labels(labels, task, message):
    with pytest.raises(DataError, match=message):
        encode(labels, task)


def test_classes_are_those_of_the_training_rows(tmp_path):
    encoder, _ = encode(['no', 'yes', 'no'])
    encoder.save(tmp_path / 'encoder.parquet')
    loaded = FieldEncoder.load(tmp_path / 'encoder.parquet')
    assert loaded.schema == encoder.schema
    for other in (encoder, loaded):
        assert other.classes == ('no', 'yes')
        df = pd.DataFrame({'x': [1.0, 2.0], 'y': ['yes', 'yes']})
        assert other.transform(df).y.tolist() == [1, 1]
        df = pd.DataFrame({'x': [1.0, 2.0], 'y': ['yes', 'maybe']})
        with pytest.raises(
            DataError, match=r"row 1: 'maybe' is none of the 2 classes \('no'"
        ):
            other.transform(df)


def test_labels_that_training_rows_do_not_have():
    fields = (Field('x', 'numeric'),)
    df = pd.DataFrame({'x': [1.0, 2.0], 'y': [1, 0]})
    for task, message in (('binary', None), ('multiclass', 'the 0 classes')):
        encoder = FieldEncoder(FieldSchema(fields, 'y', task=task))
        encoder.fit(df[['x']])
        if message is None:
            assert encoder.transform(df).y.tolist() == [1, 0]
        else:
            with pytest.raises(DataError, match=message):
                encoder.transform(df)


def test_weights_go_with_the_rows():
    labels, weights = [0, 1, 1, 0], [1.0, 0.5, 2.0, 0.0]
    encoder, table = encode(labels, w=weights)
    assert encoder.schema.names == ('x',)
    assert table.sample_weight.tolist() == weights
    rows = torch.tensor([2, 0])
    assert table.subset(rows).sample_weight.tolist() == [2, 1]
    assert table[rows].sample_weight.tolist() == [2, 1]
    assert table[2].sample_weight.tolist() == [2]
    first, second = table.split([0.5, 0.5])
    both = [*first.sample_weight.tolist(), *second.sample_weight.tolist()]
    assert sorted(both) == sorted(weights)
    for batch in FieldGraphLoader(table, 2, shuffle=True):
        assert batch.sample_weight.size() == (2,)
    df = pd.DataFrame({'x': [1.0], 'y': [1]})
    assert encoder.transform(df).sample_weight is None
    assert 'sample_weight' not in encoder.transform(df)[:1]


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ([1, -2], r"'w', row 1: -2 is negative"),
        ([1, np.nan], r"'w', row 1: there is no value"),
        (['1', 'x'], r"'w', row 1: 'x' is not a number"),
    ],
)
def test_wrong_weights(weights, message):
    with pytest.raises(DataError, match=message):
        encode([0, 1], w=weights)


def test_labels_and_weights_of_a_table(table):
    two = table.subset([0, 1])

    def make(**columns):
        return FieldTable(two.slot_index, two.slot_value, table.info, **columns)

    nan = float('nan')
    for name in ('y', 'sample_weight'):
        assert getattr(make(**{name: torch.tensor([3.0, 0.0])}), name)[0] == 3
        with pytest.raises(DataError, match=rf"'{name}', row 1: nan is not"):
            make(**{name: torch.tensor([0.0, nan])})
        for wrong in (torch.zeros(3), torch.zeros(2, 1)):
            with pytest.raises(ValueError, match=rf"'{name}' must have shape "):
                make(**{name: wrong})
    with pytest.raises(DataError, match=r"'sample_weight', row 1: -1 is neg"):
        make(sample_weight=torch.tensor([0.0, -1.0]))


def test_schema():
    df = pd.DataFrame({'x': [1.0], 'y': [1], 'w': [1.0]})
    schema = FieldSchema.infer(df, 'y', weight='w', task='regression')
    assert FieldSchema.from_dict(schema.to_dict()) == schema
    for changes, message in (
        ({'task': 'ranking'}, "'task' must be one of"),
        ({'weight': 'x'}, "The weight 'x' is also a field"),
        ({'weight': 'y'}, "The label 'y' is also the weight"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(schema, **changes)
    with pytest.raises(DataError, match=r"\['v'\] are not in the table"):
        FieldSchema.infer(df, 'y', weight='v')

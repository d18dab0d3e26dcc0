"""Crosses of tables of any library, and of dates, without a schema."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from pyg_featgraph.crossing import CrossFeatures, greedy_crosses
from pyg_featgraph.data import FieldSchema
from pyg_featgraph.errors import DataError

ROWS = 1500


def table():
    rng = np.random.default_rng(0)
    days = rng.integers(0, 365, ROWS).astype('timedelta64[D]')
    when = pd.Series(np.datetime64('2021-01-01') + days)
    df = pd.DataFrame(
        {
            'when': when,
            'kind': rng.choice([*'ab'], ROWS),
            'number': rng.normal(size=ROWS),
            'name': [f'row {i}' for i in range(ROWS)],
        }
    )
    even = (when.dt.day_of_week % 2 == 0) == (df['kind'] == 'a')
    return df, rng.random(ROWS) < np.where(even, 0.8, 0.2)


PARTS = ('day', 'elapsed', 'month', 'weekday')
NAMES = ['kind', 'number', *(f'when.{part}' for part in PARTS)]


@pytest.mark.filterwarnings('ignore:Columns are left out')
def test_parts_of_dates_are_crossed(tmp_path):
    df, _ = table()
    crosses = CrossFeatures(order=(2,), min_count=1)
    ids = crosses.fit_transform(df)
    assert [*ids] == [
        f'{a} x {b}' for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]
    ]
    expected = df['kind'] + df['when'].dt.day_of_week.astype(str)
    same = pd.crosstab(ids['kind x when.weekday'], expected) > 0
    assert same.shape == (14, 14)
    assert (same.sum() == 1).all()
    schema = FieldSchema.infer(df)
    told = CrossFeatures(order=(2,), min_count=1, schema=schema)
    pd.testing.assert_frame_equal(told.fit_transform(df), ids)
    crosses.save(tmp_path / 'crosses')
    loaded = CrossFeatures.load(tmp_path / 'crosses')
    texts = df.assign(when=df['when'].astype(str))
    pd.testing.assert_frame_equal(loaded.transform(texts), ids)
    with pytest.raises(DataError, match=r"lacks the columns \['when'\]"):
        loaded.transform(df.drop(columns='when'))


@pytest.mark.filterwarnings('ignore:Columns are left out')
def test_tables_of_polars():
    df, y = table()
    of = {}
    for frame, label in ((df, y), (pl.from_pandas(df), pl.Series(y))):
        crosses = CrossFeatures(
            [('kind', 'when.weekday')], encode=('ids', 'target', 'count')
        )
        columns = crosses.fit_transform(frame, label)
        pd.testing.assert_frame_equal(
            crosses.transform(frame[:50]),
            CrossFeatures(
                [('kind', 'when.weekday')], encode=('ids', 'target', 'count')
            )
            .fit(df, y)
            .transform(df[:50]),
        )
        found = greedy_crosses(frame, label)
        of[type(frame)] = columns, found.to_pandas()
    one, two = of.values()
    pd.testing.assert_frame_equal(one[0], two[0])
    pd.testing.assert_frame_equal(one[1], two[1])
    assert found[0].fields == ('kind', 'when.weekday')


def test_columns_that_tell_nothing():
    df, y = table()
    with pytest.warns(UserWarning, match=r"out: 'name' \([^)]*\)\. To keep"):
        crosses = CrossFeatures().fit(df)
    assert not any('name' in x for x in crosses.names_)
    # They are crossed if they are named:
    crosses = CrossFeatures([('kind', 'name')], min_count=1).fit(df)
    assert crosses.fitted_.crosses['kind', 'name'].num_ids == ROWS
    with pytest.warns(UserWarning, match="'name'"):
        found = greedy_crosses(df, y, [('kind', 'name'), ('kind', 'number')])
    assert not len(found)
    with pytest.raises(DataError, match=r"columns \['when\.hours'\]; it has"):
        CrossFeatures([('kind', 'when.hours')]).fit(df.drop(columns='when'))
    with pytest.raises(DataError, match=r"'when' is no field .*'when\.month'"):
        CrossFeatures([('kind', 'when')]).fit(df)


@pytest.mark.filterwarnings('ignore:Columns are left out')
def test_a_date_that_is_the_label():
    df, _ = table()
    month = df['when'].dt.month
    crosses = CrossFeatures([('kind', 'month')], encode='target')
    with pytest.raises(DataError, match="'month' is the label itself"):
        crosses.fit(df.assign(month=month), month)

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyg_featgraph.crossing import CrossFeatures


def table(rows, high, columns, seed=0):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame(rng.integers(0, high, (rows, columns)).astype(str))
    return df.rename(columns=lambda i: f'c{i}')


def test_order():
    df = table(100, 3, 4)
    df['list'] = [[1, 2]] * 100
    singles = ['c0 (bucket)', 'c1 (bucket)', 'c2 (bucket)', 'c3 (bucket)']
    assert list(CrossFeatures(order=1).fit_transform(df)) == singles
    out = list(CrossFeatures(order=3).fit_transform(df))
    assert out[:4] == singles
    assert out[4:7] == ['c0 x c1', 'c0 x c2', 'c0 x c3']
    assert out[-1] == 'c1 x c2 x c3'
    assert len(out) == 4 + 6 + 4
    assert list(CrossFeatures(order=(3, 1)).fit_transform(df))[4:] == singles


@pytest.mark.parametrize('min_count', [1, 4])
def test_one_hot(min_count):
    df, new = table(200, 6, 3), table(50, 9, 3, seed=1)
    crosses = CrossFeatures(order=3, min_count=min_count)
    one_hot = OneHotEncoder(
        sparse_output=False,
        categories=[
            x.cat.categories for _, x in crosses.fit_transform(df).items()
        ],
    )
    names = one_hot.fit(crosses.transform(df)).get_feature_names_out()
    known = np.array([not name.endswith('_0') for name in names])
    sparse = CrossFeatures(order=3, min_count=min_count, sparse_output=True)
    for rows, out in (
        (df, sparse.fit_transform(df)),
        (df, sparse.transform(df)),
        (new, sparse.transform(new)),
    ):
        assert issparse(out)
        assert out.format == 'csr'
        assert out.indices.dtype == np.int32
        dense = one_hot.transform(crosses.transform(rows))[:, known]
        np.testing.assert_array_equal(out.toarray(), dense)
        assert out.has_sorted_indices
    assert sparse.transform(new[:0]).shape == (0, known.sum())
    found = [name.replace('=', '_') for name in sparse.get_feature_names_out()]
    assert found == list(names[known])


def test_in_a_pipeline(tmp_path):
    df = table(500, 4, 3)
    y = (df['c0'] == df['c1']).to_numpy()
    crosses = CrossFeatures(order=2, sparse_output=True)
    model = make_pipeline(crosses, LogisticRegression()).fit(df, y)
    assert model.score(table(200, 4, 3, 1), y[:200]) < 0.9
    new = table(200, 4, 3, 1)
    assert model.score(new, new['c0'] == new['c1']) == 1
    crosses.save(tmp_path / 'x')
    loaded = CrossFeatures.load(tmp_path / 'x').transform(new)
    assert (loaded != crosses.transform(new)).nnz == 0


def test_memory_is_that_of_rows_and_crosses():
    rows = 10_000
    # each of the 36 crosses has nearly as many values as there are rows:
    df = table(rows, 3000, 9)
    crosses = CrossFeatures(order=(2,), min_count=1, sparse_output=True)
    tracemalloc.start()
    out = crosses.fit_transform(df)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert out.shape[1] > 0.99 * 36 * rows
    assert out.nnz == 36 * rows
    # 12 bytes of the result and 4 while it is made, 16 of the vocabulary:
    assert peak < 40 * 36 * rows

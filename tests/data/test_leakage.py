"""On labels drawn at random nothing helps with new rows."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pyg_featgraph.data import FieldEncoder, FieldSchema

SEEDS = range(5)
ROWS = 500
#: One in two thousand by chance.
BOUND = 3.3
WAYS = {
    'auto': {},
    'tree': {'transform': 'tree'},
    'fine tree': {'transform': 'tree', 'bins': (4, 400)},
    'interpolated tree': {'transform': 'tree', 'interpolate': True},
    'quantile': {'transform': 'quantile'},
    'interpolated': {'bins': (50,), 'interpolate': True},
    'equal_width': {'transform': 'equal_width'},
    'standard': {'transform': 'standard'},
}
#: Kept, though it tells nothing.
ID = {'id': {'kind': 'numeric'}}


def draw(seed):
    rng = np.random.default_rng(seed)
    n = 3 * ROWS
    df = pd.DataFrame(
        {
            'normal': rng.normal(size=n),
            'mass': np.where(rng.random(n) < 0.7, 0, rng.exponential(9, n)),
            'count': rng.poisson(8, n),
            'id': rng.permutation(n),
            'word': rng.choice([*'abcdefgh'], n),
            'y': rng.random(n) < 0.3,
        }
    )
    df.loc[rng.random(n) < 0.1, 'normal'] = np.nan
    return df[:ROWS], df[ROWS:]


def design(table):
    """A column for each id, as a linear model on the encoding sees it."""
    ids, value = table.slot_index.numpy(), table.slot_value.double().numpy()
    start = np.arange(0, ids.size + 1, ids.shape[1])
    shape = (len(ids), table.info.num_embeddings)
    return csr_array((value.ravel(), ids.ravel(), start), shape)


@pytest.mark.parametrize('way', WAYS)
def test_labels_at_random(way):
    aucs, gains = [], []
    for seed in SEEDS:
        train, new = draw(seed)
        schema = FieldSchema.infer(train, 'y', ID, **WAYS[way])
        encoder = FieldEncoder(schema).fit(train)
        tables = [encoder.transform(x) for x in (train, new)]
        model = LogisticRegression(max_iter=300)
        model.fit(design(tables[0]), train['y'])
        share = model.predict_proba(design(tables[1]))[:, 1]
        y = new['y'].to_numpy()
        aucs.append(roc_auc_score(y, share))
        base = np.where(y, train['y'].mean(), 1 - train['y'].mean())
        gains.append(np.log(np.where(y, share, 1 - share)) - np.log(base))
    # The spread of the AUC of a random order of as many rows:
    ones, zeros = y.sum(), (~y).sum()
    spread = np.sqrt((ones + zeros + 1) / (12 * ones * zeros))
    assert (np.mean(aucs) - 0.5) / (spread / len(aucs) ** 0.5) < BOUND
    gain = np.concatenate(gains)
    assert gain.mean() / (gain.std() / len(gain) ** 0.5) < BOUND


@pytest.mark.parametrize('way', WAYS)
def test_labels_of_rows_play_no_part_in_their_encoding(way):
    train, new = draw(0)
    schema = FieldSchema.infer(train, 'y', ID, **WAYS[way])
    encoder = FieldEncoder(schema).fit(train)
    for rows in (train, new):
        table = encoder.transform(rows)
        for other in (rows.assign(y=~rows['y']), rows.drop(columns='y')):
            again = encoder.transform(other)
            assert again.slot_index.equal(table.slot_index)
            assert again.slot_value.equal(table.slot_value)

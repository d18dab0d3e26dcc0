"""Metrics of groups and slices of rows, areas and calibration, by loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from fit_parts import make, train, watched
from torchmetrics.classification import (
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryCalibrationError,
)
from torchmetrics.retrieval import RetrievalAUROC

from pyg_featgraph.data import FieldEncoder, FieldSchema
from pyg_featgraph.errors import DataError
from pyg_featgraph.nn.areas import auc as area
from pyg_featgraph.nn.areas import grouped_auc
from pyg_featgraph.nn.logits import logits_of
from pyg_featgraph.training import (
    ByField,
    GroupedAUC,
    PredictedRatio,
    Slice,
    TrainingOptions,
    slices,
)
from pyg_featgraph.training.metrics import ExactFigure


def gauc_by_loops(scores, y, group):
    total = rows = 0
    for g in set(group):
        own = [i for i in range(len(y)) if group[i] == g]
        high = [scores[i] for i in own if y[i]]
        low = [scores[i] for i in own if not y[i]]
        if high and low:
            wins = [(a > b) + (a == b) / 2 for a in high for b in low]
            total += len(own) * sum(wins) / len(wins)
            rows += len(own)
    return total / rows


def precision_by_loops(p, y):
    """The mean precision at the scores of positive rows."""
    at = [
        sum(b for a, b in zip(p, y, strict=True) if a >= cut)
        / sum(a >= cut for a in p)
        for cut, label in zip(p, y, strict=True)
        if label
    ]
    return sum(at) / len(at)


def calibration_by_loops(p, y, num_bins):
    out = 0
    for k in range(num_bins):
        own = [
            i
            for i in range(len(p))
            if k / num_bins <= p[i] < (k + 1) / num_bins
        ]
        if own:
            gap = sum(p[i] for i in own) - sum(y[i] for i in own)
            out += abs(gap) / len(p)
    return out


@pytest.mark.parametrize('num_scores', [2, 5, 1000])
@pytest.mark.parametrize('num_groups', [1, 4, 30])
def test_grouped_auc_against_loops(num_groups, num_scores):
    rng = np.random.default_rng(num_groups)
    group = rng.integers(0, num_groups, 60) * 10**12 - 5
    y = rng.integers(0, 2, 60)
    scores = rng.integers(0, num_scores, 60) / 7
    metric = GroupedAUC()
    for rows in np.array_split(rng.permutation(60), 3):
        metric.update(*(torch.tensor(x[rows]) for x in (scores, y, group)))
    out = float(metric.compute())
    assert out == pytest.approx(gauc_by_loops(scores, y, group), abs=1e-14)


def test_grouped_auc_of_one_group_is_the_auc():
    torch.manual_seed(0)
    scores, y = torch.randn(50).double(), torch.randint(0, 2, (50,)).double()
    group = torch.zeros(50).long()
    expected = area(scores, y, torch.ones(50).double())
    assert float(grouped_auc(scores, y, group)) == pytest.approx(
        float(expected)
    )


def test_groups_of_one_class_do_not_count():
    scores = torch.tensor([0.1, 0.9, 0.3, 0.7, 0.5]).double()
    y = torch.tensor([0.0, 1, 1, 1, 0])
    group = torch.tensor([0, 0, 1, 1, 2])
    assert grouped_auc(scores, y, group) == 1
    assert grouped_auc(scores[2:], y[2:], group[2:]).isnan()


@pytest.fixture(scope='module')
def data():
    """Clicks of users on two devices; some users and devices are missing."""
    rng = np.random.default_rng(0)
    num = 1500
    user = rng.integers(0, 12, num)
    df = pd.DataFrame(
        {
            'user': [f'u{x}' if x else None for x in user],
            'device': rng.choice(['tv', 'phone', None], num, p=[0.2, 0.7, 0.1]),
            'item': rng.integers(0, 6, num).astype(str),
        }
    )
    logit = user / 4 - 1 + (df['item'].astype(int) % 3) * (user % 2)
    df['click'] = (rng.random(num) < 1 / (1 + np.exp(1 - logit))).astype(int)
    encoder = FieldEncoder(FieldSchema.infer(df, label='click', min_count=1))
    parts = df[:900], df[900:1200], df[1200:]
    encoder.fit(parts[0])
    return parts, encoder, [encoder.transform(x) for x in parts]


def test_what_a_training_reports(data, tmp_path):
    frames, encoder, parts = data
    model = make(parts[0].info)
    figure = ExactFigure(area)
    metrics = {
        'gauc': ByField(GroupedAUC(), 'user'),
        'mean': ByField(RetrievalAUROC(), 'user'),
        'ap': BinaryAveragePrecision(),
        'ece': BinaryCalibrationError(n_bins=5),
        'ratio': PredictedRatio(),
        **slices('auc', figure, encoder, 'device'),
        'nobody': Slice(BinaryAUROC(), 'device', 99),
    }
    assert {'auc_tv', 'auc_phone'} < metrics.keys()
    result = train(model, parts, tmp_path, lr=0.02, metrics=metrics)
    for name, df, part in zip(
        ('valid', 'test'), frames[1:], parts[1:], strict=True
    ):
        # Rounded to single precision, some would be equal:
        p = model.head.predict(logits_of(model, part).double()).numpy()
        y = df['click'].to_numpy()
        user, device = df['user'].to_numpy(), df['device'].to_numpy()
        known = ~pd.isna(user)
        by_user = pd.Series(y[known]).groupby(user[known])
        # As those of torchmetrics are:
        rounded = p.astype(np.float32)
        areas = [
            gauc_by_loops(rounded[user == x], y[user == x], user[user == x])
            for x in set(user[known])
        ]
        expected = {
            'gauc': gauc_by_loops(p[known], y[known], user[known]),
            'mean': np.mean(areas),
            'ap': precision_by_loops(p, y),
            'ece': calibration_by_loops(p, y, 5),
            'ratio': p.sum() / y.sum(),
        }
        for value in ('tv', 'phone'):
            rows = device == value
            expected[f'auc_{value}'] = gauc_by_loops(
                p[rows], y[rows], device[rows]
            )
        assert by_user.nunique().min() == 2
        for key, value in expected.items():
            found = result.metrics[f'{name}_{key}']
            assert found == pytest.approx(value, abs=1e-5), key
        assert np.isnan(result.metrics[f'{name}_nobody'])
    assert len({round(x, 4) for x in expected.values()}) == len(expected)
    assert metrics['gauc'].metric._update_count == 0


MONITORS = {
    'gauc': (lambda: ByField(GroupedAUC(), 'user'), max),
    'ece': (lambda: BinaryCalibrationError(n_bins=5), min),
    'phone': (lambda: Slice(BinaryAveragePrecision(), 'device', 2), max),
}


@pytest.mark.parametrize('name', MONITORS)
def test_any_ends_a_training(name, data, tmp_path):
    """The best epoch is kept, and two worse ones are the end."""
    make_metric, best_of = MONITORS[name]
    parts = data[2]
    result, watch = watched(
        parts,
        tmp_path,
        metrics={name: make_metric()},
        monitor=f'valid_{name}',
        patience=2,
        lr=0.05,
        max_epochs=40,
    )
    scores = [float(x[f'valid_{name}']) for x in watch.scores]
    assert result.metrics[f'valid_{name}'] == pytest.approx(best_of(scores))
    assert scores.index(best_of(scores)) == len(scores) - 3
    assert len(scores) < 40


def test_some_do_not_say_what_is_best():
    options = {'metrics': {'ratio': PredictedRatio()}, 'monitor': 'valid_ratio'}
    with pytest.raises(ValueError, match='high or low is best'):
        TrainingOptions(**options)
    assert TrainingOptions(**options, mode='max').mode == 'max'


def test_wrong_fields(data, table):
    _, encoder, parts = data
    batch = parts[0][:4]
    metric = ByField(GroupedAUC(), 'nothing')
    with pytest.raises(DataError, match="no field 'nothing'"):
        metric.update(torch.rand(4), batch.y, batch)
    (name,) = {table.info.names[0]}
    with pytest.raises(DataError, match='need a field of categories'):
        ByField(GroupedAUC(), name).update(torch.rand(4), batch.y, table[:4])
    with pytest.raises(DataError, match=r"no categories \['x'\]"):
        slices('auc', BinaryAUROC(), encoder, 'device', ['tv', 'x'])


def test_many_slices_have_to_be_chosen():
    df = pd.DataFrame({'a': [*map(str, range(30))] * 2, 'y': [0, 1] * 30})
    encoder = FieldEncoder(FieldSchema.infer(df, label='y', min_count=1))
    encoder.fit(df)
    with pytest.raises(DataError, match='30 categories'):
        slices('auc', BinaryAUROC(), encoder, 'a')
    (one,) = slices('auc', BinaryAUROC(), encoder, 'a', [7]).values()
    rows = encoder.transform(df).batch()
    kept = rows.slot_index[:, 0] == one.number
    assert df['a'][kept.numpy()].tolist() == ['7', '7']
